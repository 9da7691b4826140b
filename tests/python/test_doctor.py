"""``python -m steppe`` and its doctor."""

import importlib.util
import subprocess
import sys

import pytest

from steppe import __main__ as command_line
from steppe import doctor

HAS_MPI = importlib.util.find_spec("mpi4py") is not None and importlib.util.find_spec("steppe._mpi") is not None


def run(*arguments):
    return subprocess.run([sys.executable, "-m", "steppe", *arguments], capture_output=True, text=True, check=False)


def test_the_doctor_passes_here():
    done = run("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "pass"


def test_the_report_covers_the_build():
    findings = {finding.name: finding for finding in doctor.diagnose()}
    assert {"steppe", "compiler", "dispatch", "machine", "packages", "BLAS", "CUDA", "MPI"} <= set(findings)
    assert "-O" in findings["compiler"].detail
    if HAS_MPI:
        assert findings["two ranks"].status == "ok"


def test_a_launcher_that_fails_is_reported():
    (finding,) = doctor._two_ranks("/bin/false")
    assert (finding.status, finding.name) == ("FAIL", "two ranks")
    (finding,) = doctor._two_ranks("/no/such/launcher")
    assert finding.status == "FAIL"
    assert "/no/such/launcher" in finding.detail


def test_a_failure_sets_the_exit_status(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "diagnose", lambda: [doctor.Finding("FAIL", "MPI", "gone")])
    assert doctor.main([]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "fail: MPI"


@pytest.mark.parametrize(("arguments", "status"), [([], 0), (["--help"], 0), (["dance"], 2)])
def test_usage(arguments, status, capsys):
    assert command_line.main(arguments) == status
    captured = capsys.readouterr()
    assert "doctor" in captured.out + captured.err
