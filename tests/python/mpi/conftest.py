"""Tests that all ranks of one `mpiexec -n P python -m pytest tests/python/mpi` run together."""

import gc
import os

import pytest

from steppe.parallel import Cluster

if os.environ.get("PMI_SIZE", "1") == "1" and "OMPI_COMM_WORLD_SIZE" not in os.environ:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def cluster():
    """All ranks."""
    return Cluster.world()


@pytest.fixture(autouse=True)
def in_step(cluster):
    """The ranks end each test together, its objects gone: destructors may be collective."""
    yield
    gc.collect()
    cluster.gather(None)


def pytest_report_header():
    world = Cluster.world()
    return f"rank {world.rank} of {world.size}"
