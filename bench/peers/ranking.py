"""LocalGMMLRanker against LightGBM's LambdaMART and least squares on LightGBM's own ranking example, in one run.

unset OPENBLAS_CORETYPE; python bench/peers/ranking.py --data DIR [--repeats 9] [--out bench/results/ranking.md]

DIR holds rank.train[.gz], rank.test[.gz] and their .query files (LightGBM's examples/lambdarank). Needs lightgbm.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import lightgbm
import numpy as np
import sklearn
from lightgbm import LGBMRanker
from sklearn.linear_model import Ridge
from threadpoolctl import threadpool_limits

import steppe
from steppe.datasets import load_letor
from steppe.metrics import ndcg_score
from steppe.ranking import LocalGMMLRanker

# examples/lambdarank/train.conf of LightGBM.
EXAMPLE = {
    "n_estimators": 100, "learning_rate": 0.1, "num_leaves": 31, "max_bin": 255, "min_child_samples": 50,
    "min_sum_hessian_in_leaf": 5.0, "subsample": 0.9, "subsample_freq": 1, "verbose": -1,
}  # fmt: skip
SEEDS = range(10)
FOLDS = 5


def load(folder: Path, name: str, n_features: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    path = next(path for path in (folder / f"{name}.gz", folder / name) if path.exists())
    X, y, qid = load_letor(
        path, query_path=folder / f"{name}.query", n_features=n_features, dtype=np.float32, zero_based=True
    )
    return X, y, qid


def lightgbm_fit(X: np.ndarray, y: np.ndarray, qid: np.ndarray, seed: int = 0, n_jobs: int = 1) -> Any:
    sizes = np.unique(qid, return_counts=True)[1]
    return LGBMRanker(**EXAMPLE, n_jobs=n_jobs, random_state=seed).fit(X, y, group=sizes)


def steppe_fit(X: np.ndarray, y: np.ndarray, qid: np.ndarray, seed: int = 0, n_jobs: int = 1) -> Any:
    return LocalGMMLRanker(n_jobs=n_jobs, random_state=seed).fit(X, y, qid)


def ridge_fit(X: np.ndarray, y: np.ndarray, qid: np.ndarray, seed: int = 0, n_jobs: int = 1) -> Any:
    with threadpool_limits(n_jobs, user_api="blas"):
        return Ridge(10.0).fit(X, np.exp2(y) - 1)


FITS: dict[str, Callable[..., Any]] = {
    "LightGBM, LambdaMART": lightgbm_fit,
    "steppe, LocalGMMLRanker": steppe_fit,
    "least squares on gains (Ridge)": ridge_fit,
}


def times(data: tuple[np.ndarray, ...], n_jobs: int, repeats: int) -> dict[str, float]:
    """Median seconds of a fit, all run once before any runs again: what disturbs the machine disturbs all."""
    seconds: dict[str, list[float]] = {name: [] for name in FITS}
    for repeat in range(-1, repeats):
        for name, fit in FITS.items():
            start = time.perf_counter()
            fit(*data, seed=max(repeat, 0), n_jobs=n_jobs)
            if repeat >= 0:
                seconds[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in seconds.items()}


def held_out(fit: Callable[..., Any], train: tuple[np.ndarray, ...], test: tuple[np.ndarray, ...]) -> list[float]:
    """NDCG@10 on the test file, one for each seed."""
    return [ndcg_score(test[1], fit(*train, seed=seed).predict(test[0]), test[2], 10) for seed in SEEDS]


def folded(fit: Callable[..., Any], data: tuple[np.ndarray, ...]) -> list[float]:
    """NDCG@10 on held-out fifths of all queries, one for each split."""
    X, y, qid = data
    scores = []
    for seed in SEEDS:
        fold = np.random.default_rng(seed).permutation(qid.max() + 1)[qid] % FOLDS
        for number in range(FOLDS):
            train, test = fold != number, fold == number
            model = fit(X[train], y[train], qid[train], seed=seed)
            scores.append(ndcg_score(y[test], model.predict(X[test]), qid[test], 10))
    return scores


def quality(
    name: str, train: tuple[np.ndarray, ...], test: tuple[np.ndarray, ...], every: tuple[np.ndarray, ...]
) -> str:
    fit = FITS[name]
    on_test, on_folds = held_out(fit, train, test), folded(fit, every)
    own = ndcg_score(train[1], fit(*train).predict(train[0]), train[2], 10)
    return f"| {name} | {np.mean(on_test):.4f} | {np.std(on_test):.4f} | {np.mean(on_folds):.4f} | {own:.4f} |"


def report(folder: Path, repeats: int) -> str:
    """Run all, and return the page."""
    train = load(folder, "rank.train")
    test = load(folder, "rank.test", train[0].shape[1])
    every = tuple(np.concatenate(pair) for pair in zip(train, (*test[:2], test[2] + train[2].max() + 1), strict=True))
    chance = np.mean(
        [ndcg_score(test[1], np.random.default_rng(s).random(len(test[1])), test[2], 10) for s in range(50)]
    )
    seconds = {n_jobs: times(train, n_jobs, repeats) for n_jobs in (1, 2)}
    rival = {n_jobs: of["LightGBM, LambdaMART"] for n_jobs, of in seconds.items()}
    rows = [
        f"| {name} | {seconds[1][name] * 1e3:.0f} | {rival[1] / seconds[1][name]:.1f} "
        f"| {seconds[2][name] * 1e3:.0f} | {rival[2] / seconds[2][name]:.1f} |"
        for name in FITS
    ]
    n_queries = [len(np.unique(data[2])) for data in (train, test)]
    lines = [
        "# Ranking",
        "",
        f"{datetime.date.today()}, {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; Python "
        f"{platform.python_version()}, steppe {steppe.__version__}, LightGBM {lightgbm.__version__}, scikit-learn "
        f"{sklearn.__version__}, NumPy {np.__version__}. OPENBLAS_CORETYPE is "
        f"{os.environ.get('OPENBLAS_CORETYPE', 'not set')}.",
        "",
        f"LightGBM's example: {len(train[1]):,} documents in {n_queries[0]} queries to train on, {len(test[1])} in "
        f"{n_queries[1]} to test, {train[0].shape[1]} features, grades 0 to 4, float32. LightGBM has the settings of its "
        "`examples/lambdarank/train.conf`: "
        + ", ".join(f"`{name}={value}`" for name, value in EXAMPLE.items() if name != "verbose")
        + ". steppe has its defaults.",
        "",
        "## Time of a fit",
        "",
        f"Median of {repeats} interleaved fits from arrays in memory, after one that is not counted. `times`: LightGBM's time "
        "divided by this one, on the same number of threads. Goal: 5.",
        "",
        "| | 1 thread, ms | times | 2 threads, ms | times |",
        "|---|---|---|---|---|",
        *rows,
        "",
        "## Quality",
        "",
        f"Mean NDCG@10 (gain 2^grade - 1, discount log2(i + 1), queries without a relevant document left out) and its standard "
        f"deviation over {len(SEEDS)} seeds on the test file; over {FOLDS}-fold cross-validation of all queries, {len(SEEDS)} "
        f"splits; and on the training data. Random scores reach {chance:.4f}.",
        "",
        "| | test | deviation | cross-validation | training |",
        "|---|---|---|---|---|",
        *(quality(name, train, test, every) for name in FITS),
        "",
        "Written by `python bench/peers/ranking.py`.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", message="X does not have valid feature names")
    text = report(arguments.data, arguments.repeats)
    print(text)
    if arguments.out:
        arguments.out.write_text(text)
