"""Makes the helpers beside the tests importable, and Ctrl-C heard; devices to run tests on."""

import signal
import sys
from pathlib import Path

import pytest

from steppe import _device

sys.path.insert(0, str(Path(__file__).parent))

# A shell starts jobs in the background deaf to Ctrl-C, and their children inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

WHY_NO_CUDA = _device.why_no_cuda()


@pytest.fixture(params=["cpu", "cuda"])
def device(request):
    """Each device in turn; without a GPU its tests are skipped, and say why."""
    if request.param == "cuda" and WHY_NO_CUDA is not None:
        pytest.skip(WHY_NO_CUDA)
    return request.param
