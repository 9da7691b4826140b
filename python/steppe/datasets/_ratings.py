"""Reader of ratings: delimited text with a user, an item and a number on each line."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from scipy.sparse import csr_array

from steppe import _core
from steppe._plan import resolve_n_jobs
from steppe.datasets._files import File, Source, compressed_rows, is_double, open_source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Ratings", "load_ratings"]

_SEPARATORS = ("::", "\t", ",", ";", "|")  # tried in this order; blanks if none occurs
_HEAD_BYTES = 2**16


class Ratings(NamedTuple):
    """What `load_ratings` returns; unpacks as ``X, users, items``.

    Attributes
    ----------
    X : csr_array of shape (n_users, n_items)
        The ratings.
    users : ndarray of shape (n_users,)
        Id of each row, ascending: int64 if all ids are integers, else str.
    items : ndarray of shape (n_items,)
        Id of each column, ascending: int64 if all ids are integers, else str.
    """

    X: csr_array
    users: NDArray[Any]
    items: NDArray[Any]


def load_ratings(
    path: File,
    *,
    sep: str = "auto",
    columns: Sequence[int] = (0, 1, 2),
    skip_header: bool | Literal["auto"] = "auto",
    duplicates: Literal["error", "last", "mean", "sum"] = "error",
    dtype: Any = np.float32,
    n_jobs: int | None = None,
) -> Ratings:
    r"""Load ratings from delimited text (csv, tsv, MovieLens' ``::``), parsing pieces of it in parallel.

    Ids may be anything; numbers stay numbers. Other columns, such as a time, are ignored, and so are blank
    lines. Fields may stand in double quotes. Time is linear in the size of the file, and n log n in the
    number of distinct ids; a compressed file (.gz, .bz2, .xz) is first decompressed into memory.

    Parameters
    ----------
    path : str, path-like or binary file
        What to read.
    sep : str, default="auto"
        Text between fields; " " is any run of blanks. "auto" takes what the first line holds, of ``::``, tab,
        comma, semicolon, ``|``, else blanks.
    columns : sequence of 2 or 3 int, default=(0, 1, 2)
        Which fields, from 0, are the user, the item and the rating. Without the third every line counts 1.
    skip_header : bool or "auto", default="auto"
        Whether the first line names the columns. "auto": if its rating is no number; without ratings, if an
        id is no integer where the second line has an integer.
    duplicates : {"error", "last", "mean", "sum"}, default="error"
        What to do when a user rates an item more than once. Which rating counts is a decision about the data,
        so by default none is dropped silently; "last" is the last line of the file, "sum" suits plays or
        clicks.
    dtype : {np.float32, np.float64}, default=np.float32
        Type of the ratings.
    n_jobs : int or None, default=None
        Number of threads; None is 1, -1 all cores.

    Returns
    -------
    Ratings
        A named tuple ``(X, users, items)``: a csr_array of shape (n_users, n_items) with sorted columns, and
        the ids of its rows and columns.

    Raises
    ------
    ValueError
        A line has too few fields or a rating that is no finite number (the message names file, line and what
        was met), the file holds no rating, or a user rates an item twice and ``duplicates="error"``.

    Examples
    --------
    >>> import io
    >>> from steppe.datasets import load_ratings
    >>> X, users, items = load_ratings(io.BytesIO(b"user,item,stars\nann,7,4.5\nbob,3,1\nann,3,2\n"))
    >>> X.toarray().tolist(), users.tolist(), items.tolist()
    ([[2.0, 4.5], [1.0, 0.0]], ['ann', 'bob'], [3, 7])
    """
    fields = _checked_columns(columns)
    threads = resolve_n_jobs(n_jobs)
    with open_source(path) as (source, name):
        head = _first_lines(source)
        separator = _detect_separator(head) if sep == "auto" else _checked_separator(sep)
        if skip_header == "auto":
            skip_header = _has_header(head, separator, fields)
        data = _core.read_ratings(
            source,
            name,
            float64=is_double(dtype),
            separator=separator,
            user_column=fields[0],
            item_column=fields[1],
            value_column=fields[2] if len(fields) == 3 else -1,
            header_lines=head[0][0] if skip_header and head else 0,
            duplicates=duplicates,
            n_threads=threads,
        )
    if not len(data["values"]):
        raise ValueError(f"{name}: the file holds no rating")
    users, items = (_ids(data[key], name) for key in ("user_ids", "item_ids"))
    return Ratings(compressed_rows(data["values"], data["items"], data["row_offsets"], len(items)), users, items)


def _checked_columns(columns: Sequence[int]) -> list[int]:
    fields = [int(column) for column in columns]
    if len(fields) not in (2, 3) or len(set(fields)) != len(fields) or min(fields) < 0:
        raise ValueError(f"columns: expected 2 or 3 different numbers from 0 (user, item, rating), got {columns!r}")
    return fields


def _checked_separator(sep: str) -> str:
    if not sep or re.search(r"[\w.+\-\"\n\r]", sep):
        raise ValueError(f"sep: it must be punctuation, a tab or a blank, or 'auto', got {sep!r}")
    return sep


def _first_lines(source: Source) -> list[tuple[int, str]]:
    """Return the first two lines that are not blank, with their numbers."""
    head = os.pread(source, _HEAD_BYTES, 0) if isinstance(source, int) else source[:_HEAD_BYTES]
    lines = enumerate(head.decode("utf-8", "replace").split("\n"), start=1)
    return [(number, line) for number, line in lines if line.strip()][:2]


def _detect_separator(head: list[tuple[int, str]]) -> str:
    line = head[0][1].strip() if head else ""
    return next((sep for sep in _SEPARATORS if sep in line), " ")


def _has_header(head: list[tuple[int, str]], sep: str, fields: list[int]) -> bool:
    lines = [
        [field.strip().strip('"') for field in (line.split() if sep == " " else line.split(sep))] for _, line in head
    ]
    if not lines or any(len(line) <= max(fields) for line in lines):
        return False
    if len(fields) == 3:
        return not _is_number(lines[0][fields[2]])
    return len(lines) == 2 and any(
        _is_integer(lines[1][field]) and not _is_integer(lines[0][field]) for field in fields
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_integer(text: str) -> bool:
    return re.fullmatch(r"-?[0-9]+", text) is not None


def _ids(ids: Any, name: str) -> NDArray[Any]:
    if isinstance(ids, np.ndarray):
        return ids
    try:
        return np.array([text.decode() for text in ids])
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: the id {error.object!r} is not UTF-8; convert the file") from None
