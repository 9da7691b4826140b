"""Tests that every rank runs: ``mpiexec -n 2 python -m pytest tests/python/mpi``. One rank alone passes them too."""

import gc
import shutil
import tempfile

import pytest

MPI = pytest.importorskip("mpi4py.MPI")


@pytest.fixture(scope="session")
def cluster():
    from steppe.parallel import Cluster

    return Cluster.world()


@pytest.fixture(autouse=True)
def in_step():
    """No rank starts a test before all have ended the last one, its objects gone: a failure stays where it happened."""
    yield
    gc.collect()
    MPI.COMM_WORLD.Barrier()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    """Each rank has temporary folders of its own: pytest's are cleaned by all ranks at once, who then disturb each other."""
    config.option.basetemp = config.option.basetemp or tempfile.mkdtemp(prefix=f"steppe-rank{MPI.COMM_WORLD.rank}-")


def pytest_collection_modifyitems(items):
    """A fit alone is the reference of many tests; that it warns is a test of its own."""
    for item in items:
        item.add_marker(pytest.mark.filterwarnings("ignore:.*ranks were started and cluster=None"))


def pytest_unconfigure(config):
    MPI.COMM_WORLD.Barrier()
    shutil.rmtree(config.option.basetemp, ignore_errors=True)


def pytest_report_header():
    return f"rank {MPI.COMM_WORLD.rank} of {MPI.COMM_WORLD.size}"
