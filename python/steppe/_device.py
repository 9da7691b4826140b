"""Arrays of a GPU: taken from whoever made them, and given back as the same kind."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from dataclasses import dataclass, field
from functools import cache
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from steppe import _core

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

_HOST, _CUDA, _CUDA_MANAGED = 1, 2, 13  # DLPack's types of devices
_LEGACY_STREAM = 1


def why_no_cuda() -> str | None:
    """Why nothing can run on a GPU here, or None if it can."""
    if importlib.util.find_spec("steppe._cuda") is None:
        return "this build of steppe has no CUDA module: nvcc was not found, or STEPPE_CUDA was OFF, when it was built"
    try:
        load()
    except ImportError as error:
        return f"the CUDA module of steppe does not load: {error}"
    return None


@cache
def load() -> Any:
    """The module ``steppe._cuda``, whose kernels ``_core`` knows from here on.

    Raises
    ------
    ImportError
        That says what is missing: the module, a driver, a newer driver or a device.
    """
    module = importlib.import_module("steppe._cuda")
    module.set_cublas_paths(_cublas_paths())
    _core.set_device_kernels(module.kernels)
    return module


def _cublas_paths() -> list[str]:
    """The cuBLAS that pip installed; the loader's own places come after it."""
    found: list[str] = []
    spec = importlib.util.find_spec("nvidia")
    for folder in spec.submodule_search_locations or [] if spec else []:
        for pattern in ("cu13/lib/libcublas.so.*", "cublas/lib/libcublas.so.*"):
            found += sorted(str(path) for path in Path(folder).glob(pattern))
    return found


@dataclass(frozen=True)
class DeviceArray:
    """A view of an array on a GPU, and what keeps its memory alive.

    Exchanged by ``__cuda_array_interface__`` and DLPack, so CuPy, torch and JAX take it without a copy.
    """

    pointer: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    """In elements."""
    typestr: str
    device: tuple[int, int] = (_CUDA, 0)
    """DLPack's type of the device, and its number."""
    owner: Any = field(default=None, repr=False, compare=False)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.typestr)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": self.typestr,
            "data": (self.pointer, False),
            "strides": tuple(stride * self.dtype.itemsize for stride in self.strides),
            "version": 3,
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(self, *, copy: bool | None = None, dl_device: Any = None, **_: Any) -> Any:
        if copy or dl_device not in (None, self.device):
            raise BufferError("the array is handed out where it is and without a copy")
        # Whoever asks for a stream's order has it: what is in this memory was there before the array was handed out.
        return _core.dlpack_capsule(self, self.pointer, self.shape, self.strides, self.typestr, self.device)


def is_on_device(values: Any) -> bool:
    """Whether that is an array on a GPU."""
    if hasattr(values, "__dlpack_device__"):
        return values.__dlpack_device__()[0] in (_CUDA, _CUDA_MANAGED)
    return hasattr(values, "__cuda_array_interface__")


def view(values: Any, name: str) -> DeviceArray:
    """A view of an array on a GPU; what its maker has been told to write is written.

    Raises
    ------
    ValueError
        If it is masked, or on another GPU than the current one.
    """
    if isinstance(values, DeviceArray):
        return values
    found = _from_dlpack(values, name) if hasattr(values, "__dlpack_device__") else _from_interface(values, name)
    here = load().current_device()
    if found.device[1] != here:
        where = f"on GPU {found.device[1]}" if found.device[1] >= 0 else "in memory that is no GPU's"
        raise ValueError(f"{name}: is {where} and GPU {here} is the current one; copy it there")
    return found


def _from_dlpack(values: Any, name: str) -> DeviceArray:
    try:
        capsule = values.__dlpack__(stream=_LEGACY_STREAM)
    except (BufferError, RuntimeError) as error:  # a tensor of torch that requires gradients, say
        raise ValueError(f"{name}: its maker does not hand it out: {error}") from None
    load().wait_for_stream(_LEGACY_STREAM)
    pointer, shape, strides, typestr, kind, number = _core.dlpack_contents(capsule)
    return DeviceArray(pointer, shape, strides, typestr, (kind, number), owner=capsule)


def _from_interface(values: Any, name: str) -> DeviceArray:
    told = values.__cuda_array_interface__
    if told.get("mask") is not None:
        raise ValueError(f"{name}: is a masked array; pass one without a mask")
    stream = told.get("stream")
    if stream is not None:
        load().wait_for_stream(int(stream))
    shape, dtype = tuple(told["shape"]), np.dtype(told["typestr"])
    in_bytes = told.get("strides")
    strides = _c_strides(shape) if in_bytes is None else tuple(stride // dtype.itemsize for stride in in_bytes)
    pointer = int(told["data"][0])
    number = load().device_of(pointer) if prod(shape) else load().current_device()
    return DeviceArray(pointer, shape, strides, dtype.str, (_CUDA, number), owner=values)


def _c_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> DeviceArray:
    """New memory on the current GPU, in C order, with whatever was there before."""
    cuda, kind = load(), np.dtype(dtype)
    memory = cuda.Memory(prod(shape) * kind.itemsize)
    return DeviceArray(memory.pointer, shape, _c_strides(shape), kind.str, (_CUDA, cuda.current_device()), owner=memory)


def upload(values: NDArray[Any]) -> DeviceArray:
    """A copy on the current GPU."""
    host = np.ascontiguousarray(values)
    copy = empty(host.shape, host.dtype)
    load().upload(copy.pointer, host)
    return copy


def to_host(values: DeviceArray) -> NDArray[Any]:
    """A copy in the memory of the host, with the same strides: what lies between rows is copied too."""
    steps = zip(values.shape, values.strides, strict=True)
    host = np.empty(1 + sum((size - 1) * stride for size, stride in steps) if prod(values.shape) else 0, values.dtype)
    load().download(host, values.pointer)
    in_bytes = [stride * values.dtype.itemsize for stride in values.strides]
    return np.lib.stride_tricks.as_strided(host, values.shape, in_bytes)


def points(values: Any, name: str, dtype: DTypeLike | None = None) -> DeviceArray:
    """A checked matrix of finite float32 or float64 numbers, in C order, on the GPU.

    Raises
    ------
    ValueError
        If the array is of another kind; nothing is converted on the GPU.
    """
    found = view(values, name)
    if len(found.shape) != 2:
        raise ValueError(f"{name}: has shape {found.shape}, expected a matrix (rows, columns)")
    if 0 in found.shape:
        raise ValueError(f"{name}: has shape {found.shape}; give at least one row and one column")
    accepted = ["<f4", "<f8"] if dtype is None else [np.dtype(dtype).str]
    if found.typestr not in accepted:
        names = " or ".join(np.dtype(kind).name for kind in accepted)
        raise ValueError(f"{name}: is of dtype {found.dtype.name}; arrays on the GPU must be {names}, convert it there")
    if (found.shape[1] > 1 and found.strides[1] != 1) or (found.shape[0] > 1 and found.strides[0] < found.shape[1]):
        raise ValueError(f"{name}: its rows are not contiguous; make a copy in C order on the GPU")
    if not load().all_finite(found):
        raise ValueError(f"{name}: contains NaN or infinity; give finite numbers")
    return found


def same_kind(result: DeviceArray, like: Any) -> Any:
    """`result` as an array of the library that made `like`: NumPy's for one of the host, else without a copy.

    A maker that takes no DLPack gets the :class:`DeviceArray` itself, which has both protocols.
    """
    if not is_on_device(like):
        return to_host(result)
    maker = sys.modules.get(type(like).__module__.partition(".")[0])
    if not hasattr(maker, "from_dlpack") and hasattr(like, "__array_namespace__"):
        maker = like.__array_namespace__()
    if isinstance(like, DeviceArray) or not hasattr(maker, "from_dlpack"):
        return result
    return maker.from_dlpack(result)  # type: ignore[union-attr]
