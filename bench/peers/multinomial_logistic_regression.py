"""MultinomialLogisticRegression against scikit-learn's solvers and a torch L-BFGS, on text-like data, in one interleaved run.

python bench/peers/multinomial_logistic_regression.py [--repeats 3] [--out bench/results/multinomial_logistic_regression.md]

Seconds are of whole calls of fit, from the call to the return of a model whose objective, computed apart from it in
float64, is within 1 % or 0.1 % of the optimum; for rivals that cannot stop there, to the first evaluation that is.
"""

from __future__ import annotations

import argparse
import datetime
import os

os.environ.pop("OPENBLAS_CORETYPE", None)  # a wrong one halves the speed of every rival

import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median

import numpy as np
import scipy
import sklearn
import sklearn.linear_model._linear_loss as linear_loss
import torch
from scipy.special import log_softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

import steppe
from steppe.datasets import make_text_classification
from steppe.linear_model import MultinomialLogisticRegression

ALPHA = 1e-5
GAPS = (0.01, 0.001)
N_TRAIN = 20000
GOALS = (6.0, 4.0)

warnings.simplefilter("ignore", ConvergenceWarning)


def on_threads(threads: int) -> None:
    """On one thread CPU time is what the wall would show on an idle machine; on more only the wall tells."""
    global seconds_now
    seconds_now = time.process_time if threads == 1 else time.perf_counter
    torch.set_num_threads(threads)


seconds_now = time.perf_counter


def load(n_classes: int = 200):
    """Training and test rows: 50,000 words, 60 of them in a row, a tenth of the labels wrong."""
    X, y, _ = make_text_classification(N_TRAIN + 4000, n_classes=n_classes, random_state=0)
    X = scipy.sparse.csr_matrix(X)
    return X[:N_TRAIN], y[:N_TRAIN], X[N_TRAIN:], y[N_TRAIN:]


def objective(coef, X, y) -> float:
    """alpha/2 ||W||^2 + mean cross entropy, in float64."""
    loss, coef = 0.0, coef.astype(np.float64)
    for first in range(0, len(y), 2000):
        rows = slice(first, first + 2000)
        log_p = log_softmax(X[rows].astype(np.float64) @ coef.T, axis=1)
        loss -= log_p[np.arange(log_p.shape[0]), y[rows]].sum()
    return loss / len(y) + ALPHA / 2 * float((coef**2).sum())


def optimum(X, y) -> float:
    """The best value that scikit-learn's L-BFGS and steppe reach at tolerances near rounding; found once and kept."""
    kept = Path(tempfile.gettempdir()) / f"steppe_bench_mlr_optimum_{sklearn.__version__}.txt"
    if not kept.exists():
        best = []
        theirs = LogisticRegression(C=1 / (len(y) * ALPHA), fit_intercept=False, tol=1e-10, max_iter=2000)
        best.append(objective(theirs.fit(X.astype(np.float64), y).coef_, X, y))
        ours = MultinomialLogisticRegression(ALPHA, fit_intercept=False, max_iter=30, tol=0, random_state=0)
        best.append(objective(ours.fit(X.astype(np.float64), y).coef_, X, y))
        print("optima:", best)
        kept.write_text(repr(float(min(best))))
    return float(kept.read_text())


class Reached(Exception):
    """The race is over for this contestant."""


class Clock:
    """Notes at which time an objective was first known to be within each gap, and ends the run after the last."""

    def __init__(self, best: float) -> None:
        self.limits = [best * (1 + gap) for gap in GAPS]
        self.start = seconds_now()
        self.times: list[float] = [np.nan] * len(GAPS)

    def note(self, value: float) -> None:
        now = seconds_now() - self.start
        self.times = [
            now if np.isnan(known) and value <= limit else known
            for known, limit in zip(self.times, self.limits, strict=True)
        ]
        if not np.isnan(self.times).any():
            raise Reached


@contextmanager
def watched(clock: Clock) -> Iterator[None]:
    """Tell the clock of every objective that scikit-learn evaluates."""
    names = ("loss", "loss_gradient")
    kept = {name: getattr(linear_loss.LinearModelLoss, name) for name in names}

    def watch(method):
        def call(*args, **kwargs):
            result = method(*args, **kwargs)
            clock.note(result[0] if isinstance(result, tuple) else result)
            return result

        return call

    for name, method in kept.items():
        setattr(linear_loss.LinearModelLoss, name, watch(method))
    try:
        yield
    finally:
        for name, method in kept.items():
            setattr(linear_loss.LinearModelLoss, name, method)


def traced(solver: str, dtype) -> Callable:
    def run(X, y, best):
        X = X.astype(dtype)
        clock = Clock(best)
        model = LogisticRegression(C=1 / (len(y) * ALPHA), solver=solver, fit_intercept=False, tol=1e-6, max_iter=99)
        with watched(clock), suppress(Reached):
            model.fit(X, y)
        return clock.times

    return run


def budgeted(make: Callable, dtype, first: int = 2) -> Callable:
    """A solver that tells nothing on the way: the shortest whole fit that ends within each gap."""
    enough = [0] * len(GAPS)

    def run(X, y, best):
        X = X.astype(dtype)
        times = []
        for place, gap in enumerate(GAPS):
            budget = enough[place] or max([first, *enough[:place]])
            while True:
                start = seconds_now()
                model = make(budget).fit(X, y)
                seconds = seconds_now() - start
                if enough[place] or objective(model.coef_, X, y) <= best * (1 + gap):
                    break
                budget += 1
            enough[place] = budget
            times.append(seconds)
        return times

    return run


def saga(max_iter: int) -> LogisticRegression:
    return LogisticRegression(
        C=1 / (N_TRAIN * ALPHA), solver="saga", fit_intercept=False, tol=1e-12, max_iter=max_iter, random_state=0
    )


def ours(**params) -> Callable:
    return lambda max_iter: MultinomialLogisticRegression(
        ALPHA, fit_intercept=False, max_iter=max_iter, tol=0, random_state=0, **params
    )


def torch_lbfgs(X, y, best):
    """float32, sparse CSR in both directions, torch.optim.LBFGS with a strong Wolfe search."""

    def tensor(A):
        A = A.tocsr().astype(np.float32)
        parts = (torch.from_numpy(A.indptr.astype(np.int64)), torch.from_numpy(A.indices.astype(np.int64)))
        return torch.sparse_csr_tensor(*parts, torch.from_numpy(A.data), A.shape)

    rows, columns, labels = tensor(X), tensor(X.T), torch.from_numpy(y)
    n, at = len(y), torch.arange(len(y))
    W = torch.zeros(X.shape[1], int(y.max()) + 1, requires_grad=True)
    clock = Clock(best)
    search = torch.optim.LBFGS([W], max_iter=99, tolerance_change=0, tolerance_grad=1e-7, line_search_fn="strong_wolfe")

    def closure():
        with torch.no_grad():
            log_p = torch.log_softmax(rows @ W, dim=1)
            loss = -log_p[at, labels].mean() + ALPHA / 2 * (W * W).sum()
            residual = log_p.exp_()
            residual[at, labels] -= 1
            W.grad = columns @ (residual / n) + ALPHA * W
        clock.note(float(loss))
        return loss

    with suppress(Reached):
        search.step(closure)
    return clock.times


RIVALS = {
    "scikit-learn lbfgs, float64": traced("lbfgs", np.float64),
    "scikit-learn newton-cg, float64": traced("newton-cg", np.float64),
    "scikit-learn newton-cg, float32": traced("newton-cg", np.float32),
    "scikit-learn saga, float64": budgeted(saga, np.float64, first=5),
    "scikit-learn saga, float32": budgeted(saga, np.float32, first=5),
    "torch L-BFGS, float32": torch_lbfgs,
}

# The others do not use a second thread on sparse rows (saga, newton-cg) or lose by it (lbfgs). saga runs again beside two
# threads, to be timed by the wall as well.
THREADED = ["scikit-learn saga, float32", "torch L-BFGS, float32"]


def contestants(threads: int) -> dict[str, Callable]:
    own = {
        'steppe ds_mlr, float32': budgeted(ours(n_jobs=threads), np.float32),
        'steppe ds_mlr, float64': budgeted(ours(n_jobs=threads), np.float64),
        'steppe softmax, float32': budgeted(ours(n_jobs=threads, solver="softmax"), np.float32),
    }  # fmt: skip
    rivals = RIVALS
    if threads > 1:
        rivals = {name: RIVALS[name] for name in THREADED}
        own["steppe ds_mlr nomad, float32"] = budgeted(ours(n_jobs=threads, schedule="nomad"), np.float32)
    return {**own, **rivals}


def race(X, y, best: float, threads: int, repeats: int) -> dict[str, list[float]]:
    """Median seconds to each gap, by contestant; the rounds are interleaved."""
    on_threads(threads)
    times: dict[str, list[list[float]]] = {}
    field = contestants(threads)
    with threadpool_limits(threads):
        for attempt in range(repeats):
            for name, run in field.items():
                result = run(X, y, best)
                print(threads, attempt, name, [round(t, 3) for t in result], flush=True)
                times.setdefault(name, []).append(result)
    return {name: [median(column) for column in zip(*rows, strict=True)] for name, rows in times.items()}


def rank_run() -> None:
    """Under mpiexec: seconds of an iteration with these ranks, of the same rows."""
    from steppe.parallel import Cluster

    cluster = Cluster.world()
    X, y, _, _ = load()
    share = slice(len(y) * cluster.rank // cluster.size, len(y) * (cluster.rank + 1) // cluster.size)
    model = MultinomialLogisticRegression(
        ALPHA, fit_intercept=False, max_iter=8, tol=0, random_state=0, schedule="bsp", cluster=cluster
    ).fit(X[share], y[share])
    if cluster.rank == 0:
        print("seconds", float(np.median(np.diff(model.history_["seconds"])[:-1])))


def thread_run() -> None:
    """Seconds of an iteration with two threads."""
    X, y, _, _ = load()
    model = MultinomialLogisticRegression(
        ALPHA, fit_intercept=False, max_iter=8, tol=0, random_state=0, schedule="bsp", n_jobs=2
    ).fit(X, y)
    print("seconds", float(np.median(np.diff(model.history_["seconds"])[:-1])))


def most_resident() -> int:
    """The largest resident size of this program in bytes; getrusage would count that of the one that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def memory_run() -> None:
    """5,000 classes: the largest resident size of a process that makes the data, fits, and predicts."""
    X, y, X_test, y_test = load(5000)
    start = seconds_now()
    model = MultinomialLogisticRegression(ALPHA, fit_intercept=False, max_iter=4, tol=0, random_state=0).fit(X, y)
    seconds = seconds_now() - start
    fitted = most_resident()
    accuracy = float((model.predict_topk(X_test, 5)[0][:, 0] == y_test).mean())
    print("memory", fitted / 1e9, most_resident() / 1e9, seconds, accuracy)


def alone(mode: str, launcher: list[str] | None = None) -> list[float]:
    """The numbers that this file prints when it is run in that mode."""
    command = [*(launcher or []), sys.executable, __file__, "--mode", mode]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return [float(word) for word in lines[-1].split()[1:]]


def table(results: dict[int, dict[str, list[float]]]) -> list[str]:
    heads = [f"{gap:.1%} on {t} thread{'s' * (t > 1)}" for t in results for gap in GAPS]
    lines = ["| | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    names = list(dict.fromkeys(name for times in results.values() for name in times))
    for name in names:
        cells = [f"{s:.2f}" if name in times else "" for times in results.values() for s in times.get(name, GAPS)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def verdict(results: dict[int, dict[str, list[float]]]) -> list[str]:
    """The best rival on any number of threads, over each of ours."""
    lines = []
    for place, gap in enumerate(GAPS):
        seconds, rival = min(
            (times[name][place], name) for times in results.values() for name in RIVALS if name in times
        )
        for threads, times in results.items():
            own = min((value[place], name) for name, value in times.items() if name.startswith("steppe ds_mlr"))
            ratio = seconds / own[0]
            goal = f"goal {GOALS[place]:.0f}: {'reached' if ratio >= GOALS[place] else 'MISSED'}"
            lines.append(
                f"- to {gap:.1%}, {threads} thread{'s' * (threads > 1)}: **{ratio:.1f} times** faster than the best rival "
                f"on any number of threads ({rival}, {seconds:.2f} s); {goal}"
            )
    return lines


def report(
    results, best: float, accuracy: float, repeats: int, ranks: list[tuple[float, float]], memory: list[float]
) -> str:
    versions = (
        f"Python {platform.python_version()}, steppe {steppe.__version__}, scikit-learn {sklearn.__version__}, "
        f"torch {torch.__version__}, NumPy {np.__version__}, SciPy {scipy.__version__}"
    )
    by_threads, by_ranks = (median(column) for column in zip(*ranks, strict=True))
    ratio = by_threads / by_ranks
    return "\n".join([
        "# Multinomial logistic regression",
        "",
        f"{datetime.date.today()}, {processor()}, {os.cpu_count()} cores; {versions}.",
        "",
        f"`make_text_classification`: 20,000 rows, 50,000 features, 60 nonzeros a row, 200 classes; alpha = {ALPHA:g}, no "
        f"intercept. Optimum {best:.8f}. Seconds of fit until the objective is within 1 % and 0.1 % of it; medians of "
        f"{repeats} interleaved runs, in CPU time on one thread and wall time on two. Test accuracy {accuracy:.3f}.",
        "",
        *table(results),
        "",
        *verdict(results),
        f"- two MPI ranks against two threads, seconds of an iteration (bsp): {by_ranks:.3f} and {by_threads:.3f}, "
        f"{ratio:.2f} of the speed; goal 0.8: {'reached' if ratio >= 0.8 else 'MISSED'}",
        f"- 5,000 classes, float32: {memory[0]:.2f} GB resident at most until fit has returned, {memory[1]:.2f} GB with "
        f"predict_topk; 4 iterations in {memory[2]:.1f} s; goal 2 GB: {'reached' if memory[1] < 2 else 'MISSED'}",
        "",
        "Written by `python bench/peers/multinomial_logistic_regression.py`.",
        "",
    ])  # fmt: skip


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="rounds; rivals take minutes")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--mode", choices=["race", "rank", "thread", "memory"], default="race")
    options = parser.parse_args()
    if options.mode != "race":
        {"rank": rank_run, "thread": thread_run, "memory": memory_run}[options.mode]()
        return
    X, y, X_test, y_test = load()
    best = optimum(X, y)
    results = {threads: race(X, y, best, threads, options.repeats) for threads in (1, 2)}
    launcher = [str(Path(sys.executable).parent / "mpiexec"), "-n", "2"]
    ranks = [(alone("thread")[0], alone("rank", launcher)[0]) for _ in range(options.repeats)]
    accuracy = ours()(5).fit(X, y).score(X_test, y_test)
    text = report(results, best, accuracy, options.repeats, ranks, alone("memory"))
    print(text)
    if options.out:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
