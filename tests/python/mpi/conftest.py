"""Tests that every rank runs: ``mpiexec -n 2 python -m pytest tests/python/mpi``. One rank alone passes them too."""

import gc

import pytest

MPI = pytest.importorskip("mpi4py.MPI")


@pytest.fixture(scope="session")
def cluster():
    from steppe.parallel import Cluster

    return Cluster.world()


@pytest.fixture(autouse=True)
def in_step():
    """No rank starts a test before all have finished the last one, its objects gone: a failure stays where it happened."""
    yield
    gc.collect()
    MPI.COMM_WORLD.Barrier()


def pytest_report_header():
    return f"rank {MPI.COMM_WORLD.rank} of {MPI.COMM_WORLD.size}"
