"""What the native readers read from: an open file, or text in memory."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["File", "Source", "compressed_rows", "is_double", "open_binary", "open_source", "source_size"]

File: TypeAlias = "str | os.PathLike[str] | IO[bytes]"
# The descriptor of a regular file, which threads read at any place; or the whole text.
Source: TypeAlias = "int | bytes"

_DECOMPRESSORS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_INT32_MAX = np.iinfo(np.int32).max


@contextmanager
def open_binary(file: File) -> Iterator[tuple[IO[bytes], str]]:
    """Open for reading from the front, decompressed, with the name that error messages use."""
    if not isinstance(file, (str, os.PathLike)):
        if not hasattr(file, "read"):
            raise TypeError(f"path: expected a path or a binary file, got {type(file).__name__}")
        yield file, str(getattr(file, "name", "<file>"))
        return
    path = os.fspath(file)
    opener: Any = _DECOMPRESSORS.get(os.path.splitext(path)[1], open)
    with opener(path, "rb") as stream:
        yield stream, path


@contextmanager
def open_source(file: File) -> Iterator[tuple[Source, str]]:
    """Open for native readers: a plain file stays on disk, anything else is read into memory."""
    with open_binary(file) as (stream, name):
        plain = isinstance(file, (str, os.PathLike)) and os.path.splitext(name)[1] not in _DECOMPRESSORS
        if plain and os.path.isfile(name):
            yield stream.fileno(), name
            return
        text = stream.read()
        if not isinstance(text, bytes):
            raise TypeError(f"{name}: the file must be opened in binary mode")
        yield text, name


def source_size(source: Source) -> int:
    """Bytes of a source."""
    return os.fstat(source).st_size if isinstance(source, int) else len(source)


def is_double(dtype: Any) -> bool:
    """Whether `dtype` is float64.

    Raises
    ------
    ValueError
        It is neither float32 nor float64.
    """
    kind = np.dtype(dtype)
    if kind not in (np.float32, np.float64):
        raise ValueError(f"dtype: it must be float32 or float64, got {kind}")
    return bool(kind == np.float64)


def compressed_rows(
    values: NDArray[Any], columns: NDArray[np.int32], offsets: NDArray[np.int64], n_columns: int
) -> csr_array:
    """Make a csr_array of arrays that are sorted and without duplicates, which is then not checked again."""
    index = np.int32 if len(values) <= _INT32_MAX else np.int64  # scipy wants one type for both
    matrix = csr_array(
        (values, columns.astype(index, copy=False), offsets.astype(index, copy=False)),
        shape=(len(offsets) - 1, n_columns),
    )
    matrix.has_canonical_format = True
    return matrix
