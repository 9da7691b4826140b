"""Pairs of points: checked, sampled from labels, and the same on every rank."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse
from sklearn.utils.validation import check_array

from steppe import _core
from steppe._validation import check_classification

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from steppe._plan import FitPlan

_BOUND_PAIRS = 10_000  # pairs of points whose distances give the default bounds
_SMALLEST_BOUND = np.finfo(np.float64).tiny  # whose inverse is finite


@dataclass(frozen=True)
class Pairs:
    """Pairs of points, those of the same class first; whole and equal on every rank.

    Attributes
    ----------
    points : ndarray of shape (P, D)
        float32 or float64, C order.
    pairs : int64 ndarray of shape (C, 2)
        Rows of `points`; no pair has length zero.
    sign : float64 ndarray of shape (C,)
        +1 similar, -1 dissimilar.
    position : int ndarray of shape (C,)
        Where each pair stood in what was passed, or sampled.
    n_passed : int
        Pairs before those of length zero were dropped.
    """

    points: NDArray[Any]
    pairs: NDArray[np.int64]
    sign: NDArray[np.float64]
    position: NDArray[np.int64]
    n_passed: int

    def in_passed_order(self, values: NDArray[Any]) -> NDArray[Any]:
        """One value for each pair that was passed; 0 for those dropped."""
        out = np.zeros(self.n_passed, dtype=values.dtype)
        out[self.position] = values
        return out


def check_pairs(estimator: Any, plan: FitPlan, X: Any, y: Any) -> Pairs:
    """Collective. The pairs that `X` and `y` mean: pairs themselves, indices of a preprocessor, or labelled rows.

    Without a preprocessor three axes mean pairs, of arrays as of nested lists, and anything else rows.

    Raises
    ------
    ValueError
        Also if some ranks pass pairs and others rows.
    """
    if estimator.preprocessor is not None:
        found = _indexed(estimator, plan, X, y)
    elif _are_pairs(plan, X):
        found = _given(plan, X, y)
    else:
        found = _sampled(estimator, plan, X, y)
    return _ordered(found, plan.n_threads)


def _are_pairs(plan: FitPlan, X: Any) -> bool:
    shape: tuple[int, ...] = ()
    with plan.cluster.agree():
        shape = X.shape if hasattr(X, "shape") else np.asarray(X).shape
        if len(shape) == 3 and shape[1] != 2:
            raise ValueError(
                f"X: has shape {shape}; give pairs of shape (n, 2, D) with y of +1 and -1, or rows of shape (n, D) "
                "with class labels"
            )
    answers = set(plan.cluster.gather(len(shape) == 3))
    if len(answers) > 1:
        raise ValueError(
            "X: some ranks hold pairs (n, 2, D) and others rows (n, D); pass the same on every rank, of shape "
            "(0, 2, D) or (0, D) where there are none"
        )
    return answers.pop()


def default_bounds(pairs: Pairs, plan: FitPlan) -> NDArray[np.float64]:
    """The 5th and 95th percentile of squared distances between points; of a sample if there are many."""
    n = len(pairs.points)
    if n * (n - 1) // 2 <= _BOUND_PAIRS:
        chosen = np.stack(np.triu_indices(n, 1), axis=1)
    else:
        rng = np.random.default_rng([plan.seed, 1])
        first = rng.integers(0, n, _BOUND_PAIRS)
        chosen = np.stack([first, (first + rng.integers(1, n, _BOUND_PAIRS)) % n], axis=1)
    squared = _core.pair_squared_distances(pairs.points, chosen.astype(np.int64), plan.n_threads)
    squared = squared[squared > 0]
    if not squared.size:  # nearly all points are alike, and the sample missed the others
        squared = _core.pair_squared_distances(pairs.points, pairs.pairs, plan.n_threads)
    return np.asarray(np.maximum(np.percentile(squared, (5, 95)), _SMALLEST_BOUND))


def check_indices(pairs: Any, n_points: int, name: str) -> NDArray[np.int64]:
    """Pairs of row numbers of a preprocessor with `n_points` rows.

    Raises
    ------
    ValueError
        If they are not integers of shape (n, 2), or one is out of range.
    """
    indices = np.asarray(pairs)
    if indices.ndim != 2 or indices.shape[1] != 2 or indices.dtype.kind not in "iu":
        raise ValueError(
            f"{name}: has shape {indices.shape} and dtype {indices.dtype}; with preprocessor= give integers of shape "
            "(n, 2), each row the numbers of two rows of the preprocessor"
        )
    if indices.size and (indices.min() < 0 or indices.max() >= n_points):
        raise ValueError(f"{name}: met a row number outside of the {n_points} rows of preprocessor=")
    return indices.astype(np.int64)


def _signs(y: Any, n: int) -> NDArray[np.float64]:
    sign = np.asarray(y)
    if sign.shape != (n,):
        raise ValueError(f"y: has shape {sign.shape}, expected ({n},): one of +1 (similar) and -1 for each pair")
    strange = sign[(sign != 1) & (sign != -1)]
    if strange.size:
        raise ValueError(f"y: met {strange.tolist()[0]!r}; give +1 for a similar pair and -1 for a dissimilar one")
    return sign.astype(np.float64)


def _as_points(X: Any, name: str) -> NDArray[Any]:
    X = check_array(X, dtype=[np.float64, np.float32], order="C", accept_sparse="csr", input_name=name)
    return np.ascontiguousarray(X.toarray()) if scipy.sparse.issparse(X) else X


def _given(plan: FitPlan, X: Any, y: Any) -> Pairs:
    with plan.cluster.agree():
        X = check_array(X, dtype=[np.float64, np.float32], order="C", allow_nd=True, ensure_min_samples=0)
        sign = _signs(y, len(X))
    parts = plan.cluster.gather((X, sign))
    with plan.cluster.agree():
        if len({(part.shape[2], part.dtype) for part, _ in parts}) > 1:
            raise ValueError("X: the ranks hold pairs of different dtypes or numbers of features; make them equal")
    pairs = X if len(parts) == 1 else np.concatenate([part for part, _ in parts])
    plan.fitted["n_features_in_"] = X.shape[2]
    indices = np.arange(2 * len(pairs), dtype=np.int64).reshape(-1, 2)
    return _whole(pairs.reshape(2 * len(pairs), X.shape[2]), indices, np.concatenate([part for _, part in parts]))


def _indexed(estimator: Any, plan: FitPlan, X: Any, y: Any) -> Pairs:
    with plan.cluster.agree():
        points = _as_points(estimator.preprocessor, "preprocessor")
        indices = check_indices(X, len(points), "X")
        sign = _signs(y, len(indices))
    parts = plan.cluster.gather((indices, sign))
    plan.fitted["n_features_in_"] = points.shape[1]
    used, pairs = _compressed(np.concatenate([part for part, _ in parts]))
    points = points if len(used) == len(points) else points[used]
    return _whole(points, pairs, np.concatenate([part for _, part in parts]))


def _sampled(estimator: Any, plan: FitPlan, X: Any, y: Any) -> Pairs:
    data = check_classification(estimator, plan, X, y)
    codes = plan.cluster.gather(data.codes)
    begin = sum(len(part) for part in codes[: plan.cluster.rank])
    n_rows = sum(len(part) for part in codes)
    n_pairs = estimator.n_constraints or default_n_pairs(len(data.classes), n_rows)
    with plan.cluster.agree():
        sampled, sign = sample_pairs(np.concatenate(codes), n_pairs, np.random.default_rng([plan.seed, 0]))
    used, pairs = _compressed(sampled)
    mine = used[(used >= begin) & (used < begin + data.X.shape[0])] - begin
    rows = data.X if len(mine) == data.X.shape[0] else data.X[mine]
    rows = rows.toarray() if scipy.sparse.issparse(rows) else rows
    parts = plan.cluster.gather(rows)
    points = rows if len(parts) == 1 else np.concatenate(parts)
    return _whole(np.ascontiguousarray(points), pairs, sign)


def default_n_pairs(n_classes: int, n_rows: int) -> int:
    """2,000, or 40 times the square of the number of classes if that is more; at most 10 for each row."""
    return min(max(2000, 40 * n_classes**2), 10 * n_rows)


def sample_pairs(
    codes: NDArray[Any], n_pairs: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """About `n_pairs` random pairs of rows, half of the same class, half of two classes; none twice.

    Raises
    ------
    ValueError
        If no class has two rows.
    """
    order = np.argsort(codes, kind="stable")
    counts = np.bincount(codes)
    starts = np.concatenate([[0], np.cumsum(counts)])[codes]  # in `order`, by row
    several = np.flatnonzero(counts[codes] > 1)
    if not several.size:
        raise ValueError("y: every class has one member, so there is no similar pair; give two rows of some class")
    first = rng.choice(several, (n_pairs + 1) // 2)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    size = counts[codes[first]]
    other = (place[first] - starts[first] + rng.integers(1, size)) % size
    similar = np.stack([first, order[starts[first] + other]], axis=1)
    first = rng.integers(0, len(codes), n_pairs // 2)
    own = counts[codes[first]]
    other = (starts[first] + own + rng.integers(0, len(codes) - own)) % len(codes)
    dissimilar = np.stack([first, order[other]], axis=1)
    kept = [_distinct(part) for part in (similar, dissimilar)]
    return np.concatenate(kept), np.concatenate([np.full(len(kept[0]), 1.0), np.full(len(kept[1]), -1.0)])


def _distinct(pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    _, first = np.unique(np.sort(pairs, axis=1), axis=0, return_index=True)
    return pairs[np.sort(first)]


def _compressed(pairs: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows that occur, and the pairs as numbers among them."""
    used, inverse = np.unique(pairs, return_inverse=True)
    return used, inverse.reshape(pairs.shape).astype(np.int64)


def _whole(points: NDArray[Any], pairs: NDArray[np.int64], sign: NDArray[np.float64]) -> Pairs:
    return Pairs(points, pairs, sign, np.arange(len(pairs)), len(pairs))


def _ordered(found: Pairs, n_threads: int) -> Pairs:
    """Without pairs of length zero; similar ones first, as in the published algorithm."""
    squared = _core.pair_squared_distances(found.points, found.pairs, n_threads)
    if not np.isfinite(squared).all():
        raise ValueError("X: the squared distances of pairs overflow; scale the features")
    kept = np.flatnonzero(squared > 0)
    kept = kept[np.argsort(-found.sign[kept], kind="stable")]
    if not kept.size:
        raise ValueError(f"X: all {found.n_passed} pairs have length zero; give pairs of different points")
    return replace(
        found,
        pairs=np.ascontiguousarray(found.pairs[kept]),
        sign=np.ascontiguousarray(found.sign[kept]),
        position=found.position[kept],
    )
