"""Variational Gaussian mixtures written plainly: the oracle of steppe.mixture (ALGORITHMS.md 5.2).

pi ~ Dirichlet(alpha0), and for each component either a Wishart precision of all features ("full") or a Gamma precision
of each feature ("diag", the one-dimensional Wishart), with a mean about m0 of beta0 times that precision. Each row is
blurred by a Gaussian of variance `reg`, so that all below is exact for reg > 0, too.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import digamma, gammaln, logsumexp, multigammaln


@dataclass
class Prior:
    alpha: float
    beta: float
    mean: np.ndarray
    nu: float
    V: np.ndarray  # inverse scale: (D,) or (D, D)
    reg: float = 0.0

    @property
    def full(self):
        return self.V.ndim == 2


@dataclass
class Posterior:
    alpha: np.ndarray
    beta: np.ndarray
    mean: np.ndarray
    nu: np.ndarray
    V: np.ndarray


def posterior(X, Z, prior, weights=None):
    """The exact update of all components given responsibilities (n, K)."""
    Z = Z if weights is None else Z * weights[:, None]
    n, D = Z.sum(0), X.shape[1]
    beta = prior.beta + n
    mean = (prior.beta * prior.mean + Z.T @ X) / beta[:, None]
    V = []
    for k in range(Z.shape[1]):
        away, shift = X - mean[k], prior.mean - mean[k]
        if prior.full:
            scatter = (away * Z[:, k : k + 1]).T @ away + n[k] * prior.reg * np.eye(D)
            V.append(prior.V + scatter + prior.beta * np.outer(shift, shift))
        else:
            V.append(prior.V + Z[:, k] @ away**2 + n[k] * prior.reg + prior.beta * shift**2)
    return Posterior(prior.alpha + n, beta, mean, prior.nu + n, np.array(V))


def expected_log_precision(nu, V):
    D = V.shape[1]
    if V.ndim == 3:
        return digamma((nu[:, None] - np.arange(D)) / 2).sum(1) + D * np.log(2) - np.linalg.slogdet(V)[1]
    return D * (digamma(nu / 2) + np.log(2)) - np.log(V).sum(1)


def log_joint(X, q, prior):
    """E log p(x_i, z_i = k), (n, K)."""
    D = X.shape[1]
    away = X[:, None, :] - q.mean
    if prior.full:
        precision = q.nu[:, None, None] * np.linalg.inv(q.V)
        square = np.einsum("nki,kij,nkj->nk", away, precision, away)
        blur = prior.reg * np.trace(precision, axis1=1, axis2=2)
    else:
        precision = q.nu[:, None] / q.V
        square, blur = np.einsum("nki,ki->nk", away**2, precision), prior.reg * precision.sum(1)
    log_pi = digamma(q.alpha) - digamma(q.alpha.sum())
    constant = expected_log_precision(q.nu, q.V) - D * np.log(2 * np.pi) - D / q.beta - blur
    return log_pi + (constant - square) / 2


def responsibilities(X, q, prior):
    log_z = log_joint(X, q, prior)
    return np.exp(log_z - logsumexp(log_z, axis=1, keepdims=True))


def log_normaliser(beta, nu, V):
    """Of Normal-Wishart or Normal-Gamma densities: log of the integral of their unnormalised form."""
    D = V.shape[-1]
    log_det = np.linalg.slogdet(V)[1] if V.ndim == 3 else np.log(V)
    gamma = multigammaln_of(nu / 2, D) if V.ndim == 3 else gammaln(nu / 2)[:, None]
    per_precision = gamma + (nu * D / 2 * np.log(2) if V.ndim == 3 else (nu / 2 * np.log(2))[:, None])
    wishart = per_precision - (nu / 2 * log_det if V.ndim == 3 else nu[:, None] / 2 * log_det)
    return (wishart if V.ndim == 3 else wishart.sum(1)) + D / 2 * np.log(2 * np.pi / beta)


def multigammaln_of(a, D):
    return np.array([multigammaln(value, D) for value in a])


def bound(X, Z, q, prior, weights=None):
    """ELBO where q is posterior(X, Z): everything but the entropy of Z is a ratio of normalisers."""
    n, K = Z.shape
    w = np.ones(n) if weights is None else weights
    entropy = -(w[:, None] * np.where(Z > 0, Z * np.log(np.where(Z > 0, Z, 1)), 0)).sum()
    q0 = Posterior(np.full(K, prior.alpha), np.full(K, prior.beta), None, np.full(K, prior.nu), np.array([prior.V] * K))
    dirichlet = gammaln(q.alpha).sum() - gammaln(q.alpha.sum()) - K * gammaln(prior.alpha) + gammaln(K * prior.alpha)
    ratio = log_normaliser(q.beta, q.nu, q.V) - log_normaliser(q0.beta, q0.nu, q0.V)
    return entropy + dirichlet + ratio.sum() - w.sum() * X.shape[1] / 2 * np.log(2 * np.pi)


def batch(X, Z, prior, n_iter, weights=None):
    """Batch variational inference from responsibilities; returns q, Z and the bounds after each update of q."""
    q, bounds = posterior(X, Z, prior, weights), []
    for _ in range(n_iter):
        Z = responsibilities(X, q, prior)
        q = posterior(X, Z, prior, weights)
        bounds.append(bound(X, Z, q, prior, weights))
    return q, Z, bounds


def extreme(X, Z, prior, n_iter, bundle, rng):
    """Extreme stochastic inference: bundles of components share out the mass that rows have on them."""
    Z, bounds = Z.copy(), []
    for _ in range(n_iter):
        for B in np.array_split(rng.permutation(Z.shape[1]), max(1, Z.shape[1] // bundle)):
            log_z = log_joint(X, posterior(X, Z, prior), prior)[:, B]
            Z[:, B] = Z[:, B].sum(1, keepdims=True) * np.exp(log_z - logsumexp(log_z, axis=1, keepdims=True))
        bounds.append(bound(X, Z, posterior(X, Z, prior), prior))
    return posterior(X, Z, prior), Z, bounds
