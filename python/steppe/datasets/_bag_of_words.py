"""Readers of bags of words: the UCI and LDA-C formats."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from scipy.sparse import csr_array

from steppe import _core
from steppe._plan import resolve_n_jobs
from steppe.datasets._files import File, Source, compressed_rows, open_binary, open_source, source_size
from steppe.parallel import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["BagOfWords", "iter_bag_of_words", "load_bag_of_words"]

_HEAD_BYTES = 2**16
_INT32_MAX = np.iinfo(np.int32).max
_DTYPES = (np.int32, np.int64, np.float32, np.float64)


class BagOfWords(NamedTuple):
    """What `load_bag_of_words` returns; unpacks as ``X, vocabulary``.

    Attributes
    ----------
    X : csr_array of shape (n_documents, n_words)
        How often each word occurs in each document.
    vocabulary : ndarray of shape (n_words,), str; or None
        The word of each column, if a vocabulary was given.
    """

    X: csr_array
    vocabulary: NDArray[Any] | None


def load_bag_of_words(
    path: File,
    *,
    vocabulary: File | None = None,
    format: Literal["auto", "uci", "lda-c"] = "auto",
    n_features: int | None = None,
    zero_based: bool | Literal["auto"] = "auto",
    dtype: Any = np.int32,
    n_jobs: int | None = None,
    cluster: Cluster | None = None,
) -> BagOfWords:
    r"""Load word counts of documents in the UCI or the LDA-C format, parsing pieces of the file in parallel.

    UCI (``docword.*.txt``): three lines with the numbers of documents, of words in the vocabulary and of entries,
    then a line ``document word count`` for each entry, documents ascending. LDA-C: a line
    ``n word:count word:count ...`` for each document, with n entries. Blank lines are skipped, words need not be in
    order, entries that count 0 are dropped. Time and memory are linear in the size of the file; a plain file is read
    piece by piece, a compressed one (.gz, .bz2, .xz) is first decompressed into memory.

    Parameters
    ----------
    path : str, path-like or binary file
        What to read.
    vocabulary : str, path-like or binary file, default=None
        The words, one on each line, in UTF-8; their number is the number of columns.
    format : {"auto", "uci", "lda-c"}, default="auto"
        "auto" looks at the first lines: three lines of one number are UCI's.
    n_features : int, default=None
        Columns of X, such as a model's ``n_features_in_``. By default the vocabulary decides, else UCI's header, else
        the highest word of the file.
    zero_based : bool or "auto", default="auto"
        Whether the first word has number 0 in the file or 1; in UCI the first document as well. "auto": as the
        formats are defined, 1 in UCI and 0 in LDA-C.
    dtype : {np.int32, np.int64, np.float32, np.float64}, default=np.int32
        Type of the counts.
    n_jobs : int or None, default=None
        Number of threads; None is 1, -1 all cores.
    cluster : steppe.parallel.Cluster or None, default=None
        Each rank loads the documents of an equal share of the bytes; shares follow each other in rank order, and
        the number of columns is unified. Collective. A compressed file is decompressed by every rank.

    Returns
    -------
    BagOfWords
        A named tuple ``(X, vocabulary)``: a csr_array of shape (n_documents, n_words) with sorted columns, in which a
        document without words is an empty row, and the words or None.

    Raises
    ------
    ValueError
        A line is malformed, a word occurs twice in a document, a number exceeds what the header, `n_features` or the
        vocabulary allow, or the file has more or fewer entries than its header says. The message names file, line
        and what was met.

    See Also
    --------
    iter_bag_of_words : The same in batches, for files larger than memory.

    Examples
    --------
    >>> import io
    >>> from steppe.datasets import load_bag_of_words
    >>> X, _ = load_bag_of_words(io.BytesIO(b"2 0:3 2:1\n1 1:4\n"))
    >>> X.toarray().tolist()
    [[3, 0, 1], [0, 4, 0]]
    >>> X, words = load_bag_of_words(
    ...     io.BytesIO(b"3\n2\n2\n1 2 5\n3 1 1\n"), vocabulary=io.BytesIO(b"sea\nsky\n")
    ... )
    >>> X.toarray().tolist(), words.tolist()
    ([[0, 5], [0, 0], [1, 0]], ['sea', 'sky'])
    """
    ranks = Cluster() if cluster is None else cluster
    with ranks.agree():
        words = None if vocabulary is None else _words(vocabulary)
        with open_source(path) as (source, name):
            reader = _Reader(_head(source), name, format, _columns(n_features, words), zero_based, dtype, n_jobs)
            data = reader.share(source, ranks.rank, ranks.size)
    met = ranks.gather((data["first_document"], data["n_rows"], data["highest_word"], data["n_pairs"]))
    reader.check_entries(sum(n_pairs for _, _, _, n_pairs in met))
    begin, end = reader.rows_of_rank([(first, n_rows) for first, n_rows, _, _ in met], ranks.rank)
    n_columns = reader.n_columns(max(highest for _, _, highest, _ in met))
    return BagOfWords(reader.matrix(data, n_columns, begin, end), words)


def iter_bag_of_words(
    path: File,
    *,
    batch_bytes: int = 2**26,
    vocabulary: File | None = None,
    format: Literal["auto", "uci", "lda-c"] = "auto",
    n_features: int | None = None,
    zero_based: bool | Literal["auto"] = "auto",
    dtype: Any = np.int32,
    n_jobs: int | None = None,
) -> Iterator[csr_array]:
    r"""Load word counts batch by batch, for ``partial_fit`` on files larger than memory.

    An LDA-C file does not say how many words there are: unless `vocabulary` or `n_features` is given, a first pass
    over the file finds it. Compressed files are decompressed as they are read. Memory is a few times `batch_bytes`,
    or a few times the largest document.

    Parameters
    ----------
    path : str, path-like or seekable binary file
        What to read.
    batch_bytes : int, default=2**26
        Text of a batch, up to one more document.
    vocabulary, format, n_features, zero_based, dtype, n_jobs
        As for :func:`load_bag_of_words`.

    Yields
    ------
    X : csr_array of shape (n_documents_of_the_batch, n_words)
        Consecutive documents; all batches have the same number of columns.

    Raises
    ------
    ValueError
        As for :func:`load_bag_of_words`.

    Examples
    --------
    >>> import io
    >>> from steppe.datasets import iter_bag_of_words
    >>> text = io.BytesIO(b"2 0:3 2:1\n1 1:4\n")
    >>> [X.toarray().tolist() for X in iter_bag_of_words(text, batch_bytes=1)]
    [[[3, 0, 1]], [[0, 4, 0]]]
    """
    if batch_bytes < 1:
        raise ValueError(f"batch_bytes: it must be at least 1, got {batch_bytes}")
    columns = _columns(n_features, None if vocabulary is None else _words(vocabulary))
    with open_binary(path) as (stream, name):
        start = stream.tell()
        head = stream.read(_HEAD_BYTES)
        stream.seek(start)
        reader = _Reader(head, name, format, columns, zero_based, dtype, n_jobs)
        highest = -1
        if reader.columns is None:
            for data in reader.batches(stream, batch_bytes, keep=False):
                highest = max(highest, data["highest_word"])
            stream.seek(start)
        n_columns, done, n_pairs = reader.n_columns(highest), 0, 0
        for data in reader.batches(stream, batch_bytes, keep=True):
            n_pairs += data["n_pairs"]
            if data["n_rows"]:
                begin, done = done, data["n_rows"] + (done if reader.header is None else data["first_document"])
                yield reader.matrix(data, n_columns, begin, done)
        reader.check_entries(n_pairs)
        if reader.header is not None and done < reader.header[0]:
            yield csr_array((reader.header[0] - done, n_columns), dtype=reader.dtype)


class _Reader:
    """The format and the options that all parts of a file share."""

    def __init__(
        self,
        head: bytes,
        name: str,
        format: str,
        columns: int | None,
        zero_based: bool | Literal["auto"],
        dtype: Any,
        n_jobs: int | None,
    ) -> None:
        if format not in ("auto", "uci", "lda-c"):
            raise ValueError(f"format: it must be 'uci', 'lda-c' or 'auto', got {format!r}")
        if zero_based not in (True, False, "auto"):
            raise ValueError(f"zero_based: it must be True, False or 'auto', got {zero_based!r}")
        self.name = name
        self.dtype = np.dtype(dtype)
        if self.dtype not in _DTYPES:
            raise ValueError(f"dtype: it must be int32, int64, float32 or float64, got {self.dtype}")
        found = _header(head)
        if format == "uci" and found is None:
            raise ValueError(f"{name}, line 1: three lines with one whole number each are expected in the UCI format")
        # Documents, words and entries, of UCI files.
        self.header: tuple[int, int, int] | None = None
        self.header_bytes = self.header_lines = self.lines_read = self.documents_read = 0
        if found is not None and format != "lda-c":
            self.header, self.header_bytes, self.header_lines = found
        self.columns = columns
        if self.header is not None:
            if columns is not None and columns < self.header[1]:
                raise ValueError(f"{name}: its header says {self.header[1]} words, but only {columns} are expected")
            self.columns = self.header[1] if columns is None else columns
        self.options: dict[str, Any] = {
            "format": "lda-c" if self.header is None else "uci",
            "first": int(self.header is not None) if zero_based == "auto" else int(not zero_based),
            "n_documents": _INT32_MAX if self.header is None else self.header[0],
            "n_words": _INT32_MAX if self.columns is None else self.columns,
            "n_threads": resolve_n_jobs(n_jobs),
        }

    def read(self, source: Source, **place: Any) -> dict[str, Any]:
        return _core.read_bag_of_words(source, self.name, **self.options, **place)

    def share(self, source: Source, rank: int, n_ranks: int) -> dict[str, Any]:
        """Read what one rank has of a file."""
        size = source_size(source) - self.header_bytes
        begin, end = (self.header_bytes + size * place // n_ranks for place in (rank, rank + 1))
        if begin == end:
            return self.read(b"")
        return self.read(source, header_bytes=self.header_bytes, offset=begin, length=end - begin)

    def batches(self, stream: Any, batch_bytes: int, *, keep: bool) -> Iterator[dict[str, Any]]:
        """Read whole documents, again and again."""
        stream.read(self.header_bytes)
        self.lines_read, self.documents_read, text = self.header_lines, 0, b""
        while more := stream.read(batch_bytes):
            text += more + (b"" if more.endswith(b"\n") else stream.readline())
            cut = len(text) if self.header is None else _core.last_document_start(text)
            if cut:
                yield self.batch(text[:cut], keep)
                text = text[cut:]
        if text:
            yield self.batch(text, keep)

    def batch(self, text: bytes, keep: bool) -> dict[str, Any]:
        """Read documents that follow those of the last call."""
        data = self.read(text, lines_before=self.lines_read, keep=keep)
        if data["n_rows"]:
            self.check_order(data["first_document"], self.documents_read, f", line {self.lines_read + 1}")
            self.documents_read = data["first_document"] + data["n_rows"]
        self.lines_read += data["n_lines"]
        return data

    def check_entries(self, n_pairs: int) -> None:
        if self.header is not None and n_pairs != self.header[2]:
            raise ValueError(f"{self.name}: its header says {self.header[2]} entries, but it has {n_pairs}")

    def n_columns(self, highest: int) -> int:
        return max(highest + 1, 1) if self.columns is None else self.columns

    def rows_of_rank(self, met: list[tuple[int, int]], rank: int) -> tuple[int, int]:
        """Documents [begin, end) of a rank, from the first document and the number of rows that each rank has met.

        Documents without words, which the file does not mention, belong to the rank of the document before them.
        """
        if self.header is None:
            return 0, met[rank][1]
        starts, done = [0], 0
        for place, (first, n_rows) in enumerate(met):
            if n_rows:
                self.check_order(first, done)
                done = first + n_rows
            following = [later for later, n_later in met[place + 1 :] if n_later]
            starts.append(following[0] if following else self.header[0])
        return starts[rank], starts[rank + 1]

    def check_order(self, document: int, done: int, place: str = "") -> None:
        """Refuse a part whose first document is not after those of the part before it."""
        if self.header is not None and document < done:
            raise ValueError(
                f"{self.name}{place}: document {document + self.options['first']} comes after a later one; "
                "sort the lines by document"
            )

    def matrix(self, data: dict[str, Any], n_columns: int, begin: int, end: int) -> csr_array:
        """Make rows of the documents [begin, end), of which the data hold some."""
        offsets = data["row_offsets"]
        first = data["first_document"] if self.header is not None and data["n_rows"] else begin
        offsets = np.pad(offsets, (first - begin, end - first - data["n_rows"]), mode="edge")
        counts = data["counts"].astype(self.dtype, copy=False)
        return compressed_rows(counts, data["words"], offsets, n_columns)


def _head(source: Source) -> bytes:
    return os.pread(source, _HEAD_BYTES, 0) if isinstance(source, int) else source[:_HEAD_BYTES]


def _header(head: bytes) -> tuple[tuple[int, int, int], int, int] | None:
    """Numbers of documents, words and entries, and the bytes and lines that say so; None if this is no UCI file."""
    found = re.match(rb"\s*(\d+)[ \t\r]*\n\s*(\d+)[ \t\r]*\n\s*(\d+)[ \t\r]*(\n|$)", head)
    if found is None:
        return None
    documents, words, entries = (int(found[group]) for group in (1, 2, 3))
    after = head[found.end() :].lstrip().partition(b"\n")[0]
    if b":" in after or len(after.split()) == 1:
        return None  # LDA-C, the first documents without words
    return (documents, words, entries), found.end(), found[0].count(b"\n")


def _words(file: File) -> NDArray[Any]:
    """Lines of a vocabulary."""
    with open_binary(file) as (stream, name):
        text = stream.read()
    try:
        lines = text.decode().split("\n")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{name}, line {line}: the vocabulary is not UTF-8; convert the file") from None
    if not lines[-1].strip():
        lines.pop()
    if not lines:
        raise ValueError(f"{name}: the vocabulary holds no word")
    return np.array([line.strip() for line in lines])


def _columns(n_features: int | None, words: NDArray[Any] | None) -> int | None:
    if n_features is not None and n_features < 1:
        raise ValueError(f"n_features: it must be at least 1, got {n_features}")
    if words is not None and n_features is not None and n_features != len(words):
        raise ValueError(f"n_features: it is {n_features}, but the vocabulary holds {len(words)} words")
    return n_features if words is None else len(words)
