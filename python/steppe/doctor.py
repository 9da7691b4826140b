"""``python -m steppe doctor``: how steppe was built, and whether it works here."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from steppe import _core, _device

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Finding", "diagnose", "main"]

_LAUNCH_SECONDS = 60

# What each of two ranks runs. Starting MPI is left to them: the doctor's own process stays free of it.
_TWO_RANKS = """
from mpi4py import MPI
from steppe import _mpi
from steppe.parallel import Cluster

cluster = Cluster.world()
assert cluster.size == 2, f"mpiexec started {cluster.size} ranks that know of each other, not 2"
assert cluster.sum(cluster.rank + 1) == 3
if cluster.rank == 0:
    print(_mpi.library_version(), *_mpi.loaded_libraries(), sep="\\n")
"""


@dataclass(frozen=True)
class Finding:
    """One line of the report: ``ok``, ``none`` (an optional part is not there) or ``FAIL``."""

    status: str
    name: str
    detail: str

    def __str__(self) -> str:
        return f"{self.status:4}  {self.name:12}  {self.detail}"


def diagnose() -> list[Finding]:
    """Examine this installation.

    Returns
    -------
    findings : list of Finding
        In the order of the report. Takes a few seconds: two ranks are started where MPI is installed.
    """
    checks: list[Callable[[], list[Finding]]] = [_build, _machine, _packages, _blas, _cuda, _mpi]
    return [finding for check in checks for finding in check()]


def main(arguments: list[str]) -> int:
    """Print the report; the exit status is 1 if anything fails."""
    argparse.ArgumentParser(prog="python -m steppe doctor", description=__doc__).parse_args(arguments)
    findings = diagnose()
    for finding in findings:
        print(finding)
    failed = [finding.name for finding in findings if finding.status == "FAIL"]
    print(f"fail: {', '.join(failed)}" if failed else "pass")
    return 1 if failed else 0


def _build() -> list[Finding]:
    info = _core.build_info()
    sanitizers = f", sanitizers {info['sanitizers']}" if info["sanitizers"] else ""
    return [
        Finding("ok", "steppe", f"{info['version']} in {Path(_core.__file__).parent}"),
        Finding("ok", "compiler", f"{info['compiler']}, flags {info['flags'].strip()}{sanitizers}"),
        Finding("ok", "dispatch", f"kernels for {info['dispatch']}"),
    ]


def _machine() -> list[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return [Finding("ok", "machine", f"{platform.machine()}, {cores} cores, Python {platform.python_version()}")]


def _packages() -> list[Finding]:
    names = ("numpy", "scipy", "scikit-learn")
    return [Finding("ok", "packages", ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names))]


def _blas() -> list[Finding]:
    importlib.import_module("scipy.linalg.cython_blas")
    found = importlib.import_module("threadpoolctl").threadpool_info()
    libraries = [library for library in found if library["user_api"] == "blas"]
    if not libraries:
        return [Finding("ok", "BLAS", "scipy's own, of a kind that threadpoolctl does not know")]
    return [
        Finding(
            "ok",
            "BLAS",
            f"{library['internal_api']} {library['version']}, {library['num_threads']} threads, {library['filepath']}",
        )
        for library in libraries
    ]


def _cuda() -> list[Finding]:
    why = _device.why_no_cuda()
    if why is not None:
        return [Finding("none", "CUDA", f"{why}; device='cpu' is all there is")]
    cuda = _device.load()
    facts = cuda.device_facts()
    major, minor = facts["compute_capability"]
    found = [
        Finding("ok", "CUDA", f"{facts['name']}, compute capability {major}.{minor}, {facts['memory'] / 1e9:.0f} GB")
    ]
    try:
        return [*found, Finding("ok", "cuBLAS", cuda.cublas_path())]
    except RuntimeError as error:
        return [*found, Finding("none", "cuBLAS", str(error))]


def _mpi() -> list[Finding]:
    if importlib.util.find_spec("steppe._mpi") is None:
        return [Finding("none", "MPI", "this build has no MPI part: no MPI compiler was found when it was built")]
    if importlib.util.find_spec("mpi4py") is None:
        return [Finding("none", "MPI", "mpi4py is not installed; pip install 'steppe[mpi]' brings it")]
    launcher = _launcher()
    if launcher is None:
        return [Finding("FAIL", "MPI", "there is no mpiexec on PATH; pip install 'steppe[mpi]' brings one")]
    return _two_ranks(launcher)


def _launcher() -> str | None:
    """The mpiexec of this environment, else the first on PATH."""
    beside = Path(sys.executable).parent / "mpiexec"
    return str(beside) if beside.exists() else shutil.which("mpiexec")


def _two_ranks(launcher: str) -> list[Finding]:
    command = [launcher, "-n", "2", sys.executable, "-c", _TWO_RANKS]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LAUNCH_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return [Finding("FAIL", "two ranks", f"no answer within {_LAUNCH_SECONDS} s from {launcher} -n 2")]
    except OSError as error:
        return [Finding("FAIL", "two ranks", f"{launcher}: {error}")]
    if done.returncode != 0:
        errors = (done.stderr or done.stdout).strip()
        return [Finding("FAIL", "two ranks", f"{launcher} -n 2 ended with status {done.returncode}:\n{errors}")]
    version, *libraries = [" ".join(line.split()) for line in done.stdout.strip().splitlines()]
    return [
        Finding("ok", "MPI", f"{version}, mpi4py {importlib.metadata.version('mpi4py')}, {', '.join(libraries)}"),
        Finding("ok", "two ranks", f"started by {launcher}, joined, and agreed on a sum"),
    ]
