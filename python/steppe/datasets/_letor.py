"""Reader of learning-to-rank data: the LETOR text format, and LightGBM's with a file of query sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from steppe._queries import complete_queries
from steppe.datasets._files import File, open_binary
from steppe.datasets._svmlight import ZeroBased, load_svmlight
from steppe.parallel import Cluster

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["RankedDocuments", "load_letor"]


class RankedDocuments(NamedTuple):
    """What `load_letor` returns; unpacks as ``X, y, qid``.

    Attributes
    ----------
    X : ndarray or csr_array of shape (n_documents, n_features)
        Features; those that a line leaves out are 0.
    y : ndarray of shape (n_documents,), float64
        Grades of relevance.
    qid : ndarray of shape (n_documents,), int64
        The query of each document.
    """

    X: Any
    y: NDArray[np.float64]
    qid: NDArray[np.int64]


def load_letor(
    path: File,
    *,
    query_path: File | None = None,
    n_features: int | None = None,
    dtype: Any = np.float64,
    zero_based: ZeroBased = "auto",
    sparse: bool = False,
    n_jobs: int | None = None,
    cluster: Cluster | None = None,
) -> RankedDocuments:
    r"""Load learning-to-rank data, parsing pieces of the file in parallel.

    Each line is ``grade qid:query index:value ... [# comment]``, one document; blank lines and comments are skipped.
    The lines of a query need not stand together. Time and memory are linear in the size of the file; a compressed one
    (.gz, .bz2, .xz) is first decompressed into memory.

    Parameters
    ----------
    path : str, path-like or binary file
        What to read.
    query_path : str, path-like, binary file or None, default=None
        For files without ``qid:`` (LightGBM's ``.query``, XGBoost's ``.group``): a text of whole numbers, how many
        consecutive documents each query has. The queries are then numbered from 0.
    n_features : int, default=None
        Columns of X, such as a model's ``n_features_in_``. By default the highest index decides.
    dtype : {np.float64, np.float32}, default=np.float64
        Type of X.
    zero_based : bool or "auto", default="auto"
        Whether the first column has index 0 in the file or 1. "auto": 1 if the file has no index 0.
    sparse : bool, default=False
        Whether X shall be a csr_array.
    n_jobs : int or None, default=None
        Threads; None is 1, -1 all cores.
    cluster : steppe.parallel.Cluster or None, default=None
        Each rank loads about an equal share of the bytes, whole queries: one that reaches over a border ends on the
        first of the ranks. Collective.

    Returns
    -------
    RankedDocuments
        ``X, y, qid``.

    Raises
    ------
    ValueError
        A line is malformed (the message has file, line and what was met), a grade is negative, or the sizes of the
        queries do not add up to the documents.

    Examples
    --------
    >>> import io
    >>> from steppe.datasets import load_letor
    >>> X, y, qid = load_letor(io.BytesIO(b"2 qid:10 1:0.5 3:2 # doc A\n0 qid:10 2:4\n1 qid:11 1:1\n"))
    >>> X.tolist(), y.tolist(), qid.tolist()
    ([[0.5, 0.0, 2.0], [0.0, 4.0, 0.0], [1.0, 0.0, 0.0]], [2.0, 0.0, 1.0], [10, 10, 11])
    """
    ranks = Cluster() if cluster is None else cluster
    try:
        loaded = load_svmlight(
            path,
            n_features=n_features,
            dtype=dtype,
            zero_based=zero_based,
            query_id=query_path is None,
            n_jobs=n_jobs,
            cluster=ranks,
        )
    except ValueError as error:
        if "needs 'qid:'" not in str(error):
            raise
        raise ValueError(f"{error}; or give the sizes of the queries by query_path=") from None
    rows, y = loaded[:2]
    with ranks.agree():
        if len(y) and y.min() < 0:
            raise ValueError(f"{path}: met the grade {y.min():g}; grades of relevance must be 0 or more")
    qid = loaded[2] if query_path is None else _numbered(query_path, len(y), ranks)
    numbers = np.searchsorted(ranks.unify(qid), qid)
    rows, y, qid = complete_queries(ranks, numbers, (rows, y, qid))
    return RankedDocuments(rows if sparse else rows.toarray(), y, qid)


def _numbered(query_path: File, n_rows: int, ranks: Cluster) -> NDArray[np.int64]:
    """Collective. The queries of this rank's documents, by their sizes."""
    counts = ranks.gather(n_rows)
    with ranks.agree():
        sizes = _sizes(query_path)
        if sizes.sum() != sum(counts):
            raise ValueError(
                f"query_path: the {len(sizes)} queries have {sizes.sum()} documents, but there are {sum(counts)} "
                "lines; give the file of sizes that belongs to the data"
            )
    first = sum(counts[: ranks.rank])
    return np.searchsorted(np.cumsum(sizes), np.arange(first, first + n_rows), side="right").astype(np.int64)


def _sizes(query_path: File) -> NDArray[np.int64]:
    sizes: list[int] = []
    with open_binary(query_path) as (stream, name):
        for number, line in enumerate(stream, 1):
            fields = line.split()
            if not all(field.isdigit() for field in fields):
                met = line.decode(errors="replace").strip()
                raise ValueError(f"{name}, line {number}: the size of a query must be a whole number, got {met!r}")
            sizes += map(int, fields)
    return np.array(sizes, dtype=np.int64)
