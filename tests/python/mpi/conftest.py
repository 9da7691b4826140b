"""Tests that every rank runs: ``mpiexec -n 2 python -m pytest tests/python/mpi``. One rank alone passes them too."""

import pytest

MPI = pytest.importorskip("mpi4py.MPI")


@pytest.fixture(scope="session")
def cluster():
    from steppe.parallel import Cluster

    return Cluster.world()


@pytest.fixture(autouse=True)
def in_step():
    """No rank starts a test before all have finished the last one: a failure stays where it happened."""
    yield
    MPI.COMM_WORLD.Barrier()


def pytest_report_header():
    return f"rank {MPI.COMM_WORLD.rank} of {MPI.COMM_WORLD.size}"
