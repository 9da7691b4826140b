"""One file of named arrays, in the safetensors layout: other tools can read it, and reading executes nothing.

Eight bytes (little-endian) give the length of a JSON header, then the arrays follow, end to end. The header
maps each name to dtype, shape and byte range; its "__metadata__" holds strings. Arrays are written in order
of falling item size behind a header padded to 64 bytes, so each is aligned and can be mapped into memory.
Files are written beside their place and renamed into it: a reader sees the old file or the new one, never
half of one.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

_NAMES = {
    "f8": "F64", "f4": "F32", "f2": "F16", "i8": "I64", "i4": "I32", "i2": "I16", "i1": "I8",
    "u8": "U64", "u4": "U32", "u2": "U16", "u1": "U8", "b1": "BOOL",
}  # fmt: skip
_DTYPES = {name: np.dtype("<" + code) for code, name in _NAMES.items()}
_ALIGNMENT = 64
_MOST_HEADER_BYTES = 100_000_000
_OF_DAMAGE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)


def can_hold(dtype: np.dtype[Any]) -> bool:
    """Whether arrays of that dtype can be written as they are."""
    return dtype.str[1:] in _NAMES


def write(path: str | os.PathLike[str], arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> None:
    """Write `arrays` and `metadata` to `path`, replacing it in one step."""
    path = Path(path)
    # asarray with an explicit order keeps 0-d arrays 0-d, which ascontiguousarray does not.
    stored = {name: np.asarray(a, dtype=a.dtype.newbyteorder("<"), order="C") for name, a in arrays.items()}
    names = sorted(stored, key=lambda name: (-stored[name].itemsize, name))
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    offset = 0
    for name in names:
        array = stored[name]
        header[name] = {
            "dtype": _NAMES[array.dtype.str[1:]],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            file.write(struct.pack("<Q", len(text)))
            file.write(text)
            for name in names:
                file.write(stored[name].reshape(-1).view(np.uint8).data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()


def read(path: str | os.PathLike[str], *, mmap: bool = False) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """The arrays and the metadata of `path`; with `mmap` the arrays are read-only views of the file.

    Raises
    ------
    FileNotFoundError
    ValueError
        If the file is none of ours, or is damaged.
    """
    data = np.memmap(path, dtype=np.uint8, mode="r") if Path(path).stat().st_size else np.empty(0, np.uint8)
    with intact(path):
        header, start = _header(data)
        metadata = header.pop("__metadata__", {})
        arrays = {name: _view(data[start:], entry) for name, entry in header.items()}
    return arrays if mmap else {name: np.array(view) for name, view in arrays.items()}, metadata


@contextlib.contextmanager
def intact(path: str | os.PathLike[str]) -> Iterator[None]:
    """Around what takes a file's contents apart: where they are not as we write them, that is a ValueError."""
    try:
        yield
    except _OF_DAMAGE as error:
        raise ValueError(
            f"{path} is no file of arrays that steppe wrote, or it is damaged ({type(error).__name__}: {error})"
        ) from error


def _header(data: NDArray[np.uint8]) -> tuple[dict[str, Any], int]:
    length = int(data[:8].view("<u8")[0]) if data.size >= 8 else 0
    if not 2 <= length <= min(_MOST_HEADER_BYTES, data.size - 8):
        raise IndexError("there is no whole header")
    header = json.loads(data[8 : 8 + length].tobytes())
    if not isinstance(header, dict) or not isinstance(header.get("__metadata__", {}), dict):
        raise TypeError("the header is no mapping")
    return header, 8 + length


def _view(data: NDArray[np.uint8], entry: dict[str, Any]) -> NDArray[Any]:
    first, last = entry["data_offsets"]
    dtype, shape = _DTYPES[entry["dtype"]], tuple(entry["shape"])
    if not 0 <= first <= last <= data.size or min(shape, default=0) < 0:
        raise IndexError(f"an array of shape {shape} at bytes {first} to {last} of {data.size}")
    return data[first:last].view(dtype).reshape(shape)
