"""One MPI library in a process, initialised, or an error that says what to do."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytest.importorskip("mpi4py")
pytest.importorskip("steppe._core")


def run(program):
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_libraries_are_both_named():
    other = Path(sys.prefix) / "lib" / "libmpi_abi.so.1"
    if not other.exists():
        pytest.skip("this environment has one MPI library only")
    said = run(f"""
        import ctypes
        from mpi4py import MPI
        from steppe import ClusterError, _mpi
        ctypes.CDLL({str(other)!r})
        try:
            _mpi.make_link(MPI.COMM_WORLD.handle)
        except ClusterError as error:
            print(error)
        """)
    assert "two MPI libraries" in said
    assert "libmpi_abi.so.1" in said
    assert "libmpi.so" in said


def test_an_mpi_that_is_not_initialised_is_refused():
    said = run("""
        import mpi4py
        mpi4py.rc.initialize = False
        from mpi4py import MPI
        from steppe import ClusterError, _mpi
        try:
            _mpi.make_link(0)
        except ClusterError as error:
            print(error)
        """)
    assert "not initialised" in said
    assert "mpi4py" in said


def test_one_thread_only_is_refused():
    said = run("""
        import mpi4py
        mpi4py.rc.thread_level = "single"
        from mpi4py import MPI
        from steppe import ClusterError, _mpi
        try:
            _mpi.make_link(MPI.COMM_WORLD.handle)
        except ClusterError as error:
            print(error)
        """)
    assert "MPI_THREAD_FUNNELED" in said


def test_a_link_may_outlive_mpi():
    said = run("""
        from mpi4py import MPI
        from steppe import _mpi
        link = _mpi.make_link(MPI.COMM_WORLD.handle)
        MPI.Finalize()
        del link
        print("whole")
        """)
    assert said == "whole\n"
