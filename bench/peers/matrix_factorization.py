"""MatrixFactorization against libmf and cmfrec: seconds to a test error, and updates a second, in one interleaved run.

python bench/peers/matrix_factorization.py [--data DIR] [--repeats 5] [--out bench/results/matrix_factorization.md]

Needs `pip install libmf cmfrec`. DIR/ml-100k/u.data.gz is MovieLens-100K; without it that half is left out. Every method
has k = 32 and its best parameters of a small grid. libmf's L1 penalties are set to 0 (by default they collapse the
factors), and its errors are computed from its factors (its `predict` of version 0.9.2 returns wrong values).
"""

from __future__ import annotations

import argparse
import datetime
import gzip
import os
import platform
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

os.environ.pop("OPENBLAS_CORETYPE", None)  # would slow down cmfrec's linear algebra

import cmfrec
import libmf.mf
import numpy as np
import scipy.sparse
from numpy.typing import NDArray

import steppe
from steppe.datasets import make_ratings
from steppe.recommend import MatrixFactorization

K = 32
GOAL = 1.5
UPDATES_GOAL, THREADS_GOAL = 2.0, 1.7


@dataclass
class Split:
    """Ratings to fit and ratings to predict, as COO matrices of one shape."""

    train: scipy.sparse.coo_array
    test: scipy.sparse.coo_array

    def rmse(self, W: NDArray[Any], H: NDArray[Any], offset: NDArray[Any] | float = 0.0) -> float:
        """Error of W H' + offset on the test ratings; the mean where a method has no factors for a row."""
        W, H = (np.pad(part, ((0, n - len(part)), (0, 0))) for part, n in zip((W, H), self.test.shape, strict=True))
        predicted = np.einsum("nk,nk->n", W[self.test.row], H[self.test.col]) + offset
        predicted = np.where(np.isnan(predicted), self.train.data.mean(), predicted)
        return float(np.sqrt(np.mean((predicted - self.test.data) ** 2)))


def split(X: scipy.sparse.coo_array, n_test: int) -> Split:
    """Split at random, always in the same way."""
    order = np.random.default_rng(0).permutation(X.nnz)
    test, train = (
        scipy.sparse.coo_array((X.data[part], (X.row[part], X.col[part])), shape=X.shape)
        for part in (order[:n_test], order[n_test:])
    )
    return Split(train, test)


def planted() -> Split:
    """Two million ratings, 20,000 x 5,000, rank 32, noise 0.3, and 200,000 to test."""
    X, _ = make_ratings(n_ratings=2_200_000, random_state=0)
    return split(scipy.sparse.coo_array(X), 200_000)


def movielens(folder: Path) -> Split:
    """Load MovieLens-100K, nine parts to fit and one to test."""
    with gzip.open(folder / "ml-100k" / "u.data.gz") as stream:
        table = np.loadtxt(stream, dtype=np.int64)
    users, items = table[:, 0] - 1, table[:, 1] - 1
    return split(scipy.sparse.coo_array((table[:, 2].astype(np.float32), (users, items))), len(table) // 10)


@dataclass
class Method:
    """A configuration: `prepare` makes what its library takes, `fit` is timed, `error` scores what it returned."""

    library: str
    name: str
    prepare: Callable[[Split], Any]
    fit: Callable[[Any, int, int], Any]
    error: Callable[[Any, Split], float]
    iterations: tuple[int, ...]
    prepared: Any = None
    errors: dict[int, float] = field(default_factory=dict)


def libmf_method(reg: float, step: float, iterations: tuple[int, ...], *, centre: bool) -> Method:
    """Stochastic gradient descent with AdaGrad, one of the fastest on one machine."""

    def prepare(data: Split) -> Any:
        mean = float(data.train.data.mean()) if centre else 0.0
        return np.stack([data.train.row, data.train.col, data.train.data - mean], axis=1).astype(np.float32), mean

    def fit(prepared: Any, n_iter: int, n_threads: int) -> Any:
        options = {"lambda_p1": 0.0, "lambda_q1": 0.0, "lambda_p2": reg, "lambda_q2": reg}
        model = libmf.mf.MF(k=K, nr_threads=n_threads, nr_iters=n_iter, eta=step, quiet=True, **options)
        model.fit(prepared[0])
        return model, prepared[1]

    def error(fitted: Any, data: Split) -> float:
        model, mean = fitted
        return data.rmse(model.p_factors(), model.q_factors(), mean)

    return Method("libmf", f"libmf, lambda {reg}, eta {step}", prepare, fit, error, iterations)


def cmfrec_method(reg: float, iterations: tuple[int, ...], *, biases: bool) -> Method:
    """Alternating least squares by conjugate gradients."""

    def fit(prepared: Any, n_iter: int, n_threads: int) -> Any:
        options = {"user_bias": biases, "item_bias": biases, "use_float": True, "verbose": False}
        model = cmfrec.CMF(
            k=K, lambda_=reg, method="als", use_cg=True, finalize_chol=False, precompute_for_predictions=False,
            niter=n_iter, nthreads=n_threads, random_state=1, **options,
        )  # fmt: skip
        return model.fit(prepared)

    def error(model: Any, data: Split) -> float:
        offset = model.glob_mean_
        if biases:
            offset = offset + model.user_bias_[data.test.row] + model.item_bias_[data.test.col]
        return data.rmse(model.A_, model.B_, offset)

    return Method("cmfrec", f"cmfrec ALS-CG, lambda {reg}", lambda data: data.train, fit, error, iterations)


def steppe_method(solver: str, iterations: tuple[int, ...], **params: Any) -> Method:
    """Ours."""

    def fit(prepared: Any, n_iter: int, n_threads: int) -> Any:
        return MatrixFactorization(
            K, solver=solver, max_iter=n_iter, n_jobs=n_threads, random_state=0, **params
        ).fit(prepared)  # fmt: skip

    name = f"steppe {solver}, " + ", ".join(f"{key} {value}" for key, value in params.items() if key != "biases")
    error = lambda model, data: -model.score(data.test)  # noqa: E731
    return Method(f"steppe {solver}", name, lambda data: data.train.tocsr(), fit, error, iterations)


def tune(methods: list[Method], data: Split) -> None:
    """Find the error of every configuration after every number of iterations, once."""
    for method in methods:
        method.prepared = method.prepare(data)
        for n_iter in method.iterations:
            method.errors[n_iter] = method.error(method.fit(method.prepared, n_iter, 1), data)
        shown = ", ".join(f"{n}: {error:.4f}" for n, error in method.errors.items())
        print(f"{method.name}: {shown}", flush=True)


def timed(method: Method, n_iter: int, n_threads: int) -> tuple[float, float]:
    """Wall and processor seconds of one fit."""
    wall, cpu = time.perf_counter(), time.process_time()
    method.fit(method.prepared, n_iter, n_threads)
    return time.perf_counter() - wall, time.process_time() - cpu


def interleaved(runs: list[tuple[Method, int, int]], repeats: int) -> list[tuple[float, float]]:
    """Median wall and processor seconds of each run, all done once before any is done again.

    Processor seconds are what other work on the machine disturbs least.
    """
    seconds: list[list[tuple[float, float]]] = [[] for _ in runs]
    for _ in range(repeats):
        for run, seen in zip(runs, seconds, strict=True):
            seen.append(timed(*run))
    return [(median(wall for wall, _ in seen), median(cpu for _, cpu in seen)) for seen in seconds]


def reach(method: Method, target: float) -> int | None:
    """The fewest iterations to that error."""
    return next((n for n, error in sorted(method.errors.items()) if error <= target), None)


def race(methods: list[Method], targets: list[float], repeats: int, n_threads: int) -> list[str]:
    """Rows of a table: for each library its fastest configuration to each target."""
    rows = []
    for target in targets:
        runs = [(method, n, n_threads) for method in methods if (n := reach(method, target)) is not None]
        best: dict[str, tuple[float, float, Method, int]] = {}
        for (method, n, _), (wall, cpu) in zip(runs, interleaved(runs, repeats), strict=True):
            if method.library not in best or wall < best[method.library][0]:
                best[method.library] = (wall, cpu, method, n)
        rival = min((found[:2] for library, found in best.items() if not library.startswith("steppe")), default=None)
        for library in dict.fromkeys(method.library for method in methods):
            if library not in best:
                rows.append(f"| {target:.4f} | {n_threads} | {library} | not reached | | | |")
                continue
            wall, cpu, method, n = best[library]
            ratio = (
                ""
                if rival is None or not library.startswith("steppe")
                else f"**{rival[0] / wall:.2f}** ({rival[1] / cpu:.2f})"
            )
            rows.append(
                f"| {target:.4f} | {n_threads} | {method.name} | {n} | {1e3 * wall:.1f} | {1e3 * cpu:.1f} | {ratio} |"
            )
        print("\n".join(rows[-len(best) :]), flush=True)
    return rows


def epochs(methods: list[Method], n_ratings: int, repeats: int) -> list[str]:
    """Rows of a table: seconds an epoch from fits of 5 and of 25 iterations, so that what is done once drops out."""
    rows = []
    seconds: dict[tuple[str, int], float] = {}
    runs = [(method, n, threads) for threads in (1, 2) for method in methods for n in (5, 25)]
    times = interleaved(runs, repeats)
    for index in range(0, len(runs), 2):
        method, _, threads = runs[index]
        seconds[method.library, threads] = (times[index + 1][0] - times[index][0]) / 20
    for method in methods:
        one, two = seconds[method.library, 1], seconds[method.library, 2]
        rate = f"{n_ratings / one / 1e6:.1f} | {n_ratings / two / 1e6:.1f}" if "als" not in method.library else " | "
        if method.library == "cmfrec":
            rate = " | "
        rows.append(f"| {method.name} | {1e3 * one:.1f} | {1e3 * two:.1f} | {one / two:.2f} | {rate} |")
    print("\n".join(rows), flush=True)
    ours, theirs = seconds["steppe sgd", 1], seconds["libmf", 1]
    rows.append("")
    rows.append(
        f"Updates a second on one thread, steppe sgd over libmf: **{theirs / ours:.2f}** (goal {UPDATES_GOAL})."
    )
    return rows


HEAD = [
    "| test RMSE | threads | method | iterations | ms | processor ms | times faster than the better rival (by processor time) |",
    "|---|---|---|---|---|---|---|",
]


def processor() -> str:
    """Return the processor's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def planted_page(repeats: int) -> list[str]:
    """The part on planted ratings."""
    data = planted()
    methods = [  # iterations about where the targets are
        libmf_method(0.02, 0.2, (3, 4, 7, 8), centre=False),
        libmf_method(0.015, 0.25, (3, 4, 11, 12), centre=False),
        libmf_method(0.02, 0.3, (2, 3, 9, 10, 11), centre=False),
        *(cmfrec_method(reg, (4, 5, 6, 8, 9), biases=False) for reg in (4.0, 5.0, 6.0)),
        *(steppe_method("sgd", (2, 3, 4, 5, 6, 7), reg=reg, biases=False) for reg in (0.015, 0.02)),
        *(steppe_method("als", (4, 5, 6, 7, 8), reg=reg, biases=False) for reg in (0.02, 0.025)),
    ]
    tune(methods, data)
    rows = [row for threads in (1, 2) for row in race(methods, [0.40, 0.37], repeats, threads)]
    chosen = [methods[0], methods[4], methods[7], methods[9]]
    return [
        "## Two million planted ratings",
        "",
        "20,000 x 5,000, rank 32, singular values 0.85^r, noise 0.3; 200,000 more to test; float32, no biases.",
        "",
        *HEAD,
        *rows,
        "",
        "| method | ms an iteration, 1 thread | 2 threads | times faster | million updates a second, 1 thread | 2 threads |",
        "|---|---|---|---|---|---|",
        *epochs(chosen, data.train.nnz, repeats),
        "",
    ]


def movielens_page(folder: Path, repeats: int) -> list[str]:
    """The part on MovieLens-100K."""
    data = movielens(folder)
    few, many = tuple(range(4, 25, 2)), tuple(range(2, 10))
    methods = [
        *(libmf_method(reg, step, few, centre=False) for reg in (0.08, 0.1) for step in (0.05, 0.1, 0.15)),
        *(cmfrec_method(reg, many, biases=True) for reg in (10.0, 13.0, 16.0)),
        *(steppe_method("sgd", few, reg=reg) for reg in (0.08, 0.1)),
        *(steppe_method("als", many, reg=reg, reg_weighting="plain") for reg in (11.0, 13.0)),
        steppe_method("als", many, reg=0.1),
    ]
    tune(methods, data)
    best = min(min(method.errors.values()) for method in methods)
    theirs = min(min(method.errors.values()) for method in methods if not method.library.startswith("steppe"))
    targets = [1.005 * theirs, 1.005 * best]
    rows = [row for threads in (1, 2) for row in race(methods, targets, max(repeats, 7), threads)]
    return [
        "## MovieLens-100K",
        "",
        f"943 x 1,682, 90,000 ratings to fit and 10,000 to test; float32. The best error that any method reached is "
        f"{best:.4f}, the best of a rival {theirs:.4f}; the targets are 0.5 % above each.",
        "",
        *HEAD,
        *rows,
        "",
    ]


def main() -> None:
    """Run the pairs and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    page = [
        "# Matrix factorisation against libmf and cmfrec",
        "",
        f"{datetime.date.today()}, {processor()}, {os.cpu_count()} cores, load average {os.getloadavg()[0]:.0f}; Python "
        f"{platform.python_version()}, steppe {steppe.__version__}, libmf {version('libmf')}, cmfrec {version('cmfrec')}, NumPy "
        f"{np.__version__}. k = 32 for all. Each time is a whole call of fit, set-up included, from data in the "
        f"library's own format; medians of {arguments.repeats} interleaved runs of the fewest iterations that reach the "
        f"error, for the fastest configuration of each library. With a load above the number of cores only processor "
        f"time means much, and nothing says how two threads scale. Goals: {GOAL} times faster than the better rival on one "
        f"thread, and {THREADS_GOAL} times faster iterations on two threads than on one.",
        "",
        *planted_page(arguments.repeats),
    ]
    if arguments.data:
        page += movielens_page(arguments.data, arguments.repeats)
    page.append("Written by `python bench/peers/matrix_factorization.py --data DIR`.")
    if arguments.out:
        arguments.out.write_text("\n".join(page) + "\n")


if __name__ == "__main__":
    main()
