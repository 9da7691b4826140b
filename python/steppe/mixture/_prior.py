"""Priors of Gaussian mixtures, and posteriors as sufficient statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from steppe.parallel import Cluster

_BLOCK = 65_536  # rows that are looked at in float64 together


@dataclass(frozen=True)
class Moments:
    """Of the rows of all ranks.

    Attributes
    ----------
    n_rows : int
    weight : float
        Sum of the weights.
    mean : float64 ndarray of shape (D,)
    scatter : float64 ndarray of shape (D,) or (D, D)
        Weighted sum of squares, or of products, of the distances from the mean.
    """

    n_rows: int
    weight: float
    mean: NDArray[np.float64]
    scatter: NDArray[np.float64]

    @property
    def covariance(self) -> NDArray[np.float64]:
        """With one degree of freedom for the mean, as long as there are two rows."""
        return self.scatter / max(self.weight - 1, self.weight / 2)


def moments_of(X: NDArray[Any], weights: NDArray[Any], full: bool, cluster: Cluster) -> Moments:
    """Collective. In two passes, so that nothing cancels far from the origin."""
    d = X.shape[1]
    totals = np.zeros(2 + d)
    totals[0] = len(X)
    for rows, w in _blocks(X, weights):
        totals[1] += w.sum()
        totals[2:] += w @ rows
    totals = cluster.sum(totals)
    mean = totals[2:] / totals[1]
    scatter = np.zeros((d, d) if full else d)
    for rows, w in _blocks(X, weights):
        rows -= mean
        scatter += (rows * w[:, None]).T @ rows if full else w @ rows**2
    return Moments(int(totals[0]), float(totals[1]), mean, np.asarray(cluster.sum(scatter)))


def _blocks(X: NDArray[Any], weights: NDArray[Any]) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    for first in range(0, len(X), _BLOCK):
        mine = slice(first, first + _BLOCK)
        yield np.array(X[mine], dtype=np.float64), weights[mine].astype(np.float64)


@dataclass(frozen=True)
class Prior:
    """Checked parameters of the prior, float64.

    Attributes
    ----------
    concentration, mean_precision, dof : float
    mean : ndarray of shape (D,)
    covariance : ndarray of shape (D,) or (D, D)
        The inverse scale of the Wishart (or, for each feature, Gamma) density of precisions.
    """

    concentration: float
    mean_precision: float
    dof: float
    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]

    @property
    def full(self) -> bool:
        return self.covariance.ndim == 2

    @classmethod
    def make(cls, estimator: Any, moments: Moments) -> Prior:
        """What the parameters of `estimator` say, with defaults from the data.

        Raises
        ------
        ValueError
            That names the parameter.
        """
        d, full = len(moments.mean), estimator.covariance_type == "full"
        dof = float(d) if estimator.degrees_of_freedom_prior is None else float(estimator.degrees_of_freedom_prior)
        least = d - 1 if full else 0
        if dof <= least:
            raise ValueError(f"degrees_of_freedom_prior: got {dof}; must be greater than {least}")
        concentration, precision = estimator.weight_concentration_prior, estimator.mean_precision_prior
        return cls(
            1.0 / estimator.n_components if concentration is None else float(concentration),
            1.0 if precision is None else float(precision),
            dof,
            _given(estimator.mean_prior, (d,), "mean_prior", moments.mean),
            _covariance(estimator, moments, full),
        )

    def statistics(self, posterior: Any, centre: NDArray[np.float64], blur: float) -> NDArray[np.float64]:
        """The sufficient statistics that lead from this prior to the fitted attributes of `posterior`.

        Returns
        -------
        float64 ndarray of shape (K, 2 + D + D) or (K, 2 + D + D (D + 1) / 2)
            About `centre`: weights, entropies, first moments, second moments (the lower triangle row by row).
        """
        fitted = {
            name: np.asarray(getattr(posterior, name), dtype=np.float64)
            for name in ("weight_concentration_", "degrees_of_freedom_", "means_", "covariances_", "entropy_")
        }
        n = np.maximum(fitted["weight_concentration_"] - self.concentration, 0)
        beta, mean, origin = self.mean_precision + n, fitted["means_"] - centre, self.mean - centre
        first = beta[:, None] * mean - self.mean_precision * origin
        dof = fitted["degrees_of_freedom_"]
        if self.full:
            second = fitted["covariances_"] * dof[:, None, None] - self.covariance
            second -= n[:, None, None] * blur * np.eye(len(centre))
            second += beta[:, None, None] * mean[:, :, None] * mean[:, None, :]
            second -= self.mean_precision * np.outer(origin, origin)
            rows, columns = np.tril_indices(len(centre))
            second = second[:, rows, columns]
        else:
            second = fitted["covariances_"] * dof[:, None] - self.covariance - n[:, None] * blur
            second += beta[:, None] * mean**2 - self.mean_precision * origin**2
        return np.ascontiguousarray(np.column_stack([n, fitted["entropy_"], first, second]))


def _given(value: Any, shape: tuple[int, ...], name: str, default: NDArray[np.float64]) -> NDArray[np.float64]:
    if value is None:
        return default
    array = np.ascontiguousarray(value, dtype=np.float64)
    if array.shape != shape:
        raise ValueError(f"{name}: has shape {array.shape}, expected {shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: contains NaN or infinity; give finite numbers")
    return array


def _covariance(estimator: Any, moments: Moments, full: bool) -> NDArray[np.float64]:
    d = len(moments.mean)
    if estimator.covariance_prior is None:
        floor = float(estimator.reg_covar)
        return moments.covariance + (floor * np.eye(d) if full else floor)
    given = _given(estimator.covariance_prior, (d, d) if full else (d,), "covariance_prior", moments.mean)
    if full and not np.allclose(given, given.T):
        raise ValueError("covariance_prior: is not symmetric")
    if not full and (given <= 0).any():
        raise ValueError("covariance_prior: contains values that are not positive")
    return given
