"""Multinomial logistic regression by the definition: the oracle of the native solvers."""

import numpy as np
from scipy.optimize import brentq, minimize
from scipy.special import lambertw, log_softmax, softmax


def objective(W, c, X, y, alpha, weights=None):
    """alpha/2 ||W||^2 + weighted mean cross entropy; W of shape (K, D), y in 0..K-1."""
    weights = np.ones(len(y)) if weights is None else np.asarray(weights, dtype=float)
    log_p = log_softmax(np.asarray(X @ W.T + c, dtype=float), axis=1)
    return alpha / 2 * (W.astype(float) ** 2).sum() - weights @ log_p[np.arange(len(y)), y] / weights.sum()


def gradient(W, c, X, y, alpha, weights=None):
    """Its derivatives by W and c."""
    weights = np.ones(len(y)) if weights is None else np.asarray(weights, dtype=float)
    residual = softmax(X @ W.T + c, axis=1)
    residual[np.arange(len(y)), y] -= 1
    residual *= (weights / weights.sum())[:, None]
    return residual.T @ X + alpha * W, residual.sum(axis=0)


def optimum(X, y, n_classes, alpha, weights=None, fit_intercept=True):
    """W, c and the objective at the optimum, by scipy's L-BFGS."""
    shape = (n_classes, X.shape[1] + 1)

    def both(theta):
        theta = theta.reshape(shape)
        W, c = theta[:, :-1], theta[:, -1] * fit_intercept
        dW, dc = gradient(W, c, X, y, alpha, weights)
        return objective(W, c, X, y, alpha, weights), np.hstack([dW, dc[:, None] * fit_intercept]).ravel()

    options = {"maxiter": 20000, "maxfun": 50000, "ftol": 1e-16, "gtol": 1e-10, "maxcor": 30}
    best = minimize(both, np.zeros(np.prod(shape)), jac=True, method="L-BFGS-B", options=options)
    theta = best.x.reshape(shape)
    return theta[:, :-1], theta[:, -1], best.fun


def dual_step(u, q, kappa):
    """The q' with log q' + kappa (q' - q) = u - nu that sums to one: the softmax of the scores after the step."""

    def solution(nu):
        # q' + log(q') / kappa = (u - nu) / kappa + q is Lambert's equation for kappa q'.
        argument = u - nu + kappa * q
        with np.errstate(over="ignore"):
            exact = np.real(lambertw(kappa * np.exp(np.minimum(argument, 500)))) / kappa
        return np.where(argument < 500, exact, argument / kappa)

    span = 50 + kappa + np.ptp(u)
    nu = brentq(lambda nu: solution(nu).sum() - 1, u.max() - span, u.max() + span, xtol=1e-13)
    return solution(nu)


def dual_ascent(X, y, n_classes, alpha, orders):
    """W after sweeps over the rows in the given orders, without intercept and weights."""
    n = len(y)
    q = np.eye(n_classes)[y]
    W = np.zeros((n_classes, X.shape[1]))
    for order in orders:
        for i in order:
            kappa = X[i] @ X[i] / (alpha * n)
            change = dual_step(W @ X[i], q[i], kappa) - q[i]
            q[i] += change
            W -= np.outer(change, X[i]) / (alpha * n)
    return W


def philox(counter, key):
    """Philox4x32-10 of four words under a key of 64 bits."""
    counter, keys = list(counter), [key & 0xFFFFFFFF, key >> 32]
    for _ in range(10):
        a, b = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [(b >> 32) ^ counter[1] ^ keys[0], b & 0xFFFFFFFF, (a >> 32) ^ counter[3] ^ keys[1], a & 0xFFFFFFFF]
        keys = [(keys[0] + 0x9E3779B9) & 0xFFFFFFFF, (keys[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return counter


def visit_order(n_rows, seed, shard, round_):
    """The order in which shard number `shard` visits its rows in that round: Fisher and Yates on the library's stream."""
    purpose = 5  # Purpose::sample
    key = (seed ^ (0x9E3779B97F4A7C15 * (purpose + 1))) & (2**64 - 1)
    words = (word for block in range(2**32) for word in philox([block, shard & 0xFFFFFFFF, shard >> 32, round_], key))
    order = list(range(n_rows))
    for left in range(n_rows, 1, -1):
        j = (((next(words) << 32) | next(words)) * left) >> 64
        order[left - 1], order[j] = order[j], order[left - 1]
    return order
