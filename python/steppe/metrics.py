"""Measures of quality."""

from __future__ import annotations

from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils import check_array, check_consistent_length

from steppe import _core
from steppe._plan import resolve_n_jobs
from steppe._queries import check_grades, check_qid, query_offsets

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["ndcg_score"]


def ndcg_score(
    y_true: ArrayLike,
    y_score: ArrayLike,
    qid: Any = None,
    k: int | None = None,
    *,
    gain: str = "exponential",
    no_relevant: str | float = "skip",
    n_jobs: int | None = None,
) -> float:
    r"""Normalised discounted cumulative gain, the mean over queries.

    A query's documents are ranked by falling score; the DCG of the first k is :math:`\sum_i g_i / \log_2(i + 1)`,
    divided by the largest that its documents allow. Documents of equal score share their places: each gets the mean
    over all orders of the tie, as in :func:`sklearn.metrics.ndcg_score`.

    Parameters
    ----------
    y_true : array-like of shape (n,) or (n_queries, n_documents)
        Grades of relevance, 0 or more.
    y_score : array-like of the same shape
        The larger, the earlier.
    qid : array-like of shape (n,) or None, default=None
        The query of each document, in any order; None makes all documents one query. With two axes each row is a query.
    k : int or None, default=None
        How many places count; None counts all.
    gain : {"exponential", "linear"}, default="exponential"
        What a document of grade l is worth: :math:`2^l - 1`, or l, which is what scikit-learn takes.
    no_relevant : "skip" or float, default="skip"
        What a query without any relevant document (all grades 0) counts: nothing, or that value. scikit-learn has 0,
        LightGBM 1.
    n_jobs : int or None, default=None
        Threads.

    Returns
    -------
    float
        nan if no query counts.

    Raises
    ------
    ValueError
        If a grade is negative or too large, the lengths differ, or a parameter is none of the above.

    Notes
    -----
    Costs n log n for each query of n documents.

    Examples
    --------
    >>> from steppe.metrics import ndcg_score
    >>> round(ndcg_score([2, 0, 1, 0, 1], [0.9, 0.8, 0.7, 0.2, 0.1], qid=[7, 7, 7, 3, 3], k=2), 4)
    0.7286
    """
    if k is not None and (not isinstance(k, Integral) or k < 1):
        raise ValueError(f"k: got {k!r}; give a number of places, 1 or more, or None for all")
    if gain not in ("exponential", "linear"):
        raise ValueError(f"gain: got {gain!r}; choose 'exponential' or 'linear'")
    if no_relevant != "skip" and not isinstance(no_relevant, Real):
        raise ValueError(f"no_relevant: got {no_relevant!r}; give 'skip' or a number")
    scores = check_array(y_score, ensure_2d=False, dtype=np.float64, input_name="y_score")
    grades = check_array(y_true, ensure_2d=False, dtype=np.float64, input_name="y_true")
    grades = check_grades(grades, "y_true", exponential=gain == "exponential")
    if grades.shape != scores.shape:
        raise ValueError(f"y_score: has shape {scores.shape} and y_true has {grades.shape}; give equal shapes")
    if grades.ndim == 2:
        if qid is not None:
            raise ValueError("qid: with two axes each row is a query; pass one axis, or no qid")
        qid = np.repeat(np.arange(len(grades)), grades.shape[1])
    scores, grades = scores.ravel(), grades.ravel()
    ids = check_qid(qid, len(grades))
    check_consistent_length(scores, grades, ids)
    order = np.argsort(ids, kind="stable")
    gains = grades[order] if gain == "linear" else np.exp2(grades[order]) - 1
    values = _core.ndcg(
        np.ascontiguousarray(scores[order]),
        np.ascontiguousarray(gains),
        query_offsets(ids[order]),
        len(gains) if k is None else min(int(k), len(gains)),
        n_threads=resolve_n_jobs(n_jobs),
    )
    empty = np.isnan(values)
    counted = values[~empty] if no_relevant == "skip" else np.where(empty, no_relevant, values)
    return float(np.mean(counted)) if len(counted) else float("nan")
