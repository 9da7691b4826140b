"""What a fitted mixture says of rows: components, densities, criteria, samples."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse
from scipy.special import digamma
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from steppe import _core
from steppe._plan import resolve_n_jobs
from steppe._validation import check_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MixtureQueries"]


class MixtureQueries:
    """Queries of a mixture with scikit-learn's attributes. Local on a cluster."""

    covariance_type: str
    reg_covar: float
    random_state: Any
    n_jobs: int | None
    weights_: NDArray[Any]
    weight_concentration_: NDArray[Any]
    mean_precision_: NDArray[Any]
    means_: NDArray[Any]
    degrees_of_freedom_: NDArray[Any]
    covariances_: NDArray[Any]
    precisions_cholesky_: NDArray[Any]

    def predict(self, X: Any) -> NDArray[np.int32]:
        """The most probable component of each row.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, D)

        Returns
        -------
        int32 ndarray of shape (n,)
            The first among equals.
        """
        return self._answers(X, "labels")

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Responsibilities of the components for each row.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, D)

        Returns
        -------
        ndarray of shape (n, K)
        """
        return self._answers(X, "probabilities")

    def score_samples(self, X: Any) -> NDArray[Any]:
        r"""The rows' own part of the lower bound, scikit-learn's log-likelihood of samples.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, D)

        Returns
        -------
        ndarray of shape (n,)
            :math:`\log \sum_k \exp E[\log \pi_k + \log p(x_i \mid \mu_k, \Lambda_k)]`.
        """
        return self._answers(X, "log_sums")

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of :meth:`score_samples`.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, D)
        y : None
            Ignored.

        Returns
        -------
        float
        """
        return float(self.score_samples(X).mean(dtype=np.float64))

    def sample(self, n_samples: int = 1) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Draw rows from the mixture of the expected parameters.

        Parameters
        ----------
        n_samples : int, default=1

        Returns
        -------
        X : ndarray of shape (n_samples, D)
        components : int64 ndarray of shape (n_samples,)
            In rising order.

        Raises
        ------
        ValueError
            If `n_samples` is less than 1.
        """
        check_is_fitted(self)
        if not isinstance(n_samples, Integral) or n_samples < 1:
            raise ValueError(f"n_samples: got {n_samples!r}; give an integer of 1 or more")
        random = check_random_state(self.random_state)
        weights = self.weights_.astype(np.float64)
        counts = random.multinomial(n_samples, weights / weights.sum())
        labels = np.repeat(np.arange(len(counts)), counts)
        noise = random.standard_normal((int(n_samples), self.means_.shape[1]))
        if self.covariance_type == "full":
            present = np.flatnonzero(counts)
            roots = np.linalg.cholesky(self.covariances_[present].astype(np.float64))
            places = np.searchsorted(present, labels)
            noise = np.concatenate(
                [noise[places == place] @ root.T for place, root in enumerate(roots)]  # rows are in rising order
            )
        else:
            noise *= np.sqrt(self.covariances_[labels])
        return (self.means_[labels] + noise).astype(self.means_.dtype), labels

    def bic(self, X: Any) -> float:
        """Bayesian information criterion of the rows, from :meth:`score_samples`; the lower the better.

        Parameters
        ----------
        X : array-like of shape (n, D)

        Returns
        -------
        float
        """
        total = float(self.score_samples(X).sum(dtype=np.float64))
        return -2 * total + self._n_parameters() * float(np.log(X.shape[0] if hasattr(X, "shape") else len(X)))

    def aic(self, X: Any) -> float:
        """Akaike information criterion of the rows, from :meth:`score_samples`; the lower the better.

        Parameters
        ----------
        X : array-like of shape (n, D)

        Returns
        -------
        float
        """
        return -2 * float(self.score_samples(X).sum(dtype=np.float64)) + 2 * self._n_parameters()

    def _n_parameters(self) -> int:
        k, d = self.means_.shape
        return int(k - 1 + k * d + k * (d * (d + 1) // 2 if self.covariance_type == "full" else d))

    def _answers(self, X: Any, what: str) -> NDArray[Any]:
        check_is_fitted(self)
        rows = check_rows(self, X)
        rows = rows.toarray() if scipy.sparse.issparse(rows) else rows
        constants, means, factors = self._components()
        return _core.mixture_answers(
            np.ascontiguousarray(rows, dtype=self.means_.dtype),
            constants,
            means,
            factors,
            what,
            resolve_n_jobs(self.n_jobs),
        )

    def _components(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Scores E[log pi_k + log p(x | k)] as constants less squares |factor (x - mean)|^2."""
        alpha, beta, nu, upper = (
            np.asarray(values, dtype=np.float64)
            for values in (
                self.weight_concentration_,
                self.mean_precision_,
                self.degrees_of_freedom_,
                self.precisions_cholesky_,
            )
        )
        d = self.means_.shape[1]
        if self.covariance_type == "full":
            factors, diagonal = np.swapaxes(upper, 1, 2) / np.sqrt(2), np.diagonal(upper, axis1=1, axis2=2)
            gamma = digamma((nu[:, None] - np.arange(d)) / 2).sum(axis=1)
        else:
            factors, diagonal, gamma = upper / np.sqrt(2), upper, d * digamma(nu / 2)
        log_precision = gamma + d * np.log(2 / nu) + 2 * np.log(diagonal).sum(axis=1)
        blur = float(self.reg_covar) * (factors**2).reshape(len(factors), -1).sum(axis=1)
        log_weights = digamma(alpha) - digamma(alpha.sum())
        constants = log_weights + (log_precision - d * np.log(2 * np.pi) - d / beta) / 2 - blur
        means = np.ascontiguousarray(self.means_, dtype=np.float64)
        return np.ascontiguousarray(constants), means, np.ascontiguousarray(factors)
