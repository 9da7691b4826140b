"""Arrays of a GPU as seen from a machine without one: protocols, checks and messages, with memory of the host."""

import _datetime
import ctypes
import importlib.machinery
import importlib.util
import sys
import types

import numpy as np
import pytest

from steppe import _core, _device, _plan
from steppe.ot import _on_device, assign_cells


class Interface:
    """An array that offers __cuda_array_interface__ only."""

    def __init__(self, array, **told):
        self.array = array
        self.__cuda_array_interface__ = {
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (array.ctypes.data, False),
            "version": 3,
            **told,
        }


class Capsules:
    """An array that offers DLPack only, and says that it is on a GPU."""

    def __init__(self, array, device=(2, 0)):
        self.array, self.device = array, device

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, *, stream):
        self.stream = stream
        strides = tuple(step // self.array.itemsize for step in self.array.strides)
        return _core.dlpack_capsule(
            self.array, self.array.ctypes.data, self.array.shape, strides, self.array.dtype.str, self.device
        )


class FakeCuda:
    """The functions of steppe._cuda that move arrays, over memory of the host."""

    def __init__(self):
        self.waited = []

    def current_device(self):
        return 0

    def wait_for_stream(self, stream):
        self.waited.append(stream)

    def all_finite(self, array):
        return np.isfinite(host_view(array)).all()

    class Memory:
        def __init__(self, n_bytes):
            self.bytes = np.zeros(n_bytes, dtype=np.uint8)
            self.pointer = self.bytes.ctypes.data

    def upload(self, pointer, host):
        bytes_at(pointer, host.nbytes)[:] = host.reshape(-1).view(np.uint8)

    def download(self, host, pointer):
        host.reshape(-1).view(np.uint8)[:] = bytes_at(pointer, host.nbytes)


class OnHost:
    """What NumPy's from_dlpack asks for."""

    def __init__(self, array):
        self.array = array

    def __dlpack_device__(self):
        return (1, 0)

    def __dlpack__(self, **_):
        array = self.array
        return _core.dlpack_capsule(array, array.pointer, array.shape, array.strides, array.typestr, (1, 0))


def host_view(array):
    return np.from_dlpack(OnHost(array))


def bytes_at(pointer, size):
    return np.frombuffer((ctypes.c_uint8 * size).from_address(pointer), dtype=np.uint8)


@pytest.fixture
def cuda(monkeypatch):
    fake = FakeCuda()
    monkeypatch.setattr(_device, "load", lambda: fake)
    return fake


def sample(dtype=np.float32):
    return np.arange(12, dtype=dtype).reshape(3, 4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64, np.uint8])
def test_dlpack_there_and_back(dtype):
    array = sample(dtype)
    view = _device.DeviceArray(array.ctypes.data, array.shape, (4, 1), array.dtype.str.replace("|", "<"), (1, 0), array)
    np.testing.assert_array_equal(np.from_dlpack(view), array)
    pointer, shape, strides, typestr, kind, number = _core.dlpack_contents(view.__dlpack__())
    assert (pointer, shape, strides, kind, number) == (array.ctypes.data, (3, 4), (4, 1), 1, 0)
    assert np.dtype(typestr) == array.dtype


def test_dlpack_keeps_the_owner_alive_and_lets_it_go():
    array = sample()
    before = sys.getrefcount(array)
    capsule = _core.dlpack_capsule(array, array.ctypes.data, array.shape, (4, 1), "<f4", (1, 0))
    assert sys.getrefcount(array) == before + 1
    del capsule
    assert sys.getrefcount(array) == before


def test_dlpack_of_numpy_is_read():
    array = np.asfortranarray(sample())
    pointer, shape, strides, typestr, kind, _ = _core.dlpack_contents(array.__dlpack__())
    assert (pointer, shape, strides, typestr, kind) == (array.ctypes.data, (3, 4), (1, 3), "<f4", 1)


def test_capsules_of_others_are_refused():
    for take in (_core.dlpack_contents, _core.set_device_kernels):
        with pytest.raises(ValueError, match="incorrect name"):
            take(_datetime.datetime_CAPI)


@pytest.mark.parametrize("make", [Interface, Capsules])
def test_views(cuda, make):
    array = sample()
    made = make(array)
    assert _device.is_on_device(made)
    view = _device.view(made, "X")
    assert (view.pointer, view.shape, view.strides, view.dtype) == (array.ctypes.data, (3, 4), (4, 1), np.float32)
    np.testing.assert_array_equal(host_view(view), array)
    np.testing.assert_array_equal(_device.to_host(_device.points(made, "X")), array)


def test_streams_are_waited_for(cuda):
    made = Capsules(sample())
    _device.view(made, "X")
    assert (made.stream, cuda.waited) == (1, [1])
    _device.view(Interface(sample(), stream=7), "X")
    _device.view(Interface(sample(), stream=None), "X")
    assert cuda.waited == [1, 7]


def test_strides_of_the_interface_are_in_bytes(cuda):
    wide = sample()
    view = _device.view(Interface(wide[:, :2], strides=wide[:, :2].strides), "X")
    assert view.strides == (4, 1)
    assert _device.points(view, "X") is view


def test_arrays_of_the_host_are_not_on_a_device():
    assert not _device.is_on_device(sample())
    assert not _device.is_on_device([[1.0]])
    assert not _device.is_on_device(Capsules(sample(), device=(1, 0)))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones(3, np.float32), "expected a matrix"),
        (np.ones((0, 3), np.float32), "at least one row"),
        (np.ones((3, 2), np.int32), "float32 or float64"),
        (np.asfortranarray(sample()), "not contiguous"),
        (np.array([[1, np.nan]]), "NaN or infinity"),
    ],
)
def test_arrays_that_are_refused(cuda, array, message):
    with pytest.raises(ValueError, match=f"^X: .*{message}"):
        _device.points(Capsules(array), "X")


def test_masks_and_other_devices_are_refused(cuda):
    with pytest.raises(ValueError, match="sites: is a masked array"):
        _device.view(Interface(sample(), mask=sample()), "sites")
    with pytest.raises(ValueError, match="X: is on GPU 3 and GPU 0 is the current one"):
        _device.view(Capsules(sample(), device=(2, 3)), "X")
    with pytest.raises(ValueError, match="must be float64"):
        _device.points(Capsules(sample()), "sites", np.float64)


def test_results_are_of_the_kind_of_the_argument(cuda, monkeypatch):
    result = _device.upload(sample())
    np.testing.assert_array_equal(_device.same_kind(result, sample()), sample())
    assert _device.same_kind(result, Interface(sample())) is result
    library = types.ModuleType("library")
    library.from_dlpack = lambda array: ("made from", array)
    monkeypatch.setitem(sys.modules, "library", library)
    kind = type("Array", (Capsules,), {"__module__": "library.inner"})
    assert _device.same_kind(result, kind(sample())) == ("made from", result)


def test_entry_points_check_their_arguments(cuda):
    x = Capsules(sample())
    options = {"cost": "sqeuclidean", "return_cost": False}
    with pytest.raises(ValueError, match=r"sites: has shape \(3, 2\) and X has shape \(3, 4\)"):
        _on_device.assign_cells(x, sample()[:, :2], **options)
    with pytest.raises(ValueError, match=r"potential: has shape \(2,\), expected \(3,\)"):
        _on_device.assign_cells(x, sample(), [0, 1], **options)
    with pytest.raises(ValueError, match="potential: contains NaN"):
        _on_device.assign_cells(x, sample(), [0, 1, np.inf], **options)
    with pytest.raises(ValueError, match="Y_proj: has 3 columns and X_proj has 4"):
        _on_device.sorted_targets(x, sample()[:, :3])
    with pytest.raises(ValueError, match=r"projections: has shape \(3, 4\), expected \(4, n_projections\)"):
        _on_device.sliced_distances(x, sample(), sample(), 2.0)


def test_a_build_without_the_module_says_so(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "STEPPE_CUDA was OFF" in _device.why_no_cuda()


@pytest.mark.parametrize(
    "why", ["no NVIDIA driver is installed", "the NVIDIA driver is too old", "the NVIDIA driver sees no device"]
)
def test_a_module_that_cannot_load_says_why(monkeypatch, why):
    def refuse():
        raise ImportError(why)

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: importlib.machinery.ModuleSpec(name, None))
    monkeypatch.setattr(_device, "load", refuse)
    assert _device.why_no_cuda() == f"the CUDA module of steppe does not load: {why}"
    model = types.SimpleNamespace(device="cuda", _devices=("cpu", "cuda"))
    with pytest.raises(ValueError, match=f"'cuda' was asked for, but the CUDA module .*{why}.*device='cpu'"):
        _plan.resolve_device(model)
    model.device = "auto"
    assert _plan.resolve_device(model) == "cpu"


def test_here_the_reason_is_a_whole_sentence():
    """On a machine with a GPU there is no reason; elsewhere it is one of those that are known."""
    why = _device.why_no_cuda()
    known = (
        "STEPPE_CUDA was OFF",
        "no NVIDIA driver",
        "driver is too old",
        "sees no device",
        "does not start",
        "needs 8.0",
    )
    assert why is None or any(reason in why for reason in known)
    if why is not None:
        with pytest.raises(ValueError, match="device='cpu'"):
            assign_cells([[0.0]], [[0.0]], device="cuda")
