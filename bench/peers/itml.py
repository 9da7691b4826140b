"""ITML and GMML against metric-learn and LAPACK, and the largest published sizes, in one run.

unset OPENBLAS_CORETYPE; python bench/peers/itml.py [--repeats 5] [--out bench/results/itml.md] [--no-large]

Needs metric-learn 0.7.0, which runs with scikit-learn below 1.8 only.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import scipy
import sklearn
from sklearn.datasets import make_classification
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import steppe
from steppe.metric import GMML, ITML
from steppe.metric._pairs import sample_pairs

GOALS = {50: 3.0, 500: 10.0}
LARGE = {"50 points, 1,225 pairs": (50, 51_456, 1_225), "2,000 points, 10,000 pairs": (2_000, 100_000, 10_000),
         "5,000 points, 2,500 pairs": (5_000, 100_000, 2_500)}  # fmt: skip


def labelled(d: int, n: int = 600) -> tuple[np.ndarray, np.ndarray]:
    """Points of 5 classes of which a third of the features tells."""
    X, y = make_classification(
        n, d, n_informative=max(d // 10, 5), n_redundant=0, n_classes=5, n_clusters_per_class=1, random_state=0
    )
    return StandardScaler().fit_transform(X), y


def pairs_of(X: np.ndarray, y: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The arguments of both rivals: pairs, +1 or -1, and bounds on squared distances."""
    pairs, sign = sample_pairs(y, n, np.random.default_rng(0))
    values = X[pairs]
    squared = ((values[:, 0] - values[:, 1]) ** 2).sum(axis=1)
    return values, sign.astype(int), np.percentile(squared, (5, 95))


def interleaved(runs: dict[str, Callable], repeats: int, of: Callable = median) -> dict[str, float]:
    """Seconds of each, all run once before any runs again: what disturbs the machine disturbs all."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: of(values) for name, values in seconds.items()}


def same_fit(d: int, repeats: int) -> str:
    """Return a row: the same pairs, bounds and sweeps to both; the matrices compared, then timed."""
    from metric_learn import ITML as Rival

    pairs, y, bounds = pairs_of(*labelled(d), 1000)
    rival = Rival(gamma=1.0, max_iter=1000, tol=1e-3)
    rival.fit(pairs, y, bounds=bounds)
    sweeps = rival.n_iter_ + 1

    def ours(n_jobs: int) -> ITML:
        return ITML(1.0, bounds=bounds, max_iter=sweeps, tol=0, n_jobs=n_jobs).fit(pairs, y)

    theirs = rival.get_mahalanobis_matrix()
    error = np.linalg.norm(ours(2).get_mahalanobis_matrix() - theirs) / np.linalg.norm(theirs)
    fit = lambda: Rival(gamma=1.0, max_iter=1000, tol=1e-3).fit(pairs, y, bounds=bounds)  # noqa: E731

    def rival_on(n_threads: int) -> None:
        with threadpool_limits(n_threads):
            fit()

    times = interleaved(
        {"r1": lambda: rival_on(1), "r2": lambda: rival_on(2), "1": lambda: ours(1), "2": lambda: ours(2)}, repeats
    )
    best = min(times["r1"], times["r2"])
    goal = f"{GOALS[d]:.0f}" if d in GOALS else ""
    return (
        f"| {d} | {sweeps} | {error:.1e} | {times['r1'] * 1e3:.0f} | {times['r2'] * 1e3:.0f} | {times['1'] * 1e3:.1f} "
        f"| {best / times['1']:.1f} | {times['2'] * 1e3:.1f} | **{best / times['2']:.1f}** | {goal} |"
    )


def gmml(repeats: int, d: int = 512) -> str:
    """Return a sentence: a fit at d features beside two eigendecompositions of that size, on one thread."""
    X, y = labelled(d, 2000)
    pairs, sign, _ = pairs_of(X, y, 2000)
    A = np.cov(X, rowvar=False)
    with threadpool_limits(1):
        times = interleaved(
            {"fit": lambda: GMML().fit(pairs, sign), "eigen": lambda: (scipy.linalg.eigh(A, driver="evd"), scipy.linalg.eigh(A, driver="evd"))},
            10 * repeats, min,
        )  # fmt: skip
    ratio = times["fit"] / times["eigen"]
    return (
        f"GMML at d = {d}, 2,000 pairs, float64, one thread, the least of {10 * repeats} interleaved runs: fit {times['fit'] * 1e3:.0f} ms, two eigendecompositions "
        f"(LAPACK's dsyevd through scipy) {times['eigen'] * 1e3:.0f} ms: **{ratio:.2f}** times (goal: at most 1.5)."
    )


def large(name: str) -> None:
    """One of the largest cases, to standard output; run in a process of its own."""
    n, d, c = LARGE[name]
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d), dtype=np.float32)
    y = np.arange(n) % 10
    X[:, :200] += 2 * rng.standard_normal((10, 200), dtype=np.float32)[y]
    if n * (n - 1) // 2 == c:
        pairs = np.stack(np.triu_indices(n, 1), axis=1)
    elif c == n // 2:
        pairs = rng.permutation(n).reshape(-1, 2)
    else:
        first = rng.integers(0, n, c)
        pairs = np.stack([first, (first + rng.integers(1, n, c)) % n], axis=1)
    sign = np.where(y[pairs[:, 0]] == y[pairs[:, 1]], 1, -1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    model = ITML(1.0, preprocessor=X, n_jobs=2, tol=1e-4).fit(pairs, sign)
    fit = time.perf_counter() - start
    start = time.perf_counter()
    distances = model.pair_distance(pairs[:1000])
    model.transform(X[:100])
    verbs = time.perf_counter() - start
    assert np.isfinite(distances).all()
    form = steppe._core.itml_form(n, c, d)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"| {name} | {d:,} | {form} | {model.n_iter_} | {model.dual_gap_:.1e} | {len(model.basis_)} | **{fit:.1f}** "
        f"| {verbs:.1f} | {before / 1e6:.2f} | **{peak / 1e6:.2f}** | {4 * d * d / 1e9:.0f} |"
    )


def told(row: str) -> str:
    """Return the row, shown as soon as it is there."""
    print(row, file=sys.stderr, flush=True)
    return row


def report(repeats: int, with_large: bool) -> str:
    """Run all, and return the page."""
    import metric_learn

    lines = [
        "# Metric learning",
        "",
        f"{datetime.date.today()}, {platform.machine()}, {os.cpu_count()} cores; Python {platform.python_version()}, steppe "
        f"{steppe.__version__}, metric-learn {metric_learn.__version__}, scikit-learn {sklearn.__version__}, NumPy "
        f"{np.__version__}, SciPy {scipy.__version__}. OPENBLAS_CORETYPE is "
        f"{os.environ.get('OPENBLAS_CORETYPE', 'not set')}. Medians of {repeats} interleaved runs.",
        "",
        "## ITML, exact, against metric-learn",
        "",
        "1,000 pairs, gamma 1, float64; both get the same pairs, bounds (squared) and number of sweeps, and whole fits are "
        "timed. `error` is the relative difference of the matrices. Ratios against the better of the rival's two times.",
        "",
        "| d | sweeps | error | metric-learn, 1 thread, ms | 2 threads, ms | steppe, 1 thread, ms | times | 2 threads, ms | times | goal |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(told(same_fit(d, repeats)) for d in (50, 200, 500)),
        "",
        "## The largest published sizes",
        "",
        "float32, 2 threads, gamma 1, default bounds, tol 1e-4, a process each. Goal: under 60 s and 8 GB. `verbs`: the distances of 1,000 "
        "pairs and the transform of 100 rows. Peak memory holds the data itself.",
        "",
        "| data | d | form | sweeps | duality gap | rank | fit, s | verbs, s | data, GB | peak, GB | a dense matrix, GB |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    if with_large:
        for name in LARGE:
            command = [sys.executable, __file__, "--case", name]
            lines.append(told(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()))
    lines += [
        "",
        "## GMML",
        "",
        told(gmml(repeats)),
        "",
        "Written by `python bench/peers/itml.py`.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--no-large", action="store_true")
    parser.add_argument("--case", choices=list(LARGE))
    arguments = parser.parse_args()
    if arguments.case:
        large(arguments.case)
        sys.exit()
    text = report(arguments.repeats, not arguments.no_large)
    print(text)
    if arguments.out:
        arguments.out.write_text(text)
