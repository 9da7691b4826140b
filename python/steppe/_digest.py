"""Values as short texts, by which ranks and checkpoints tell whether they hold the same."""

from __future__ import annotations

import os
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SMALL = 8  # entries of an array that is shown whole
_LONGEST = 200  # characters


def digest(value: Any) -> str:
    """Text that changes with the value: large arrays by shape, type and checksum."""
    if scipy.sparse.issparse(value):
        csr = value.tocsr()
        checksum = _checksum(csr.data, csr.indices, csr.indptr)
        return f"sparse {csr.shape} {csr.dtype} {csr.nnz} stored, checksum {checksum}"
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, dict):
        return _short("{" + ", ".join(sorted(f"{digest(key)}: {digest(item)}" for key, item in value.items())) + "}")
    if isinstance(value, (list, tuple)) or hasattr(value, "__array__"):
        return _digest_of_array(np.asarray(value))
    return _short(repr(value))


def _digest_of_array(array: NDArray[Any]) -> str:
    if array.size <= _SMALL or array.dtype.hasobject:
        return _short(f"{array.tolist()!r} of shape {array.shape} and {array.dtype}")
    return f"{array.shape} {array.dtype}, checksum {_checksum(array)}"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..., checksum {zlib.crc32(text.encode()):08x}"


def _checksum(*arrays: NDArray[Any]) -> str:
    checksum = 0
    for array in arrays:
        checksum = zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, checksum)
    return f"{checksum:08x}"
