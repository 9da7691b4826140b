"""assign_cells and SemiDiscreteOT against NumPy, faiss, scikit-learn and POT, in one interleaved run.

python bench/peers/cells.py [--repeats 7] [--out bench/results/cells.md]

OPENBLAS_CORETYPE must be unset, so that NumPy runs at its best. faiss-cpu and POT are extra.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import ot
import sklearn
from ot.semidiscrete import solve_semidiscrete
from sklearn.metrics import pairwise_distances_argmin
from threadpoolctl import threadpool_limits

import steppe
from steppe.ot import SemiDiscreteOT, assign_cells

POINTS, SITES, FEATURES = 100_000, 1024, 64
BLOCK = {1: 1024, 2: 2048}
WANTED = 0.02  # mass error
POT_BUDGETS = ((32, 4_000), (32, 64_000), (32, 256_000), (256, 64_000), (256, 256_000))  # batch size x steps
PAUSE = 0.1  # seconds in which the threads of the one before, which spin for a while, fall asleep


def cloud(n: int, m: int, d: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X, sites = rng.normal(size=(n, d)).astype(np.float32), rng.normal(size=(m, d)).astype(np.float32)
    return X, sites, rng.normal(size=m)


def blocked_numpy(X: np.ndarray, sites: np.ndarray, potential: np.ndarray, block: int) -> np.ndarray:
    """The fastest way found in NumPy: the offset is one more column, blocks stay in the cache."""
    lifted = np.concatenate([X, np.ones((len(X), 1), np.float32)], axis=1)
    offset = (potential - (sites.astype(np.float64) ** 2).sum(1)) / 2
    columns = np.ascontiguousarray(np.concatenate([sites, offset[:, None]], axis=1, dtype=np.float32).T)
    labels = np.empty(len(X), np.int64)
    for first in range(0, len(X), block):
        (lifted[first : first + block] @ columns).argmax(1, out=labels[first : first + block])
    return labels


def with_faiss(X: np.ndarray, sites: np.ndarray, potential: np.ndarray) -> np.ndarray:
    offset = (potential - (sites.astype(np.float64) ** 2).sum(1)) / 2
    index = faiss.IndexFlatIP(X.shape[1] + 1)
    index.add(np.concatenate([sites, offset[:, None]], axis=1, dtype=np.float32))
    return index.search(np.concatenate([X, np.ones((len(X), 1), np.float32)], axis=1), 1)[1][:, 0]


def seconds(functions: dict[str, Callable], repeats: int) -> dict[str, float]:
    """The best of interleaved runs: what else runs on the machine then counts least."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            time.sleep(PAUSE)
            start = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - start)
    return {name: min(values) for name, values in times.items()}


def assignment(repeats: int) -> list[str]:
    X, sites, potential = cloud(POINTS, SITES, FEATURES)
    expected = assign_cells(X.astype(np.float64), sites, potential)
    rng = np.random.default_rng(1)
    square = [rng.normal(size=(4096, 4096)).astype(np.float32) for _ in range(2)]
    lines = [
        f"| n = {POINTS:,}, m = {SITES:,}, d = {FEATURES}, float32, potentials | 1 thread | GFLOP/s | of sgemm "
        "| 2 threads | GFLOP/s | of sgemm | labels that differ from float64 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    cells: dict[str, list[str]] = {}
    for threads in (1, 2):
        faiss.omp_set_num_threads(threads)
        functions = {
            "sgemm, 4096^3": lambda: square[0] @ square[1],
            "steppe": lambda n_jobs=threads: assign_cells(X, sites, potential, n_jobs=n_jobs),
            "NumPy, blocked": lambda block=BLOCK[threads]: blocked_numpy(X, sites, potential, block),
            "faiss IndexFlatIP": lambda: with_faiss(X, sites, potential),
        }
        with threadpool_limits(threads):
            times = seconds(functions, repeats)
        rate = 2 * 4096**3 / times["sgemm, 4096^3"] / 1e9
        for name, time_ in times.items():
            work = 2 * 4096**3 if name.startswith("sgemm") else 2 * POINTS * SITES * FEATURES
            cells.setdefault(name, []).extend(
                [f"{1e3 * time_:.1f} ms", f"{work / time_ / 1e9:.0f}", f"{100 * work / time_ / 1e9 / rate:.0f} %"]
            )
    for name, values in cells.items():
        wrong = "" if name.startswith("sgemm") else f"{np.mean(functions[name]() != expected):.1e}"
        lines.append(f"| {name} | {' | '.join(values)} | {wrong} |")
    return lines


def small_assignment(repeats: int) -> list[str]:
    X, sites, _ = cloud(POINTS, 16, 2)
    lines = [f"| n = {POINTS:,}, m = 16, d = 2, float32 | 1 thread | 2 threads |", "|---|---|---|"]
    cells: dict[str, list[str]] = {}
    for threads in (1, 2):
        functions = {
            "steppe": lambda n_jobs=threads: assign_cells(X, sites, n_jobs=n_jobs),
            "scikit-learn pairwise_distances_argmin": lambda: pairwise_distances_argmin(X, sites),
        }
        with threadpool_limits(threads):
            for name, time_ in seconds(functions, 5 * repeats).items():
                cells.setdefault(name, []).append(time_)
    ours, theirs = cells.values()
    for name, times in cells.items():
        lines.append(f"| {name} | {' | '.join(f'{1e3 * time_:.2f} ms' for time_ in times)} |")
    ratios = " | ".join(f"**{b / a:.1f}**" for a, b in zip(ours, theirs, strict=True))
    return [*lines, f"| times | {ratios} |"]


def semi_discrete(d: int, limit: float) -> list[str]:
    """Ours to the wanted error; POT's newest solver, at its defaults but for the budget, until it is there or out of time."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(POINTS, d)).astype(np.float32)
    sites = (0.7 * rng.normal(size=(SITES, d)) + 0.5).astype(np.float32)
    lines = []
    for threads in (1, 2):
        start = time.perf_counter()
        model = SemiDiscreteOT(sites, tol=WANTED, n_jobs=threads).fit(X)
        ours = time.perf_counter() - start
        lines.append(row(f"steppe, {threads} thread{'s' * (threads > 1)}", d, ours, model.cost_, model.mass_error_, ""))
    with threadpool_limits(2):
        for batch, steps in POT_BUDGETS:
            draws = np.random.default_rng(1)
            start = time.perf_counter()
            potential = solve_semidiscrete(
                sites,
                lambda size, draws=draws: X[draws.integers(POINTS, size=size)],
                max_iter=steps,
                batch_size=batch,
            )
            spent = time.perf_counter() - start
            labels, costs = assign_cells(X, sites, potential, return_cost=True)
            error = abs(np.bincount(labels, minlength=SITES) / POINTS - 1 / SITES).sum() / 2
            dual = float(potential.mean() + costs.mean(dtype=np.float64))
            lines.append(row(f"POT solve_semidiscrete, {batch} x {steps:,}", d, spent, dual, error, spent / ours))
            if error <= WANTED or spent > limit:
                break
    return lines


def row(name: str, d: int, spent: float, dual: float, error: float, times: float | str) -> str:
    return f"| {name} | {d} | {spent:.2f} s | {dual:.5f} | {100 * error:.1f} % | {times and f'{times:.1f}'} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--parts", nargs="+", default=["cells", "2", "64"], help="cells, or dimensions of transport")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds after which POT gets no larger budget")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if "OPENBLAS_CORETYPE" in os.environ:
        raise SystemExit("OPENBLAS_CORETYPE: unset it, or NumPy runs at half its speed")
    text = [
        f"{datetime.date.today()}, {platform.processor() or platform.machine()}, {os.cpu_count()} cores; "
        f"Python {platform.python_version()}, steppe {steppe.__version__}, NumPy {np.__version__}, "
        f"faiss {faiss.__version__}, scikit-learn {sklearn.__version__}, POT {ot.__version__}. "
        f"Best of {arguments.repeats} interleaved runs.",
        "",
    ]
    if "cells" in arguments.parts:
        text += [*assignment(arguments.repeats), "", *small_assignment(arguments.repeats), ""]
    dimensions = [int(part) for part in arguments.parts if part.isdigit()]
    if dimensions:
        text += [
            f"| n = {POINTS:,}, m = {SITES:,}, float32, to a mass error of {100 * WANTED:.0f} % "
            "| d | seconds | dual | mass error | times steppe on 2 threads |",
            "|---|---|---|---|---|---|",
        ]
        for d in dimensions:
            text += semi_discrete(d, arguments.limit)
    print("\n".join(text))
    if arguments.out:
        arguments.out.write_text("\n".join(["# Cells and semi-discrete transport", "", *text, ""]))


if __name__ == "__main__":
    main()
