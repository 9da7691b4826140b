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
from steppe.ot import SemiDiscreteOT, assign_cells, sliced_wasserstein_distance, sorted_targets


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
    """steppe._cuda over memory of the host: its kernels are NumPy's."""

    def __init__(self):
        self.waited = []

    def current_device(self):
        return 0

    def device_of(self, pointer):
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

    def assign_cells(self, X, sites, potential, *, squared, tf32, labels):
        assert sites.flags.c_contiguous
        cost = "sqeuclidean" if squared else "euclidean"
        fill(labels, assign_cells(host_view(X), sites, potential, cost=cost))

    def costs_of_cells(self, X, sites, potential, *, squared, labels, costs):
        apart = np.linalg.norm(host_view(X) - host_view(sites)[host_view(labels)], axis=1)
        fill(costs, (apart**2 if squared else apart) - host_view(potential)[host_view(labels)])

    def take_rows(self, X, *, labels, taken):
        fill(taken, host_view(X)[host_view(labels)])

    def sorted_targets(self, X, Y, *, targets):
        fill(targets, sorted_targets(host_view(X), host_view(Y)))

    def project(self, X, directions, *, projected):
        fill(projected, (host_view(X) @ host_view(directions)).T)

    def sliced_distances(self, X, Y, directions, *, p):
        x, y, along = host_view(X), host_view(Y), host_view(directions)
        return np.array(
            [sliced_wasserstein_distance(x, y, projections=along[:, [j]], p=p) for j in range(along.shape[1])]
        )


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


def fill(array, values):
    assert array.shape == values.shape
    bytes_at(array.pointer, array.dtype.itemsize * values.size)[:] = (
        np.ascontiguousarray(values, array.dtype).reshape(-1).view(np.uint8)
    )


def bytes_at(pointer, size):
    return np.frombuffer((ctypes.c_uint8 * size).from_address(pointer), dtype=np.uint8)


@pytest.fixture
def cuda(monkeypatch):
    fake = FakeCuda()
    monkeypatch.setattr(_device, "load", lambda: fake)
    monkeypatch.setattr(_device, "why_no_cuda", lambda: None)
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


LABELS = np.arange(3, dtype=np.int32).view(np.uint8)


def test_a_matrix_between_columns_of_another_is_copied_as_it_is(cuda):
    wide = sample()
    view = _device.view(Capsules(wide[:, 1:3]), "X")
    np.testing.assert_array_equal(_device.to_host(view), wide[:, 1:3])
    np.testing.assert_array_equal(assign_cells(Capsules(wide[:, 1:3]), wide[:, 1:3], device="cuda").owner.bytes, LABELS)


def test_what_is_handed_out_is_no_copy_and_on_no_other_device(cuda):
    array = _device.upload(sample())
    for wish in ({"copy": True}, {"dl_device": (1, 0)}):
        with pytest.raises(BufferError):
            array.__dlpack__(**wish)
    assert array.__dlpack__(copy=False, dl_device=(2, 0), max_version=(1, 0), stream=1) is not None


def test_an_array_that_its_maker_keeps_is_refused(cuda):
    class Kept(Capsules):
        def __dlpack__(self, *, stream):
            raise BufferError("it requires gradients")

    with pytest.raises(ValueError, match="X: its maker does not hand it out: it requires gradients"):
        _device.view(Kept(sample()), "X")


# --- the functions of steppe.ot, whose kernels are NumPy's here ---


def on_device(array):
    return Capsules(np.ascontiguousarray(array))


@pytest.mark.parametrize("make", [np.asarray, on_device, Interface])
@pytest.mark.parametrize("cost", ["sqeuclidean", "euclidean"])
def test_cells_are_of_the_kind_of_the_points(cuda, make, cost):
    rng = np.random.default_rng(0)
    X, sites, phi = rng.normal(size=(50, 3)), rng.normal(size=(7, 3)), rng.normal(size=7)
    expected = assign_cells(X, sites, phi, cost=cost, return_cost=True)
    found = assign_cells(make(X), make(sites), make(phi), cost=cost, return_cost=True, device="cuda")
    for one, other in zip(found, expected, strict=True):
        assert isinstance(one, np.ndarray if make is np.asarray else _device.DeviceArray)
        np.testing.assert_allclose(one if make is np.asarray else host_view(one), other, rtol=1e-12)
    assert assign_cells(X.tolist(), sites, device="cuda").dtype == np.int32


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("make", [np.asarray, on_device])
def test_sliced_distances_and_what_was_projected(cuda, make, dtype):
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(30, 4)).astype(dtype), rng.normal(size=(20, 4)).astype(dtype)
    options = {"n_projections": 5, "random_state": 0, "return_projected": True, "p": 1}
    expected, along = sliced_wasserstein_distance(X, Y, **options)
    assert along.projections.dtype == dtype
    found, projected = sliced_wasserstein_distance(make(X), make(Y), device="cuda", **options)
    assert found == pytest.approx(expected, rel=1e-6)
    assert isinstance(projected.distances, np.ndarray)
    for one, other in zip(projected[1:], along[1:], strict=True):
        assert isinstance(one, np.ndarray if make is np.asarray else _device.DeviceArray)
        np.testing.assert_allclose(one if make is np.asarray else host_view(one), other, rtol=1e-5, atol=1e-6)
    given = sliced_wasserstein_distance(make(X), make(Y), projections=make(along.projections), device="cuda", p=1)
    assert given == found
    largest = sliced_wasserstein_distance(make(X), Y, projections=along.projections, device="cuda", p=1, reduce="max")
    assert largest == projected.distances.max()


def test_samples_of_two_dtypes_are_taken_as_on_the_cpu(cuda):
    single, double = sample(np.float32), sample(np.float64) / 3
    expected = sliced_wasserstein_distance(single, double, random_state=0)
    assert sliced_wasserstein_distance(single, double, random_state=0, device="cuda") == expected
    with pytest.raises(ValueError, match="Y: is of dtype float64; arrays on the GPU must be float32"):
        sliced_wasserstein_distance(Capsules(single), Capsules(double), device="cuda")


def test_targets_of_an_array_on_a_device(cuda):
    x, y = np.random.default_rng(0).normal(size=(2, 9, 3))
    targets = sorted_targets(Capsules(x), Capsules(y))
    assert isinstance(targets, _device.DeviceArray)
    np.testing.assert_array_equal(host_view(targets), sorted_targets(x, y))
    np.testing.assert_array_equal(host_view(sorted_targets(Capsules(x), y)), sorted_targets(x, y))
    with pytest.raises(ValueError, match="Y_proj: is on a GPU and this runs on the CPU"):
        sorted_targets(x, Capsules(y))


def test_predictions_for_rows_on_a_device_stay_there(cuda):
    X = np.random.default_rng(0).normal(size=(40, 2))
    model = SemiDiscreteOT(X[:4], random_state=0).fit(X)
    expected, sent = model.predict(X), model.transform(X)
    with pytest.raises(ValueError, match="X: is on a GPU and this runs on the CPU"):
        model.predict(Capsules(X))
    model.set_params(device="cuda")
    np.testing.assert_array_equal(model.predict(X), expected)
    for found, wanted in ((model.predict(Capsules(X)), expected), (model.transform(Capsules(X)), sent)):
        assert isinstance(found, _device.DeviceArray)
        np.testing.assert_array_equal(host_view(found), wanted)
    with pytest.raises(ValueError, match=r"sites: has shape \(4, 2\) and X has shape \(4, 3\)"):
        model.predict(Capsules(np.ones((4, 3))))


def test_arguments_are_checked(cuda):
    x = Capsules(sample())
    with pytest.raises(ValueError, match=r"sites: has shape \(3, 2\) and X has shape \(3, 4\)"):
        assign_cells(x, sample()[:, :2], device="cuda")
    with pytest.raises(ValueError, match=r"potential: has shape \(2,\), expected \(3,\)"):
        assign_cells(x, sample(), [0, 1], device="cuda")
    with pytest.raises(ValueError, match="potential: contains NaN"):
        assign_cells(x, sample(), [0, 1, np.inf], device="cuda")
    with pytest.raises(ValueError, match="X contains NaN"):
        assign_cells([[np.nan]], [[1.0]], device="cuda")
    with pytest.raises(ValueError, match="Y_proj: has 3 columns and X_proj has 4"):
        sorted_targets(x, sample()[:, :3])
    with pytest.raises(ValueError, match=r"projections: has shape \(3, 4\), expected \(4, n_projections\)"):
        sliced_wasserstein_distance(x, x, projections=sample(), device="cuda")
    with pytest.raises(ValueError, match="X contains NaN"):
        sliced_wasserstein_distance(np.array([[np.nan]]), x, device="cuda")
    for call in (lambda: assign_cells(x, sample()), lambda: sliced_wasserstein_distance(x, x)):
        with pytest.raises(ValueError, match="X: is on a GPU and this runs on the CPU"):
            call()


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


@pytest.mark.skipif(_device.why_no_cuda() is None, reason="there is a GPU")
def test_the_functions_say_why():
    for call in (
        lambda: assign_cells([[0.0]], [[0.0]], device="cuda"),
        lambda: sliced_wasserstein_distance([[0.0]], [[0.0]], device="cuda"),
        lambda: SemiDiscreteOT([[0.0]], device="cuda").fit([[0.0]]),
    ):
        with pytest.raises(ValueError) as caught:
            call()
        assert str(caught.value) == (
            f"device: 'cuda' was asked for, but {_device.why_no_cuda()}; use device='cpu' or device='auto'"
        )


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
