"""Documents grouped by query: checked, numbered, and each query whole on one rank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse
from sklearn.utils.validation import column_or_1d

from steppe import _core
from steppe._validation import check_regression

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from steppe._plan import FitPlan
    from steppe.parallel import Cluster

__all__ = ["RankingData", "check_grades", "check_qid", "check_ranking", "complete_queries", "query_offsets"]

_LARGEST_GRADE = 1000.0


@dataclass(frozen=True)
class RankingData:
    """Documents of whole queries, in an order that does not depend on the one in which they were passed.

    Attributes
    ----------
    X : ndarray of shape (n, D)
        float32 or float64, in the order of arrival.
    order : int64 ndarray of shape (n,)
        Rows of X by query, then by grade.
    grades, weights : float64 ndarray of shape (n,)
        In that order; a weight is that of the row times that of its query.
    offsets : int64 ndarray of shape (n_queries + 1,)
        Of the queries in that order.
    numbers : int64 ndarray of shape (n_queries,)
        Of the queries among those of all ranks, rising.
    identity : dict
        What was passed, by which a checkpoint tells fits apart.
    """

    X: NDArray[Any]
    order: NDArray[np.int64]
    grades: NDArray[np.float64]
    weights: NDArray[np.float64]
    offsets: NDArray[np.int64]
    numbers: NDArray[np.int64]
    identity: dict[str, Any]


def check_ranking(
    estimator: Any, plan: FitPlan, X: Any, y: Any, qid: Any, sample_weight: Any, group_weight: Any
) -> RankingData:
    """Collective. Check what a ranker is fitted on; rows of a query that several ranks hold go to the first of them.

    Raises
    ------
    ValueError
        Also if no query has documents of different grades.
    """
    cluster = plan.cluster
    data = check_regression(estimator, plan, X, y, sample_weight)
    with cluster.agree():
        grades = check_grades(data.y, "y")
        ids = check_qid(qid, len(grades))
    if len(set(cluster.gather(qid is None))) > 1:
        raise ValueError("qid: some ranks passed it and some did not; pass it on all ranks or on none")
    known = cluster.unify(ids)
    numbers = np.searchsorted(known, ids).astype(np.int64)
    with cluster.agree():
        weights = data.weights.astype(np.float64) * _spread(group_weight, numbers)
    identity = {"X": data.X, "y": data.y, "qid": ids, "weight": weights}
    rows, numbers, grades, weights = complete_queries(cluster, numbers, (data.X, numbers, grades, weights))
    rows = np.ascontiguousarray(rows.toarray() if scipy.sparse.issparse(rows) else rows)
    order = _core.ranking_order(rows, numbers, grades, weights)
    grades, numbers = grades[order], numbers[order]
    offsets = query_offsets(numbers)
    found = RankingData(rows, order, grades, weights[order], offsets, numbers[offsets[:-1]], identity)
    _refuse_equal_grades(cluster, found)
    return found


def check_grades(y: ArrayLike, name: str, *, exponential: bool = True) -> NDArray[np.float64]:
    """Relevance as float64; `exponential` says that gains are 2 ** grade - 1.

    Raises
    ------
    ValueError
        If a grade is negative, or so large that its gain overflows.
    """
    grades = np.ascontiguousarray(y, dtype=np.float64)
    if grades.size and grades.min() < 0:
        raise ValueError(f"{name}: met the grade {grades.min():g}; grades of relevance must be 0 or more")
    if exponential and grades.size and grades.max() > _LARGEST_GRADE:
        raise ValueError(
            f"{name}: met the grade {grades.max():g}, whose gain 2 ** grade - 1 overflows; give grades such as 0 to 4"
        )
    return grades


def check_qid(qid: Any, n_rows: int) -> NDArray[Any]:
    """The query of each row: ids of any type that can be sorted. None makes all rows one query.

    Raises
    ------
    ValueError
        If there is not one id for each row, or an id is NaN.
    """
    if qid is None:
        return np.zeros(n_rows, dtype=np.int64)
    ids: NDArray[Any] = column_or_1d(qid)
    if len(ids) != n_rows:
        raise ValueError(f"qid: has {len(ids)} entries and X has {n_rows} rows; give the query of each row, not sizes")
    if ids.dtype.kind == "f" and not np.isfinite(ids).all():
        raise ValueError("qid: contains NaN or infinity; every row needs a query")
    return ids


def query_offsets(numbers: NDArray[Any]) -> NDArray[np.int64]:
    """Where each run of equal numbers begins, and the end."""
    changes = np.flatnonzero(numbers[1:] != numbers[:-1]) + 1
    return np.concatenate([[0], changes, [len(numbers)]] if len(numbers) else [[0]]).astype(np.int64)


def complete_queries(cluster: Cluster, numbers: NDArray[np.int64], arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    """Collective. Rows of a query that several ranks hold go to the first of them, behind its own.

    Parameters
    ----------
    numbers : int64 ndarray of shape (n,)
        The query of each row, by the same numbers on every rank.
    arrays : tuple of ndarray or sparse matrix with n rows
    """
    if cluster.size == 1:
        return arrays
    present = cluster.gather(np.unique(numbers))
    owner = np.zeros(1 + max((int(part[-1]) for part in present if len(part)), default=0), dtype=np.int64)
    for rank in reversed(range(cluster.size)):
        owner[present[rank]] = rank
    if sum(map(len, present)) == len(np.unique(np.concatenate(present))):
        return arrays
    leaving = owner[numbers] != cluster.rank
    parts = cluster.gather((owner[numbers[leaving]], tuple(array[leaving] for array in arrays)))
    arriving = [[array[to == cluster.rank] for array in columns] for to, columns in parts]
    kept = [array[~leaving] for array in arrays]
    return tuple(_stack(list(pieces)) for pieces in zip(kept, *arriving, strict=True))


def _stack(pieces: list[Any]) -> Any:
    if any(scipy.sparse.issparse(piece) for piece in pieces):
        return scipy.sparse.vstack([scipy.sparse.csr_array(piece) for piece in pieces], format="csr")
    return np.concatenate(pieces)


def _spread(group_weight: Any, numbers: NDArray[np.int64]) -> Any:
    """The weight of each row's query."""
    if group_weight is None:
        return 1.0
    distinct, place = np.unique(numbers, return_inverse=True)
    weights = np.asarray(group_weight, dtype=np.float64)
    if weights.shape != distinct.shape:
        raise ValueError(
            f"group_weight: has shape {weights.shape}, expected {distinct.shape}: one weight for each query, in the "
            "order of sorted ids"
        )
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError("group_weight: contains negative or non-finite weights; give weights of 0 or more")
    return weights[place]


def _refuse_equal_grades(cluster: Cluster, data: RankingData) -> None:
    differ = data.grades[1:] > data.grades[:-1]
    inside = np.ones(len(differ), dtype=bool)
    inside[data.offsets[1:-1] - 1] = False
    teaching, n_rows = cluster.sum(np.array([(differ & inside).sum(), len(data.grades)]))
    if teaching == 0:
        raise ValueError(
            f"y: no query has documents of different grades (n_samples={n_rows}); a ranker learns from queries with "
            "documents of which some are more relevant than others"
        )
