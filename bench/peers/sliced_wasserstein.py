"""Sliced Wasserstein distances of two samples against POT and NumPy by hand, in one interleaved run.

python bench/peers/sliced_wasserstein.py [--rows 16000] [--projections 1000] [--repeats 5] [--out results.md]
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

os.environ.pop("OPENBLAS_CORETYPE", None)  # every BLAS shall use the best kernel of this machine

import numpy as np
import ot
import scipy
from threadpoolctl import threadpool_limits

import steppe
from steppe.ot import sliced_wasserstein_distance, sorted_targets

PAUSE = 0.1  # seconds in which the threads of the one before, which spin for a while, fall asleep


def problem(rows: int, features: int, projections: int) -> tuple[np.ndarray, ...]:
    """Two normal samples and directions (D, p), float32."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((rows, features), dtype=np.float32)
    Y = rng.standard_normal((rows, features), dtype=np.float32) + np.float32(0.1)
    P = rng.standard_normal((features, projections), dtype=np.float32)
    return X, Y, P / np.linalg.norm(P, axis=0)


def by_hand(X: np.ndarray, Y: np.ndarray, PT: np.ndarray) -> float:
    """Do it in the best layout for NumPy: projections (p, n), sorted along contiguous rows, in place."""
    x, y = PT @ X.T, PT @ Y.T
    x.sort(axis=1)
    y.sort(axis=1)
    x -= y
    return float(np.sqrt(np.einsum("ij,ij->i", x, x).sum(dtype=np.float64) / x.size))


def with_pot(X: np.ndarray, Y: np.ndarray, P: np.ndarray) -> float:
    """Do it as most people would."""
    return float(ot.sliced_wasserstein_distance(X, Y, projections=P))


def targets_by_hand(x: np.ndarray, y: np.ndarray, kind: str = "quicksort") -> np.ndarray:
    """One argsort and a scatter for each column, columns contiguous while they are sorted."""
    order = np.argsort(np.ascontiguousarray(x.T), axis=1, kind=kind)
    values = np.sort(np.ascontiguousarray(y.T), axis=1)
    targets = np.empty_like(values)
    np.put_along_axis(targets, order, values, axis=1)
    return np.ascontiguousarray(targets.T)


def interleaved(calls: dict[str, Callable], repeats: int, once: frozenset[str] = frozenset()) -> dict[str, float]:
    """Seconds of the best run of each, all run once before any runs again: what else runs here then counts least."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in (call for name, call in calls.items() if name not in once):
        call()
    for repeat in range(repeats):
        for name, call in calls.items():
            if repeat and name in once:
                continue
            time.sleep(PAUSE)
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: min(values) for name, values in seconds.items()}


def limited(threads: int, call: Callable) -> Callable:
    """Return the call with that many threads of BLAS."""

    def run() -> object:
        with threadpool_limits(threads):
            return call()

    return run


def distance_rows(features: int, args: argparse.Namespace) -> list[str]:
    """Return the table's rows for that many features."""
    X, Y, P = problem(args.rows, features, args.projections)
    PT = np.ascontiguousarray(P.T)
    exact = by_hand(X.astype(np.float64), Y.astype(np.float64), PT.astype(np.float64))
    values = {
        "steppe": sliced_wasserstein_distance(X, Y, projections=P, n_jobs=2),
        "hand": by_hand(X, Y, PT),
    }
    for name, value in values.items():
        assert abs(value / exact - 1) < 1e-5, (name, value, exact)
    calls: dict[str, Callable] = {}
    for threads in (1, 2):
        calls[f"hand {threads}"] = limited(threads, lambda: by_hand(X, Y, PT))
        calls[f"steppe {threads}"] = lambda n_jobs=threads: sliced_wasserstein_distance(
            X, Y, projections=P, n_jobs=n_jobs
        )
    calls["POT"] = lambda: values.setdefault("POT", with_pot(X, Y, P))
    times = interleaved(calls, args.repeats, frozenset({"POT"}))
    assert abs(values["POT"] / exact - 1) < 2e-4, (values["POT"], exact)  # its float32 masses do not sum to 1
    rows = []
    for threads in (1, 2):
        ours, hand = times[f"steppe {threads}"], times[f"hand {threads}"]
        rows.append(
            f"| {features} | {threads} | {times['POT']:.2f} s | {hand * 1e3:.0f} ms | {ours * 1e3:.0f} ms | "
            f"**{hand / ours:.2f}** | {times['POT'] / ours:.0f} |"
        )
    return rows


def part_rows(args: argparse.Namespace) -> list[str]:
    """Return the table's rows of targets."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((args.rows, 256), dtype=np.float32)
    y = rng.standard_normal((args.rows, 256), dtype=np.float32)
    np.testing.assert_array_equal(sorted_targets(x, y), targets_by_hand(x, y, "stable"))
    calls = {
        "hand": lambda: targets_by_hand(x, y),
        "1": lambda: sorted_targets(x, y, n_jobs=1),
        "2": lambda: sorted_targets(x, y, n_jobs=2),
    }
    times = interleaved(calls, args.repeats)
    return [
        f"| {threads} | {times['hand'] * 1e3:.0f} ms | {times[threads] * 1e3:.0f} ms | "
        f"**{times['hand'] / times[threads]:.2f}** |"
        for threads in ("1", "2")
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=16_000)
    parser.add_argument("--projections", type=int, default=1000)
    parser.add_argument("--features", type=int, nargs="+", default=[128, 2048])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    distances = [row for features in args.features for row in distance_rows(features, args)]
    targets = part_rows(args)
    lines = [
        "# Sliced Wasserstein distance",
        "",
        f"{datetime.date.today()}, {cpu_name()}, {os.cpu_count()} cores; Python {platform.python_version()}, steppe "
        f"{steppe.__version__}, NumPy {np.__version__}, SciPy {scipy.__version__}, POT {ot.__version__}. "
        f"{args.rows:,} rows of each sample, {args.projections:,} given projections, p = 2, float32; best of "
        f"{args.repeats} interleaved runs (POT: 1 run, on all threads). steppe and NumPy agree with float64 to 1e-5, POT, whose masses are float32 too, to 1e-4.",
        "",
        "Goals on 2 threads: 1.6 times NumPy by hand (projections (p, n), `np.sort` on rows, in place); 80 times POT at "
        "128 features, 15 times at 2,048.",
        "",
        "| features | threads | POT | NumPy by hand | steppe | times by hand | times POT |",
        "|---|---|---|---|---|---|---|",
        *distances,
        "",
        f"`sorted_targets` of ({args.rows:,}, 256) float32, against one `argsort`, one `sort` and a scatter in NumPy:",
        "",
        "| threads | NumPy by hand | steppe | times |",
        "|---|---|---|---|",
        *targets,
        "",
        "Written by `python bench/peers/sliced_wasserstein.py`.",
    ]
    print("\n".join(lines))
    if args.out:
        args.out.write_text("\n".join(lines) + "\n")


def cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
