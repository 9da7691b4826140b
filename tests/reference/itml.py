"""Oracles of ITML: the sequential algorithm as published, its dual, and the dual's optimum by another solver."""

import numpy as np
from scipy.optimize import minimize


def sweep(A, C, sign, target, dual, gamma):
    """One cycle of Bregman projections over the rows of C, in place; `dual` is lambda."""
    price = 1.0 if np.isinf(gamma) else gamma / (gamma + 1)
    for k, (c, s) in enumerate(zip(C, sign, strict=True)):
        xi = 1 / (1 / target[k] - s * dual[k] / gamma)
        Ac = A @ c
        p = c @ Ac
        alpha = min(dual[k], s * price * (1 / p - 1 / xi))
        dual[k] -= alpha
        A += s * alpha / (1 - s * alpha * p) * np.outer(Ac, Ac)


def itml(C, sign, target, gamma, n_sweeps, A0=None):
    """A and lambda after that many sweeps."""
    A = np.eye(C.shape[1]) if A0 is None else A0.copy()
    dual = np.zeros(len(C))
    for _ in range(n_sweeps):
        sweep(A, C, sign, target, dual, gamma)
    return A, dual


def metric_of(dual, C, sign, A0=None):
    """A(lambda) = (A0^-1 + sum sign lambda c c')^-1."""
    inverse = np.eye(C.shape[1]) if A0 is None else np.linalg.inv(A0)
    return np.linalg.inv(inverse + (C * (sign * dual)[:, None]).T @ C)


def dual_objective(dual, C, sign, target, gamma, A0=None):
    """g(lambda), which ITML ascends; -inf outside its domain."""
    inverse = np.eye(C.shape[1]) if A0 is None else np.linalg.inv(A0)
    start = np.linalg.slogdet(inverse)[1]
    values = np.linalg.eigvalsh(inverse + (C * (sign * dual)[:, None]).T @ C)
    if values[0] <= 0:
        return -np.inf
    log_det = np.log(values).sum() - start
    inside = 1 - sign * dual * target / gamma
    if (inside <= 0).any():
        return -np.inf
    return log_det + gamma * np.log(inside).sum()


def optimum(C, sign, target, gamma):
    """The dual variables at the optimum, by L-BFGS-B."""
    upper = [0.999999 * gamma / t if s > 0 else None for s, t in zip(sign, target, strict=True)]

    def negative(dual):
        value = dual_objective(dual, C, sign, target, gamma)
        if not np.isfinite(value):
            return 1e10, np.zeros_like(dual)
        p = np.einsum("ki,ij,kj->k", C, metric_of(dual, C, sign), C)
        xi = 1 / (1 / target - sign * dual / gamma)
        return -value, -sign * (p - xi)

    start = np.zeros(len(C))
    bounds = [(0, u) for u in upper]
    options = {"maxiter": 20000, "maxfun": 100000, "ftol": 1e-16, "gtol": 1e-11, "maxcor": 50}
    return minimize(negative, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
