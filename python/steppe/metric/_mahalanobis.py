"""What all learned Mahalanobis distances share: components, transform, distances, priors."""

from __future__ import annotations

from functools import cache
from numbers import Integral
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import scipy.sparse
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_array, check_is_fitted
from threadpoolctl import ThreadpoolController

from steppe._base import BaseSteppeEstimator
from steppe._validation import check_rows
from steppe.metric._pairs import check_indices

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from steppe.metric._pairs import Pairs

DENSE_FEATURES = 4000
"""Up to so many features the components are a matrix; beyond they stay in factors."""

_LARGEST_MATRIX = 2**31  # bytes

COMMON_CONSTRAINTS: dict[str, list[Any]] = {
    **BaseSteppeEstimator._parameter_constraints,
    "preprocessor": ["array-like", "sparse matrix", None],
    "prior": [StrOptions({"identity", "covariance"}), "array-like"],
    "n_constraints": [Interval(Integral, 2, None, closed="left"), None],
}


@cache
def blas_threads() -> ThreadpoolController:
    """The BLAS of this process; a fit has threads of its own and limits it to one."""
    return ThreadpoolController()


class FactoredComponents:
    """A symmetric D x D matrix in factors: ``sqrt(scale) I + basis.T @ diag(sqrt(eigenvalues) - sqrt(scale)) @ basis``.

    Offers ``@`` with arrays on both sides, ``T``, ``shape``, ``dtype``, and ``toarray()`` where that fits.
    """

    ndim = 2
    __array_ufunc__ = None

    def __init__(self, basis: NDArray[Any], eigenvalues: NDArray[Any], scale: float) -> None:
        self.basis = basis
        self.shape = (basis.shape[1], basis.shape[1])
        self.dtype = basis.dtype
        self._root = basis.dtype.type(np.sqrt(scale))
        self._stretch = np.sqrt(eigenvalues) - self._root

    @property
    def T(self) -> FactoredComponents:
        return self

    def __rmatmul__(self, X: Any) -> NDArray[Any]:
        rows = X.toarray() if scipy.sparse.issparse(X) else np.asarray(X)
        out = ((X @ self.basis.T) * self._stretch) @ self.basis
        out += rows if self._root == 1 else self._root * rows
        return np.asarray(out)

    def __matmul__(self, X: Any) -> NDArray[Any]:
        out: NDArray[Any] = self.__rmatmul__(np.asarray(X).T).T
        return out

    def toarray(self) -> NDArray[Any]:
        """The matrix itself; a ValueError where it would take more than 2 GiB."""
        refuse_if_large(self.shape[0], self.dtype.itemsize)
        return self.__rmatmul__(np.eye(self.shape[0], dtype=self.dtype))

    def __repr__(self) -> str:
        return f"FactoredComponents(shape={self.shape}, rank={len(self.basis)}, dtype={self.dtype})"


def refuse_if_large(n_features: int, itemsize: int) -> None:
    n_bytes = n_features**2 * itemsize
    if n_bytes > _LARGEST_MATRIX:
        raise ValueError(
            f"the {n_features} x {n_features} matrix would take {n_bytes / 1e9:.3g} GB; use transform, pair_distance "
            "or components_, which work with its factors"
        )


class BaseMahalanobis(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseSteppeEstimator):  # type: ignore[misc]
    """A distance sqrt((x - z)' A (x - z)); fitted attributes are components_, or basis_, eigenvalues_ and scale_."""

    _schedules: ClassVar[tuple[str, ...]] = ("serial", "bsp")
    _auto_schedule: ClassVar[str] = "bsp"
    preprocessor: Any
    prior: Any

    @property
    def components_(self) -> Any:
        """L of A = L'L: ndarray of shape (D, D), or FactoredComponents where D > 4,000."""
        own = vars(self)
        if "components_" in own:
            return own["components_"]
        if "basis_" in own:
            return FactoredComponents(own["basis_"], own["eigenvalues_"], own["scale_"])
        raise AttributeError("components_: this estimator is not fitted yet")

    @components_.setter
    def components_(self, value: NDArray[Any]) -> None:
        self.__dict__["components_"] = value

    @components_.deleter
    def components_(self) -> None:
        del self.__dict__["components_"]

    @property
    def _n_features_out(self) -> int:
        return int(self.components_.shape[0])

    def transform(self, X: Any) -> NDArray[Any]:
        """Map rows so that their Euclidean distances are the learned ones.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, D)

        Returns
        -------
        ndarray of shape (n, D)
            ``X @ components_.T``. Costs O(n D r) where the metric is in factors of rank r.
        """
        check_is_fitted(self)
        X = check_rows(self, X)
        return np.asarray(X @ self.components_.T)

    def pair_distance(self, pairs: Any) -> NDArray[Any]:
        """The learned distances of pairs.

        Parameters
        ----------
        pairs : array-like of shape (n, 2, D), or (n, 2) of integers
            Integers number the rows of ``preprocessor``.

        Returns
        -------
        ndarray of shape (n,)
        """
        check_is_fitted(self)
        first, second = self._ends(pairs)
        return self._lengths(first - second)

    def pair_score(self, pairs: Any) -> NDArray[Any]:
        """The larger, the more similar: minus :meth:`pair_distance`.

        Parameters
        ----------
        pairs : array-like of shape (n, 2, D), or (n, 2) of integers

        Returns
        -------
        ndarray of shape (n,)
        """
        return -self.pair_distance(pairs)

    def get_metric(self) -> Callable[[ArrayLike, ArrayLike], float]:
        """The learned distance as a function of two vectors, as scikit-learn's neighbours take it.

        Returns
        -------
        callable
            ``metric(u, v) -> float``; keeps to this fit when the estimator is fitted again.
        """
        check_is_fitted(self)
        components = self.components_

        def metric(u: ArrayLike, v: ArrayLike) -> float:
            """The learned distance of two vectors of shape (D,)."""
            return float(np.linalg.norm((np.asarray(u) - np.asarray(v))[None] @ components.T))

        return metric

    def get_mahalanobis_matrix(self) -> NDArray[Any]:
        """A itself.

        Returns
        -------
        ndarray of shape (D, D)

        Raises
        ------
        ValueError
            If it would take more than 2 GiB.
        """
        check_is_fitted(self)
        components = self.components_
        refuse_if_large(components.shape[1], components.dtype.itemsize)
        if isinstance(components, FactoredComponents):
            stretch = self.eigenvalues_ - self.eigenvalues_.dtype.type(self.scale_)
            matrix = (self.basis_.T * stretch) @ self.basis_
            matrix[np.diag_indices_from(matrix)] += self.scale_
            return np.asarray(matrix)
        return np.asarray(components.T @ components)

    def _ends(self, pairs: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        if self.preprocessor is not None and np.ndim(pairs) == 2:
            points = check_rows(self, self.preprocessor)
            indices = check_indices(pairs, points.shape[0], "pairs")
            first, second = points[indices[:, 0]], points[indices[:, 1]]
            return (first.toarray(), second.toarray()) if scipy.sparse.issparse(points) else (first, second)
        pairs = check_array(pairs, dtype=[np.float64, np.float32], allow_nd=True, input_name="pairs")
        if pairs.ndim != 3 or pairs.shape[1:] != (2, self.n_features_in_):
            raise ValueError(f"pairs: has shape {pairs.shape}, expected (n, 2, {self.n_features_in_})")
        return pairs[:, 0], pairs[:, 1]

    def _lengths(self, differences: NDArray[Any]) -> NDArray[Any]:
        if "basis_" not in vars(self):
            mapped = differences @ self.components_.T
            return np.asarray(np.sqrt(np.einsum("ij,ij->i", mapped, mapped)))
        inside = (differences @ self.basis_.T) ** 2 @ (self.eigenvalues_ - self.eigenvalues_.dtype.type(self.scale_))
        whole = np.einsum("ij,ij->i", differences, differences)
        return np.asarray(np.sqrt(np.maximum(self.scale_ * whole + inside, 0)))

    def _attributes(self, result: dict[str, NDArray[Any]]) -> dict[str, Any]:
        if "components" in result:
            return {"components_": result["components"]}
        return {
            "basis_": result["basis"],
            "eigenvalues_": result["eigenvalues"],
            "scale_": float(result["scale"][0]) if "scale" in result else 1.0,
        }

    def _form(self, pairs: Pairs) -> str:
        """How the fit computes: "dense", "span" or "products"."""
        return "dense" if pairs.points.shape[1] <= DENSE_FEATURES else "span"

    def _bytes(self, pairs: Pairs) -> int:
        """About what a fit allocates: the Gram matrix twice, the matrix of the sweeps, the metric from it."""
        n_points, d = pairs.points.shape
        c, size = len(pairs.pairs), int(pairs.points.dtype.itemsize)
        n, form = min(n_points, c), self._form(pairs)
        r = min(n, d)
        vectors = 0 if isinstance(self.prior, str) and self.prior == "identity" else c * d
        doubles = {"dense": d * d + vectors, "span": c * r + r * r, "products": 2 * c * c}[form]
        if form != "dense":
            doubles += 2 * n * n + 512 * n
        if d <= DENSE_FEATURES:
            return int(8 * (doubles + 3 * d * d + 1024 * d) + size * d * d)
        return int(8 * (doubles + c * r + 3 * r * r + 1024 * r) + size * (r * d + r * r))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def check_prior(prior: Any, pairs: Pairs) -> NDArray[np.float64] | None:
    """A0 as a matrix, or None for the identity.

    Raises
    ------
    ValueError
        If it is not symmetric and positive definite, or there are too many features for a matrix.
    """
    if isinstance(prior, str) and prior == "identity":
        return None
    d = pairs.points.shape[1]
    if d > DENSE_FEATURES:
        raise ValueError(f"prior: with {d} features (more than {DENSE_FEATURES}) only prior='identity' is possible")
    if isinstance(prior, str):
        return _inverse_covariance(pairs.points)
    matrix = check_array(prior, dtype=np.float64, order="C", input_name="prior", copy=True)
    if matrix.shape != (d, d) or not np.allclose(matrix, matrix.T, rtol=1e-6):
        raise ValueError(f"prior: has shape {matrix.shape}; give a symmetric matrix of shape ({d}, {d})")
    if np.linalg.eigvalsh(matrix)[0] <= 0:
        raise ValueError("prior: the matrix is not positive definite")
    return np.asarray(matrix)


def constant_features(points: NDArray[Any]) -> list[int]:
    """Numbers of the first twenty columns that hold one value only."""
    found: list[int] = np.flatnonzero(np.ptp(points, axis=0) == 0).tolist()
    return found[:20]


def _inverse_covariance(points: NDArray[Any]) -> NDArray[np.float64]:
    constant = constant_features(points)
    if constant:
        raise ValueError(
            f"prior: the covariance is singular, as the features {constant} are constant; drop them or use "
            "prior='identity'"
        )
    covariance = np.atleast_2d(np.cov(points.astype(np.float64), rowvar=False))
    values, vectors = np.linalg.eigh(covariance)
    if values[0] <= values[-1] * len(values) * np.finfo(np.float64).eps:
        raise ValueError(
            "prior: the covariance is singular, as some features depend linearly on others; drop them or use "
            "prior='identity'"
        )
    return np.asarray((vectors / values) @ vectors.T)
