"""Skips what needs a GPU where there is none, and says why; arrays of the libraries that are there."""

import importlib

import numpy as np
import pytest

from steppe import _device

WHY_NOT = _device.why_no_cuda()


def pytest_collection_modifyitems(items):
    if WHY_NOT is not None:
        for item in items:
            if "python/gpu" in item.path.as_posix():
                item.add_marker(pytest.mark.skip(reason=WHY_NOT))


def torch_on_device(array):
    return importlib.import_module("torch").from_numpy(array).cuda()


MAKERS = {
    "numpy": np.asarray,
    "steppe": lambda array: _device.upload(array),
    "cupy": lambda array: importlib.import_module("cupy").asarray(array),
    "torch": torch_on_device,
}


@pytest.fixture(params=MAKERS)
def kind(request):
    """(array of the host -> array of some library), (that array -> array of the host)."""
    if request.param in ("cupy", "torch"):
        pytest.importorskip(request.param)

    def back(array):
        if request.param == "numpy":
            return array
        assert _device.is_on_device(array)
        return _device.to_host(_device.view(array, "result"))

    return MAKERS[request.param], back
