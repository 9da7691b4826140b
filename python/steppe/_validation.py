"""Checks of data, once for all estimators. A ValueError names the argument, what was met and what to do."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import scipy.sparse
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from steppe import _core
from steppe._digest import digest
from steppe._plan import refuse_differing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    from steppe._plan import FitPlan
    from steppe.parallel import Cluster

Rows: TypeAlias = Any
"""A C-ordered ndarray, or a CSR matrix or array, of float32 or float64."""

__all__ = [
    "Examples",
    "check_classification",
    "check_csr",
    "check_points",
    "check_regression",
    "check_rows",
    "native_rows",
]

_COLUMNS = ("n_features_in_", "feature_names_in_")
_REMEDIES = {
    "contains infinity": "Remove or clip such values.",
    "contains NaN": "Drop or replace missing values.",
    "0 sample(s)": "Pass at least one row.",
    "0 feature(s)": "Pass at least one column.",
}


@dataclass(frozen=True)
class Examples:
    """Checked rows with their targets, the same on every rank where that matters.

    Attributes
    ----------
    X : ndarray (C order) or CSR of shape (n, D)
        float32 or float64; D is equal on all ranks.
    y : ndarray of shape (n,)
        As passed; for regression of X's dtype.
    weights : ndarray of shape (n,), X's dtype
        Sample weight times class weight; not normalised.
    total_weight : float
        Sum of `weights` over all ranks; positive.
    classes : ndarray of shape (K,)
        Sorted, of all ranks; empty for regression.
    codes : int32 ndarray of shape (n,)
        Index of each y in `classes`; empty for regression.
    """

    X: Rows
    y: NDArray[Any]
    weights: NDArray[Any]
    total_weight: float
    classes: NDArray[Any]
    codes: NDArray[np.int32]


def check_classification(
    estimator: Any,
    plan: FitPlan,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    *,
    class_weight: Mapping[Any, float] | str | None = None,
    classes: ArrayLike | None = None,
    reset: bool = True,
) -> Examples:
    """Collective. Check the rows, labels and weights of a classifier.

    Parameters
    ----------
    classes : array-like of shape (K,) or None, default=None
        The classes if they are known, as in partial_fit; else they are found in `y`, on all ranks.
    class_weight : dict, "balanced" or None, default=None
        "balanced" counts each row with its sample weight.
    reset : bool, default=True
        Whether to take `n_features_in_` and `feature_names_in_` from X (fit), or to check against them.

    Raises
    ------
    ValueError
        Also if there is only one class.
    """
    cluster = plan.cluster
    with cluster.agree():
        X, y = _check_rows_and_targets(estimator, plan, X, y, reset=reset)
        check_classification_targets(y)
        weights = check_sample_weight(sample_weight, len(y), X.dtype)
        known = None if classes is None else np.unique(np.asarray(classes))
    X = _unify_columns(plan, X, reset=reset)
    refuse_differing("classes", cluster.gather(digest(known)))
    known = cluster.unify(y) if known is None else known
    with cluster.agree():
        if len(known) < 2:
            raise ValueError(f"y: met {len(known)} class ({known.tolist()}); a classifier needs 2 or more classes")
        codes = encode_labels(y, known)
    total = _total_weight(weights, cluster)
    if class_weight is not None:
        counts = cluster.sum(np.bincount(codes, weights=weights, minlength=len(known)))
        with cluster.agree():
            weights = weights * class_weights(class_weight, known, counts).astype(X.dtype)[codes]
        total = _total_weight(weights, cluster, "class_weight")
    return Examples(X, y, weights, total, known, codes)


def check_regression(
    estimator: Any, plan: FitPlan, X: Any, y: Any, sample_weight: Any = None, *, reset: bool = True
) -> Examples:
    """Collective. Check the rows, numeric targets and weights of a regressor."""
    cluster = plan.cluster
    with cluster.agree():
        X, y = _check_rows_and_targets(estimator, plan, X, y, reset=reset, y_numeric=True)
        weights = check_sample_weight(sample_weight, len(y), X.dtype)
    X = _unify_columns(plan, X, reset=reset)
    total = _total_weight(weights, cluster)
    return Examples(X, y.astype(X.dtype), weights, total, np.empty(0), np.empty(0, np.int32))


def check_points(
    estimator: Any, plan: FitPlan, X: Any, sample_weight: Any = None, *, reset: bool = True
) -> tuple[Rows, NDArray[Any]]:
    """Collective. Check the rows of a model without targets: X and its weights."""
    cluster = plan.cluster
    with cluster.agree():
        checked = _validated(estimator, plan, X, reset=reset)
        weights = check_sample_weight(sample_weight, checked.shape[0], checked.dtype)
    checked = _unify_columns(plan, checked, reset=reset)
    _total_weight(weights, cluster)
    return checked, weights


def check_rows(estimator: Any, X: Any) -> Rows:
    """Check the rows that a fitted estimator is to predict or transform. Local, not collective."""
    try:
        X = validate_data(estimator, X, reset=False, **_how(1))
    except ValueError as error:
        raise with_remedy(error, estimator, X, None) from None
    return check_csr(X) if scipy.sparse.issparse(X) else X


def native_rows(X: Rows) -> Any:
    """What native code takes for X: a C-ordered ndarray, or the tuple (indptr, indices, data, n_columns)."""
    if scipy.sparse.issparse(X):
        return X.indptr, X.indices, X.data, X.shape[1]
    return X


def check_csr(X: Any, name: str = "X") -> Any:
    """A CSR matrix that native code may walk: in range, each row sorted, without duplicates.

    Raises
    ------
    ValueError
        If it is not, or if a column number does not fit into 32 bits.
    """
    if len(X.indptr) != X.shape[0] + 1:
        raise ValueError(
            f"{name}: its indptr has {len(X.indptr)} entries for {X.shape[0]} rows; "
            "build the matrix again, for instance from its coo form"
        )
    _core.check_csr(X.indptr, X.indices, len(X.data), X.shape[1], name)
    return X


def check_sample_weight(sample_weight: Any, n_rows: int, dtype: Any) -> NDArray[Any]:
    """Weights of shape (n_rows,) and that dtype: ones for None, a number for all, or one for each row."""
    if sample_weight is None:
        return np.ones(n_rows, dtype=dtype)
    weights = np.asarray(sample_weight, dtype=dtype)
    if weights.ndim == 0:
        weights = np.full(n_rows, weights)
    if weights.shape != (n_rows,):
        raise ValueError(
            f"sample_weight: has shape {weights.shape}, expected ({n_rows},): one weight for each row of X"
        )
    if not np.isfinite(weights).all():
        raise ValueError("sample_weight: contains NaN or infinity; give finite weights")
    if (weights < 0).any():
        raise ValueError("sample_weight: contains negative weights; give weights of 0 or more")
    return weights


def encode_labels(y: NDArray[Any], classes: NDArray[Any]) -> NDArray[np.int32]:
    """Index of each label in the sorted `classes`.

    Raises
    ------
    ValueError
        If a label is not among them.
    """
    codes = np.searchsorted(classes, y)
    strange = classes[np.minimum(codes, len(classes) - 1)] != y
    if strange.any():
        raise ValueError(
            f"y: met the label {y[strange].tolist()[0]!r}, which is not among the classes "
            f"{classes.tolist()[:20]}; give all classes in the first call"
        )
    return codes.astype(np.int32)


def class_weights(class_weight: Mapping[Any, float] | str, classes: NDArray[Any], counts: NDArray[Any]) -> NDArray[Any]:
    """A weight for each class; `counts` are the sums of sample weights by class over all ranks."""
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise ValueError(f"class_weight: got {class_weight!r}; give 'balanced', a dict of label to weight, or None")
        present = counts > 0
        weights = np.zeros(len(classes))
        weights[present] = counts.sum() / (present.sum() * counts[present])
        return weights
    known = set(classes.tolist())
    unknown = [label for label in class_weight if label not in known]
    if unknown:
        raise ValueError(f"class_weight: the labels {unknown[:20]} are not among the classes {classes.tolist()[:20]}")
    for label, weight in class_weight.items():
        if not (isinstance(weight, Real) and 0 <= weight < np.inf):
            raise ValueError(f"class_weight: the label {label!r} has weight {weight!r}; give a finite one, 0 or more")
    return np.array([class_weight.get(label, 1.0) for label in classes.tolist()], dtype=np.float64)


def _how(min_rows: int) -> dict[str, Any]:
    return {
        "accept_sparse": "csr",
        "accept_large_sparse": True,
        "dtype": [np.float64, np.float32],
        "order": "C",
        "ensure_min_samples": min_rows,
    }


def _check_rows_and_targets(
    estimator: Any, plan: FitPlan, X: Any, y: Any, *, reset: bool, y_numeric: bool = False
) -> tuple[Rows, NDArray[Any]]:
    checked: tuple[Rows, NDArray[Any]] = _validated(estimator, plan, X, reset=reset, y=y, y_numeric=y_numeric)
    return checked


def _validated(estimator: Any, plan: FitPlan, X: Any, *, reset: bool, **target: Any) -> Any:
    """Checked X, and y if it is given. The names and number of columns go to the plan: the fit may yet fail."""
    columns = copy.copy(estimator) if reset else estimator
    how = _how(1 if plan.cluster.size == 1 else 0)  # on a cluster the ranks count together
    try:
        checked = validate_data(columns, X, reset=reset, **how, **target)
    except ValueError as error:
        raise with_remedy(error, estimator, X, target.get("y")) from None
    rows = checked[0] if target else checked
    if scipy.sparse.issparse(rows):
        check_csr(rows)
    _refuse_overflow(rows.data if scipy.sparse.issparse(rows) else rows)
    plan.fitted.update({name: getattr(columns, name) for name in _COLUMNS if hasattr(columns, name)})
    return checked


def _refuse_overflow(values: NDArray[Any]) -> None:
    largest = max(float(values.max(initial=0)), -float(values.min(initial=0)))
    if largest > np.sqrt(np.finfo(values.dtype).max / max(values.size, 1)):
        raise ValueError(f"X: holds {largest:g}, and its squares overflow {values.dtype}; scale the features")


def with_remedy(error: ValueError, estimator: Any, X: Any, y: Any) -> ValueError:
    message = str(error)
    remedy = next((text for sign, text in _REMEDIES.items() if sign in message), "")
    shape: tuple[int, ...] = getattr(X, "shape", ())
    expected = getattr(estimator, "n_features_in_", None)
    if len(shape) == 2 and (
        ("inconsistent numbers of samples" in message and y is not None and shape[1] == len(y))
        or ("features as input" in message and shape[0] == expected)
    ):
        remedy = f"X has shape {tuple(shape)} and seems to be transposed: pass X.T, with one row for each sample."
    return type(error)(f"{message} {remedy}") if remedy else error


def _unify_columns(plan: FitPlan, X: Rows, *, reset: bool) -> Rows:
    """Collective. The same columns on all ranks: equal for arrays, the widest for sparse rows."""
    cluster = plan.cluster
    if cluster.size == 1:
        return X
    names = plan.fitted.get("feature_names_in_")
    sparse = scipy.sparse.issparse(X)
    told = cluster.gather((X.shape, sparse, None if names is None else list(names), X.dtype.str))
    shapes = [shape for shape, *_ in told]
    if sum(rows for rows, _ in shapes) == 0:
        raise ValueError("X: no rank has a row; pass at least one row on one rank")
    for what, column in (("feature names", 2), ("dtypes", 3)):
        if any(row[column] != told[0][column] for row in told):
            raise ValueError(f"X: the {what} differ between ranks, {[row[column] for row in told]}: make them equal")
    widest = max(columns for _, columns in shapes)
    if any(columns != widest and not (is_sparse and reset) for (_, columns), is_sparse, *_ in told):
        raise ValueError(
            f"X: the ranks have shapes {shapes}; arrays must have the same number of columns on every rank"
        )
    if X.shape[1] != widest:
        X = type(X)((X.data, X.indices, X.indptr), shape=(X.shape[0], widest))
        plan.fitted["n_features_in_"] = widest
    return X


def _total_weight(weights: NDArray[Any], cluster: Cluster, name: str = "sample_weight") -> float:
    total = float(cluster.sum(float(weights.sum(dtype=np.float64))))
    if total <= 0:
        raise ValueError(f"{name}: all weights are zero; give at least one row a positive weight")
    return total
