"""Readers of the svmlight (LibSVM) text format."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from steppe import _core
from steppe._plan import resolve_n_jobs
from steppe.datasets._files import (
    File,
    Source,
    compressed_rows,
    is_double,
    open_binary,
    open_source,
    source_size,
)
from steppe.parallel import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["iter_svmlight", "load_svmlight"]

ZeroBased: TypeAlias = 'bool | Literal["auto"]'


def load_svmlight(
    path: File,
    *,
    n_features: int | None = None,
    dtype: Any = np.float64,
    zero_based: ZeroBased = "auto",
    multilabel: bool = False,
    query_id: bool = False,
    offset: int = 0,
    length: int = -1,
    n_jobs: int | None = None,
    cluster: Cluster | None = None,
) -> tuple[Any, ...]:
    r"""Load a file in the svmlight (LibSVM) format, parsing pieces of it in parallel.

    Each line is ``label [qid:group] index:value ... [# comment]``; blank lines and comments are skipped. The
    result is that of :func:`sklearn.datasets.load_svmlight_file`; beyond it, indices that are not in order
    are sorted, and an error names the file, the line and what was met. Time and memory are linear in the size
    of the file; a plain file is read piece by piece, a compressed one (.gz, .bz2, .xz) is first decompressed
    into memory.

    Parameters
    ----------
    path : str, path-like or binary file
        What to read.
    n_features : int, default=None
        Columns of X, such as a model's ``n_features_in_``; may exceed what the file holds. By default the
        highest index decides. Needed when `offset` or `length` is given.
    dtype : {np.float64, np.float32}, default=np.float64
        Type of the values of X. Decimals are rounded to float64, then to `dtype`.
    zero_based : bool or "auto", default="auto"
        Whether the first column has index 0 in the file or 1. "auto": 1 if the file has no index 0. A part of
        a file cannot tell, so with `offset` or `length` "auto" means True.
    multilabel : bool, default=False
        Whether a line may have several labels, ``3,7``, or none.
    query_id : bool, default=False
        Whether to return the numbers of ``qid:``, which every line must then have.
    offset, length : int, default=0, -1
        Load the lines that start in the bytes ``(offset, offset + length]``, and the first line if `offset`
        is 0; a length of -1 reaches to the end. Adjacent ranges share no line and lose none.
    n_jobs : int or None, default=None
        Number of threads; None is 1, -1 all cores.
    cluster : steppe.parallel.Cluster or None, default=None
        Each rank loads an equal share of the bytes (of the range, if one is given); shares follow each other
        in rank order, and `n_features` and the base of the indices are unified. Collective. A compressed file
        is decompressed by every rank.

    Returns
    -------
    X : csr_array of shape (n_samples, n_features)
        Sorted columns, no duplicates; zeros in the file are stored.
    y : ndarray of shape (n_samples,), float64; or list of tuples of float
        The labels; with `multilabel` a sorted tuple for each line.
    query_id : ndarray of shape (n_samples,), int64
        Only with ``query_id=True``.

    Raises
    ------
    ValueError
        A line is malformed, an index occurs twice in a line, `n_features` is smaller than what the file
        holds, or missing where a range is loaded.

    See Also
    --------
    iter_svmlight : The same in batches, for files larger than memory.

    Examples
    --------
    >>> import io
    >>> from steppe.datasets import load_svmlight
    >>> X, y = load_svmlight(io.BytesIO(b"1 1:0.5 3:2\n-1 2:4 # a comment\n"))
    >>> X.toarray().tolist(), y.tolist()
    ([[0.5, 0.0, 2.0], [0.0, 4.0, 0.0]], [1.0, -1.0])
    """
    ranks = Cluster() if cluster is None else cluster
    with ranks.agree():
        part = offset != 0 or length != -1
        _check_range(offset, length)
        if part and n_features is None:
            raise ValueError("n_features: it must be given when offset or length is, as a part may lack columns")
        if part and zero_based == "auto":
            zero_based = True
        reader = _Reader(dtype, zero_based, multilabel, query_id, n_jobs)
        with open_source(path) as (source, name):
            begin, end = _share(source_size(source), offset, length, ranks.rank, ranks.size)
            data = reader.read(source, name, offset=begin, length=end - begin) if end > begin else reader.nothing()
    extents = ranks.gather((data["lowest_index"], data["highest_index"]))
    base = reader.base(min(lowest for lowest, _ in extents))
    columns = _n_columns(n_features, max(highest for _, highest in extents) - base, name)
    return reader.result(data, base, columns)


def iter_svmlight(
    path: File,
    *,
    batch_bytes: int = 2**26,
    n_features: int | None = None,
    dtype: Any = np.float64,
    zero_based: ZeroBased = "auto",
    multilabel: bool = False,
    query_id: bool = False,
    n_jobs: int | None = None,
) -> Iterator[tuple[Any, ...]]:
    r"""Load a svmlight file batch by batch, for ``partial_fit`` on files larger than memory.

    Unless both `n_features` and `zero_based` are given, a first pass over the file finds them; it keeps no
    examples. Compressed files are decompressed as they are read. Memory is a few times `batch_bytes`.

    Parameters
    ----------
    path : str, path-like or seekable binary file
        What to read.
    batch_bytes : int, default=2**26
        Text of a batch, up to one more line.
    n_features, dtype, zero_based, multilabel, query_id, n_jobs
        As for :func:`load_svmlight`.

    Yields
    ------
    X, y[, query_id]
        As :func:`load_svmlight` returns them, for consecutive lines; all X have the same number of columns.

    Raises
    ------
    ValueError
        As for :func:`load_svmlight`.

    Examples
    --------
    >>> import io
    >>> from steppe.datasets import iter_svmlight
    >>> text = io.BytesIO(b"1 1:0.5 3:2\n-1 2:4\n")
    >>> [X.toarray().tolist() for X, y in iter_svmlight(text, batch_bytes=1)]
    [[[0.5, 0.0, 2.0]], [[0.0, 4.0, 0.0]]]
    """
    if batch_bytes < 1:
        raise ValueError(f"batch_bytes: it must be at least 1, got {batch_bytes}")
    reader = _Reader(dtype, zero_based, multilabel, query_id, n_jobs)
    lowest, highest = np.iinfo(np.int32).max, -1
    if n_features is None or zero_based == "auto":
        for data, _ in reader.batches(path, batch_bytes, keep=False):
            lowest, highest = min(lowest, data["lowest_index"]), max(highest, data["highest_index"])
    base = reader.base(lowest)
    columns = 0 if n_features is None else n_features
    for data, name in reader.batches(path, batch_bytes, keep=True):
        columns = _n_columns(n_features, max(highest, data["highest_index"]) - base, name)
        if data["n_rows"]:
            yield reader.result(data, base, columns)


class _Reader:
    """The options that all parts of a file share."""

    def __init__(self, dtype: Any, zero_based: ZeroBased, multilabel: bool, query_id: bool, n_jobs: int | None) -> None:
        if zero_based not in (True, False, "auto"):
            raise ValueError(f"zero_based: it must be True, False or 'auto', got {zero_based!r}")
        self.zero_based = zero_based
        self.multilabel = bool(multilabel)
        self.query_id = bool(query_id)
        self.options: dict[str, Any] = {
            "float64": is_double(dtype),
            "lowest_index": 1 if zero_based is False else 0,
            "multilabel": self.multilabel,
            "query_id": self.query_id,
            "n_threads": resolve_n_jobs(n_jobs),
        }

    def read(self, source: Source, name: str, **place: Any) -> dict[str, Any]:
        return _core.read_svmlight(source, name, **self.options, **place)

    def nothing(self) -> dict[str, Any]:
        """Return what a rank without bytes has read."""
        return self.read(b"", "")

    def batches(self, path: File, batch_bytes: int, *, keep: bool) -> Iterator[tuple[dict[str, Any], str]]:
        with open_binary(path) as (stream, name):
            start = stream.tell() if hasattr(path, "read") else 0
            lines = 0
            while text := stream.read(batch_bytes):
                if not text.endswith(b"\n"):
                    text += stream.readline()
                data = self.read(text, name, lines_before=lines, keep=keep)
                lines += data["n_lines"]
                yield data, name
            if hasattr(path, "read") and not keep:
                stream.seek(start)

    def base(self, lowest: int) -> int:
        """Index of the first column, given the lowest that was met."""
        if self.zero_based == "auto":
            return int(0 < lowest < np.iinfo(np.int32).max)
        return int(not self.zero_based)

    def result(self, data: dict[str, Any], base: int, n_columns: int) -> tuple[Any, ...]:
        indices = data["indices"]
        if base:
            indices -= 1
        X = compressed_rows(data["values"], indices, data["row_offsets"], n_columns)
        y = data["labels"]
        if self.multilabel:
            labels, ends = y.tolist(), data["label_offsets"].tolist()
            y = [tuple(labels[first:last]) for first, last in itertools.pairwise(ends)]
        return (X, y, data["query_ids"]) if self.query_id else (X, y)


def _check_range(offset: int, length: int) -> None:
    if offset < 0:
        raise ValueError(f"offset: it must not be negative, got {offset}")
    if length != -1 and length < 1:
        raise ValueError(f"length: it must be positive, or -1 for the rest of the file, got {length}")


def _share(size: int, offset: int, length: int, rank: int, n_ranks: int) -> tuple[int, int]:
    """Return the bytes of one rank: consecutive, and equal up to one."""
    begin = min(offset, size)
    end = size if length == -1 else min(offset + length, size)
    return begin + (end - begin) * rank // n_ranks, begin + (end - begin) * (rank + 1) // n_ranks


def _n_columns(n_features: int | None, highest: int, name: str) -> int:
    met = max(highest + 1, 1)
    if n_features is None:
        return met
    if n_features < met:
        raise ValueError(f"n_features: {name} holds {met} features, more than n_features={n_features}")
    return n_features
