"""BayesianGaussianMixture against scikit-learn's, in one interleaved run.

python bench/peers/mixture.py [--repeats 3] [--parts diag full bounds large ranks] [--out bench/results/mixture.md]

OPENBLAS_CORETYPE must be unset, so that NumPy runs at its best.

Roofline of a pass over n = 100,000 rows of d = 16 features and K = 64 components. diag: 2 n K d multiply-adds for the
scores and as many for the moments of rows that all components share, and n K exponentials of about 25 operations on
vectors; full: n K d (d + 3) / 2 multiply-adds for the scores and n K d^2 at most for the moments. A core of 2 x 512
bits at 4 GHz makes 64 G (float64) or 128 G (float32) multiply-adds a second: 3 + 3 + 2.5 ms and half of that (diag),
15 + 26 + 2.5 ms and half of that (full). X alone is read from memory: 12.8 MB a pass.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import sklearn
from scipy.special import gammaln
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import BayesianGaussianMixture as TheirMixture
from threadpoolctl import threadpool_limits

import steppe
from steppe.mixture import BayesianGaussianMixture
from steppe.parallel import Cluster

ROWS, FEATURES, COMPONENTS = 100_000, 16, 64
PASSES = {"diag": 10, "full": 4}


def cloud(dtype: type, n: int = ROWS, k: int = COMPONENTS) -> np.ndarray:
    """Rows about means that lie as close as their components are wide."""
    rng = np.random.default_rng(0)
    means = 1.5 * rng.normal(size=(k, FEATURES))
    spread = rng.uniform(0.5, 1.5, size=(k, FEATURES))
    labels = rng.integers(k, size=n)
    return (means[labels] + spread[labels] * rng.normal(size=(n, FEATURES))).astype(dtype)


def priors(X: np.ndarray, covariance_type: str) -> dict:
    """The same for both, without reg_covar, which is another thing in each."""
    X = X.astype(np.float64)
    scale = np.cov(X.T) if covariance_type == "full" else X.var(axis=0)
    return {
        "covariance_type": covariance_type,
        "weight_concentration_prior": 1.0 / COMPONENTS,
        "mean_precision_prior": 1.0,
        "mean_prior": X.mean(axis=0),
        "degrees_of_freedom_prior": float(FEATURES),
        "covariance_prior": scale,
        "reg_covar": 0.0,
    }


def ours(X: np.ndarray, covariance_type: str, schedule: str, threads: int) -> tuple[float, float]:
    """Seconds of an iteration, and the mean lower bound of a row."""
    model = BayesianGaussianMixture(
        COMPONENTS,
        schedule=schedule,
        n_jobs=threads,
        max_iter=PASSES[covariance_type] * 2,
        tol=0,
        random_state=0,
        **priors(X, covariance_type),
    ).fit(X)
    return float(np.diff(model.history_["seconds"]).min()), model.lower_bound_ / len(X)


def theirs(X: np.ndarray, covariance_type: str) -> tuple[float, float]:
    """Seconds of an iteration: the E and the M step, with what scikit-learn does in between, after its own start."""
    passes = PASSES[covariance_type]
    model = TheirMixture(
        n_components=COMPONENTS,
        weight_concentration_prior_type="dirichlet_distribution",
        max_iter=1,
        tol=0,
        random_state=0,
        **priors(X, covariance_type),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X)
    seconds = []
    for _ in range(passes):
        start = time.perf_counter()
        log_prob_norm, log_resp = model._e_step(X)
        model._m_step(X, log_resp)
        bound = model._compute_lower_bound(log_resp, log_prob_norm)
        seconds.append(time.perf_counter() - start)
    return min(seconds), (bound + constant(model, covariance_type)) / len(X)


def constant(model: TheirMixture, covariance_type: str) -> float:
    """What their bound leaves out."""
    k, d, n = COMPONENTS, FEATURES, ROWS
    nu, beta, alpha = float(FEATURES), 1.0, 1.0 / COMPONENTS
    scale = model.covariance_prior_
    log_det = np.linalg.slogdet(scale)[1] if covariance_type == "full" else np.log(scale).sum()
    wishart = nu / 2 * log_det - nu * d / 2 * np.log(2) - gammaln((nu - np.arange(d)) / 2).sum() + d / 2 * np.log(beta)
    return float(k * wishart + gammaln(k * alpha) - k * gammaln(alpha) - n * d / 2 * np.log(2 * np.pi))


def bounds_after(X: np.ndarray, covariance_type: str, passes: tuple[int, ...], seed: int) -> dict[str, list[float]]:
    """Mean lower bounds of a row after so many passes from one k-means start, all by one evaluator, ours.

    Their parameters enter our model as the posterior of a warm start: one more pass of ours, from either.
    """
    common = priors(X, covariance_type)
    start = BayesianGaussianMixture(COMPONENTS, schedule="batch", max_iter=1, tol=0, random_state=seed, **common).fit(X)
    their = TheirMixture(
        n_components=COMPONENTS,
        weight_concentration_prior_type="dirichlet_distribution",
        max_iter=1,
        tol=0,
        random_state=0,
        **common,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        their.fit(X[:2000])
    names = ("weight_concentration_", "mean_precision_", "means_", "degrees_of_freedom_", "covariances_")
    names += ("precisions_", "precisions_cholesky_", "weights_")

    def one_more_pass(model: BayesianGaussianMixture) -> float:
        return model.set_params(warm_start=True, schedule="batch", max_iter=1).fit(X).lower_bound_ / len(X)

    for name in names:
        setattr(their, name, getattr(start, name).astype(np.float64))
    found: dict[str, list[float]] = {"scikit-learn": [], "steppe batch": [], "steppe svi": []}
    done = 0
    for n in passes:
        for _ in range(n - done):
            their._m_step(X, their._e_step(X)[1])
        done = n
        other = copy.deepcopy(start)
        for name in names:
            setattr(other, name, np.ascontiguousarray(getattr(their, name)))
        found["scikit-learn"].append(one_more_pass(other))
        for schedule in ("batch", "svi"):
            own = copy.deepcopy(start).set_params(warm_start=True, schedule=schedule, max_iter=n).fit(X)
            found[f"steppe {schedule}"].append(one_more_pass(own))
    return found


def bounds() -> list[str]:
    """Equal passes from equal starts."""
    lines = []
    for covariance_type, passes, seeds in (("diag", (2, 10, 40), range(4)), ("full", (2, 4), range(1))):
        X = cloud(np.float64)
        lines += [
            f"| {covariance_type}, mean lower bound of a row after | {' | '.join(f'{n} passes' for n in passes)} |",
            f"|---|{'---|' * len(passes)}",
        ]
        for seed in seeds:
            for name, values in bounds_after(X, covariance_type, passes, seed).items():
                lines.append(f"| start {seed}, {name} | {' | '.join(f'{value:.6f}' for value in values)} |")
        lines.append("")
    return lines[:-1]


def compare(covariance_type: str, repeats: int) -> list[str]:
    times: dict[str, list[float]] = {}
    for _ in range(repeats):
        for dtype in (np.float64, np.float32):
            X = cloud(dtype)
            for threads in (1, 2):
                label = f"{dtype.__name__}, {threads} thread{'s' * (threads > 1)}"
                with threadpool_limits(threads):
                    times.setdefault(f"scikit-learn | {label}", []).append(theirs(X, covariance_type)[0])
                for schedule in ("serial",) if threads == 1 else ("batch", "bsp", "nomad"):
                    seconds, _ = ours(X, covariance_type, schedule, threads)
                    times.setdefault(f"steppe {schedule} | {label}", []).append(seconds)
    lines = [
        f"| {covariance_type}, n = {ROWS:,}, d = {FEATURES}, K = {COMPONENTS} | | ms an iteration | times scikit-learn |",
        "|---|---|---|---|",
    ]
    for name, values in times.items():
        rival = min(times[f"scikit-learn | {name.split('| ')[1]}"])
        ratio = "" if name.startswith("scikit") else f"**{rival / min(values):.1f}**"
        lines.append(f"| {name} | {1e3 * min(values):.1f} | {ratio} |")
    return lines


def large() -> list[str]:
    """K = 2,000: time and memory."""
    X = cloud(np.float32, k=500)
    lines = [
        f"| diag, n = {ROWS:,}, d = {FEATURES}, K = 2,000, float32, 2 threads | start | s an iteration | memory beside X |",
        "|---|---|---|---|",
    ]
    for schedule in ("batch", "nomad"):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        model = BayesianGaussianMixture(
            2000, covariance_type="diag", schedule=schedule, n_jobs=2, max_iter=6, tol=0, random_state=0
        ).fit(X)
        spent = time.perf_counter() - start - model.history_["seconds"][-1]
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        each = np.diff(model.history_["seconds"]).min()
        lines.append(f"| steppe {schedule} | {spent:.1f} s | {each:.2f} s | {grown:.0f} MB more than before |")
    return [*lines, "", f"A dense matrix of responsibilities in float64 is {ROWS * 2000 * 8 / 1e6:.0f} MB."]


def measure_ranks(cluster: Cluster, threads: int) -> dict[str, float]:
    times = {}
    for covariance_type in PASSES:
        mine = np.ascontiguousarray(cloud(np.float64)[cluster.rank :: cluster.size])
        for schedule in ("batch", "bsp", "nomad"):
            model = BayesianGaussianMixture(
                COMPONENTS,
                covariance_type=covariance_type,
                schedule=schedule,
                n_jobs=threads,
                max_iter=10,
                tol=0,
                random_state=0,
                cluster=cluster,
            ).fit(mine)
            times[f"{covariance_type}, {schedule}"] = float(np.diff(model.history_["seconds"]).min())
    return times


def ranks(repeats: int) -> list[str]:
    runs = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "times.json"
            mpiexec = Path(sys.executable).parent / "mpiexec"
            subprocess.run([mpiexec, "-n", "2", sys.executable, __file__, "--json", out], check=True)
            runs.append((measure_ranks(Cluster(), 2), json.loads(out.read_text())))
    lines = ["| float64 | ms, 2 threads | ms, 2 ranks | 2 ranks are times as fast |", "|---|---|---|---|"]
    for key in runs[0][0]:
        threads, two = min(run[0][key] for run in runs), min(run[1][key] for run in runs)
        lines.append(f"| {key} | {1e3 * threads:.1f} | {1e3 * two:.1f} | **{threads / two:.2f}** |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--parts", nargs="+", default=["diag", "full", "bounds", "large", "ranks"])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if "OPENBLAS_CORETYPE" in os.environ:
        raise SystemExit("OPENBLAS_CORETYPE: unset it, or NumPy runs at half its speed")
    if arguments.json is not None:
        cluster = Cluster.world()
        times = measure_ranks(cluster, 1)
        if cluster.rank == 0:
            arguments.json.write_text(json.dumps(times))
        return
    text = [
        f"{datetime.date.today()}, {platform.processor() or platform.machine()}, {os.cpu_count()} cores; "
        f"Python {platform.python_version()}, steppe {steppe.__version__}, NumPy {np.__version__}, "
        f"scikit-learn {sklearn.__version__}. Best of {arguments.repeats} interleaved runs.",
        "",
    ]
    for part in arguments.parts:
        if part == "large":
            text += large()
        elif part == "bounds":
            text += bounds()
        elif part == "ranks":
            text += ranks(arguments.repeats)
        else:
            text += compare(part, arguments.repeats)
        text.append("")
    print("\n".join(text))
    if arguments.out:
        arguments.out.write_text("\n".join(["# Gaussian mixtures", "", *text]))


if __name__ == "__main__":
    main()
