"""The command: run every task in every way, print one table, draw one picture."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from steppe.demo._row import Row
from steppe.demo._tasks import WAYS, Task, Way, tasks
from steppe.parallel import Cluster

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m steppe demo", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with ml-100k/ and imclef07a/ to fit them too")
    parser.add_argument("--picture", type=Path, default=Path("demo.png"), help="where to draw objective against time")
    parser.add_argument("--tiny", action="store_true", help="little data, to see that all of it runs")
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)  # under mpiexec: where rank 0 leaves its rows
    options = parser.parse_args(arguments)
    if options.rows is not None:
        _run_as_rank(options)
        return 0
    rows, rivals = _run_alone(options)
    _print_table(rows, rivals)
    if find_spec("matplotlib") is None:
        print("no picture: it needs matplotlib (pip install matplotlib)")
    else:
        from steppe.demo._picture import draw

        draw(rows, options.picture)
        print(f"objective against time: {options.picture}")
    return 0


def _run_alone(options: argparse.Namespace) -> tuple[list[Row], dict[str, tuple[str, float]]]:
    rows: list[Row] = []
    rivals = {}
    for task in tasks(options.data, tiny=options.tiny):
        print(f"fitting {task.estimator} to {task.data} ...", flush=True)
        rows += [_fit(task, way, Cluster()) for way in WAYS if way.n_ranks == 1]
        rival = task.rival()
        if rival is not None:
            rivals[task.data] = rival
    rows += _run_under_mpiexec(options, 2)
    return rows, rivals


def _run_under_mpiexec(options: argparse.Namespace, n_ranks: int) -> list[Row]:
    mpiexec = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if mpiexec is None or find_spec("mpi4py") is None:
        print("no ranks: they need mpi4py and mpiexec (pip install 'steppe[mpi]')")
        return []
    print(f"fitting all of them again on {n_ranks} ranks under mpiexec ...", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "rows.json"
        command = [mpiexec, "-n", str(n_ranks), sys.executable, "-m", "steppe", "demo", "--rows", str(found)]
        command += ["--data", str(options.data)] if options.data else []
        command += ["--tiny"] if options.tiny else []
        subprocess.run(command, check=True)
        return [Row(**row) for row in json.loads(found.read_text())]


def _run_as_rank(options: argparse.Namespace) -> None:
    cluster = Cluster.world()
    ways = [way for way in WAYS if way.n_ranks == cluster.size]
    rows = [_fit(task, way, cluster) for task in tasks(options.data, tiny=options.tiny) for way in ways]
    if cluster.rank == 0:
        options.rows.write_text(json.dumps([asdict(row) for row in rows]))


def _fit(task: Task, way: Way, cluster: Cluster) -> Row:
    started = time.perf_counter()
    model = task.fit(way, cluster)
    seconds = time.perf_counter() - started
    evaluated = model.history_[np.isfinite(model.history_["objective"])]
    curve = [(float(line["seconds"]), float(line["objective"])) for line in evaluated]
    return Row(task.estimator, task.data, str(way), seconds, task.measure, task.quality(model, cluster), curve)


def _print_table(rows: Sequence[Row], rivals: dict[str, tuple[str, float]]) -> None:
    header = ("estimator", "data", "schedule", "seconds", "quality", "rival on the same split")
    lines = [header]
    for row in sorted(rows, key=lambda row: [other.data for other in rows].index(row.data)):
        name, reached = rivals.get(row.data, ("-", None))
        rival = name if reached is None else f"{name} {reached:.4f}"
        quality = f"{row.measure} {row.quality:.4f}"
        lines.append((row.estimator, row.data, row.way, f"{row.seconds:.3f}", quality, rival))
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    print()
    for number, line in enumerate(lines):
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        if number == 0:
            print("  ".join("-" * width for width in widths))
    print()
