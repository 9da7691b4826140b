"""The MPI link as Python sees it."""

import time

import numpy as np
import pytest
from mpi4py import MPI

from steppe import ClusterError, _core, _mpi
from steppe.parallel import Cluster


def test_the_world_has_the_ranks_of_mpiexec(cluster):
    assert (cluster.rank, cluster.size) == (MPI.COMM_WORLD.rank, MPI.COMM_WORLD.size)
    assert isinstance(cluster.link, _core.Link)


def test_one_mpi_library_serves_mpi4py_and_steppe():
    assert len(_mpi.loaded_libraries()) == 1
    assert MPI.Get_library_version().startswith(_mpi.library_version())


def test_gather_is_in_rank_order(cluster):
    assert cluster.gather(("rank", cluster.rank)) == [("rank", rank) for rank in range(cluster.size)]


def test_sums_have_the_same_bits_everywhere(cluster):
    mine = np.array([0.1, 1e16, -3.0]) * (cluster.rank + 1)
    total = cluster.sum(mine)
    assert all(np.array_equal(total, other) for other in cluster.gather(total))


def test_a_large_message_arrives_whole(cluster):
    size = 3_000_000 + cluster.rank
    parts = cluster.gather(np.full(size, cluster.rank, dtype=np.int64))
    assert [len(part) for part in parts] == [3_000_000 + rank for rank in range(cluster.size)]
    assert all((part == rank).all() for rank, part in enumerate(parts))


def test_classes_are_unified(cluster):
    found = cluster.unify(np.array([cluster.rank, cluster.rank + 1]))
    assert found.tolist() == list(range(cluster.size + 1))


def test_a_split_communicator_is_a_cluster_of_its_own(cluster):
    comm = MPI.COMM_WORLD.Split(color=cluster.rank % 2)
    assert Cluster(comm).size == comm.size


def test_an_error_on_one_rank_ends_all_and_names_it(cluster):
    last = cluster.size - 1

    def check_input():
        with cluster.agree():
            if cluster.rank == last:
                raise ValueError("X: it has no rows")

    with pytest.raises(ValueError, match="X: it has no rows") as caught:
        check_input()
    if cluster.rank != last:
        assert f"rank {last}" in str(caught.value)


def test_a_rank_that_stays_away_is_named(cluster):
    if cluster.size == 1:
        pytest.skip("needs two ranks")
    link = _mpi.make_link(MPI.COMM_WORLD.handle, timeout=0.8)
    last = cluster.size - 1
    if cluster.rank == last:
        time.sleep(2)
    else:
        started = time.monotonic()
        with pytest.raises(ClusterError, match=f"rank {last} stayed silent") as caught:
            link.allgather(b"")
        assert caught.value.rank == last
        assert time.monotonic() - started < 5
    MPI.COMM_WORLD.Barrier()
    if cluster.rank == last:
        assert link.allgather(b"") == [b""] * cluster.size  # completes what the others gave up


def test_a_handle_that_is_no_communicator_is_refused():
    with pytest.raises(ClusterError, match="MPI_Comm_idup"):
        _mpi.make_link(0)


def test_a_time_out_must_be_positive():
    with pytest.raises(ValueError, match="timeout"):
        _mpi.make_link(MPI.COMM_WORLD.handle, timeout=0)
