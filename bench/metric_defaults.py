"""Settings of ITML compared on data sets that bench/peers/metric_accuracy.py does not report.

python bench/metric_defaults.py --data DIR --log FILE [--seeds 0 1] [--sets NAME ...]

DIR holds libsvm/, imclef07a/, fashion-mnist/, lda-newsgroups/, lightgbm-lambdarank/ and uci-arff/reg_housing.arff.gz.
Figures of every fit are kept in FILE; what is there is not computed again. Writes a table to the standard output.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.sparse
from scipy.io import arff
from sklearn import datasets
from sklearn.decomposition import TruncatedSVD
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from steppe.metric import ITML
from steppe.metric._pairs import sample_pairs

Data = tuple[np.ndarray, np.ndarray]


class Setting(NamedTuple):
    """Percentiles of squared distances (or metric-learn's, of distances), gamma, pairs, tol."""

    bounds: str
    gamma: float
    pairs: str
    tol: float = 1e-4

    def __str__(self) -> str:
        return "|".join(map(str, self))


CHOSEN = Setting("5-95", 0.1, "m2000")
RIVAL = Setting("unsq", 1.0, "c", 1e-6)
ONE_AT_A_TIME = [
    RIVAL._replace(bounds="5-95"),
    RIVAL._replace(gamma=0.1),
    RIVAL._replace(pairs="m2000"),
    RIVAL._replace(tol=1e-4),
    CHOSEN._replace(bounds="unsq"),
    CHOSEN._replace(gamma=1.0),
    CHOSEN._replace(pairs="c"),
    CHOSEN._replace(tol=1e-6),
]
PERCENTILES = ["1-5", "5-5", "5-25", "1-50", "5-50", "50-50", "25-75"]
GRID = [Setting(bounds, gamma, "m2000") for bounds in PERCENTILES for gamma in (0.1, 1.0)]
GRID += [CHOSEN._replace(gamma=0.2), Setting("5-95", 0.1, "r10", 1e-3), Setting("5-95", 0.05, "r10", 1e-3)]
GRID += [Setting("1-50", 0.2, "m2000"), Setting("1-50", 0.1, "r10", 1e-3), Setting("unsq", 10.0, "m2000")]


def svmlight(path: Path) -> Data:
    with gzip.open(path) as file:
        X, y = datasets.load_svmlight_file(file)
    return X.toarray(), np.unique(y, return_inverse=True)[1]


def in_bins(X: np.ndarray, target: np.ndarray, n: int) -> Data:
    """Classes of equal size along the target."""
    return X, np.searchsorted(np.quantile(target, np.arange(1, n) / n), target)


def housing(folder: Path) -> Data:
    with gzip.open(folder / "uci-arff/reg_housing.arff.gz", "rt") as file:
        rows, meta = arff.loadarff(io.StringIO(file.read()))
    X = np.stack([rows[name].astype(float) for name in meta.names()], axis=1)
    return in_bins(X[:, :-1], X[:, -1], 4)


def fashion(folder: Path) -> Data:
    """Pictures of 7 x 7."""
    raw = [
        gzip.decompress((folder / f"fashion-mnist/t10k-{part}.gz").read_bytes())
        for part in ("images-idx3-ubyte", "labels-idx1-ubyte")
    ]
    pixels = np.frombuffer(raw[0], np.uint8, offset=16).reshape(-1, 7, 4, 7, 4)
    return pixels.mean(axis=(2, 4)).reshape(-1, 49), np.frombuffer(raw[1], np.uint8, offset=8).astype(int)


def clef(folder: Path) -> Data:
    """The twelve largest classes."""
    X, y = svmlight(folder / "imclef07a/imclef07a.train.svm.gz")
    kept = np.isin(y, np.argsort(-np.bincount(y))[:12])
    return X[kept], np.unique(y[kept], return_inverse=True)[1]


def newsgroups(folder: Path) -> Data:
    """Twenty latent dimensions of six groups."""
    rows, columns, counts = [], [], []
    with gzip.open(folder / "lda-newsgroups/newsgroup.test.ldac.gz", "rt") as file:
        for i, line in enumerate(file):
            for term in line.split()[1:]:
                word, count = term.split(":")
                rows.append(i)
                columns.append(int(word))
                counts.append(float(count))
    with gzip.open(folder / "lda-newsgroups/newsgroup.test.labels.gz", "rt") as file:
        y = np.loadtxt(file).astype(int)
    words = scipy.sparse.csr_matrix((counts, (rows, columns)))[: len(y)]
    words = TfidfTransformer(sublinear_tf=True).fit_transform(words)
    kept = np.isin(y, [1, 5, 9, 12, 15, 18])
    return TruncatedSVD(20, random_state=0).fit_transform(words)[kept], np.unique(y[kept], return_inverse=True)[1]


def grades(folder: Path) -> Data:
    """Relevance from the 40 features of largest variance relative to their range."""
    X, y = svmlight(folder / "lightgbm-lambdarank/rank.train.gz")
    spread = X.var(axis=0) / (np.abs(X).max(axis=0) ** 2 + 1e-9)
    return X[:, np.argsort(-spread)[:40]], np.minimum(y, 2)


def waveform(n: int = 6000) -> Data:
    """Breiman's waves: 21 noisy features, three classes."""
    rng = np.random.default_rng(1)
    waves = np.array([np.maximum(6 - abs(np.arange(1, 22) - peak), 0) for peak in (7, 15, 11)])
    y, u = rng.integers(0, 3, n), rng.random((n, 1))
    return u * waves[[0, 0, 1]][y] + (1 - u) * waves[[1, 2, 2]][y] + rng.normal(size=(n, 21)), y


def ringnorm(n: int = 6000) -> Data:
    rng = np.random.default_rng(2)
    y, X = rng.integers(0, 2, n), rng.normal(size=(n, 20))
    return np.where(y[:, None] == 0, 2 * X, X + 2 / np.sqrt(20)), y


def twonorm(n: int = 6000) -> Data:
    rng = np.random.default_rng(3)
    y = rng.integers(0, 2, n)
    return rng.normal(size=(n, 20)) + (2 * y[:, None] - 1) * 2 / np.sqrt(20), y


def gaussians(seed: int, d: int, n_classes: int, n: int = 6000) -> Data:
    """Classes with covariances of their own."""
    rng = np.random.default_rng(seed)
    y, X = rng.integers(0, n_classes, n), np.empty((n, d))
    means = rng.normal(size=(n_classes, d)) * 0.5
    for label in range(n_classes):
        root = rng.normal(size=(d, d)) * np.exp(rng.normal(size=d) * 0.7)
        X[y == label] = means[label] + rng.normal(size=((y == label).sum(), d)) @ root / np.sqrt(d)
    return X, y


def mixed(n: int = 6000) -> Data:
    """Four informative features and eight of noise, rotated."""
    X, y = datasets.make_classification(
        n, 12, n_informative=4, n_redundant=0, n_classes=4, n_clusters_per_class=1, random_state=5
    )
    return X @ np.random.default_rng(5).normal(size=(12, 12)), y


def hastie() -> Data:
    X, y = datasets.make_hastie_10_2(6000, random_state=0)
    return X, (y > 0).astype(int)


def redundant() -> Data:
    return datasets.make_classification(
        6000, 20, n_informative=6, n_redundant=6, n_classes=3, n_clusters_per_class=2, random_state=7
    )


def sources(folder: Path) -> dict[str, tuple[Callable[[], Data], int]]:
    """Loaders, and how many rows to learn from."""
    return {
        "iris": (lambda: datasets.load_iris(return_X_y=True), 105),
        "diabetes": (lambda: svmlight(folder / "libsvm/diabetes_scaled.svm.gz"), 540),
        "ijcnn1": (lambda: svmlight(folder / "libsvm/ijcnn1.svm.gz"), 1000),
        "a9a": (lambda: svmlight(folder / "libsvm/a9a.svm.gz"), 600),
        "IMCLEF07A": (lambda: clef(folder), 1000),
        "Fashion": (lambda: fashion(folder), 1000),
        "newsgroups": (lambda: newsgroups(folder), 800),
        "rank": (lambda: grades(folder), 900),
        "housing": (lambda: housing(folder), 350),
        "diab-prog": (lambda: in_bins(*datasets.load_diabetes(return_X_y=True), 3), 300),
        "waveform": (waveform, 300),
        "ringnorm": (ringnorm, 300),
        "twonorm": (twonorm, 300),
        "gauss1": (lambda: gaussians(1, 10, 3), 300),
        "gauss2": (lambda: gaussians(2, 30, 6), 800),
        "hastie": (hastie, 600),
        "mixed": (mixed, 500),
        "clf": (redundant, 500),
    }


def split(data: Data, n_rows: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows to learn from with their labels, rows to score with theirs."""
    X, y = data
    shuffle = StratifiedShuffleSplit(1, train_size=n_rows, test_size=min(2000, len(X) - n_rows), random_state=seed)
    a, b = next(shuffle.split(X, y))
    scaler = StandardScaler().fit(X[a])
    return scaler.transform(X[a]), y[a], scaler.transform(X[b]), y[b]


def n_pairs(rule: str, n_classes: int, n_rows: int) -> int:
    """`c`: 40 times the square of the classes; `m2000`: at least so many; `r10`: so many for each row."""
    by_classes = 40 * n_classes**2
    if rule == "c":
        return by_classes
    number = int(rule[1:])
    return min(max(number, by_classes), 10 * n_rows) if rule[0] == "m" else number * n_rows


def learn(setting: Setting, A: np.ndarray, a: np.ndarray, seed: int) -> ITML:
    rng = np.random.default_rng(seed)
    first = rng.integers(0, len(A), 20_000)
    squared = ((A[first] - A[(first + rng.integers(1, len(A), 20_000)) % len(A)]) ** 2).sum(axis=1)
    squared = squared[squared > 0]
    if setting.bounds == "unsq":
        bounds = np.percentile(np.sqrt(squared), (5, 95))
    else:
        bounds = np.percentile(squared, [float(p) for p in setting.bounds.split("-")])
    number = n_pairs(setting.pairs, len(np.unique(a)), len(A))
    pairs, sign = sample_pairs(np.unique(a, return_inverse=True)[1], number, rng)
    return ITML(setting.gamma, bounds=bounds, preprocessor=A, tol=setting.tol).fit(pairs, sign)


def read(log: Path) -> dict[str, dict[tuple[str, int], float]]:
    """Accuracy by setting, and by set and split."""
    found: dict[str, dict[tuple[str, int], float]] = defaultdict(dict)
    for line in log.read_text().splitlines() if log.exists() else ():
        entry = json.loads(line)
        found[entry["arm"]][entry["set"], entry["seed"]] = entry["acc"]
    return found


def run(folder: Path, log: Path, names: Iterable[str], seeds: Iterable[int]) -> None:
    known, settings = read(log), [CHOSEN, RIVAL, *ONE_AT_A_TIME, *GRID]
    for name in names:
        load, n_rows = sources(folder)[name]
        data = load()
        for seed in seeds:
            A, a, B, b = split(data, n_rows, seed)
            for setting in settings:
                if (name, seed) in known[str(setting)]:
                    continue
                model = learn(setting, A, a, seed)
                score = KNeighborsClassifier(4).fit(model.transform(A), a).score(model.transform(B), b)
                with log.open("a") as file:
                    file.write(json.dumps({"set": name, "seed": seed, "arm": str(setting), "acc": score}) + "\n")


def table(log: Path) -> str:
    """Mean over sets of the paired differences from the settings chosen, in points."""
    found = read(log)
    chosen, rows = found[str(CHOSEN)], []
    for setting in dict.fromkeys([CHOSEN, RIVAL, *ONE_AT_A_TIME, *GRID]):
        by_set = defaultdict(list)
        for key, score in found[str(setting)].items():
            if key in chosen:
                by_set[key[0]].append(100 * (score - chosen[key]))
        means = np.array([np.mean(values) for values in by_set.values()])
        cells = [
            setting.bounds,
            str(setting.gamma),
            setting.pairs,
            f"{setting.tol:g}",
            str(len(means)),
            str(sum(map(len, by_set.values()))),
        ]
        error = means.std(ddof=1) / np.sqrt(len(means))
        cells += [f"{means.mean():+.2f} ± {error:.2f}", f"{means.min():+.1f}", f"{means.max():+.1f}"]
        rows.append((means.mean(), "| " + " | ".join(cells) + " |"))
    head = "| bounds | gamma | pairs | tol | sets | fits | difference | worst set | best set |"
    return "\n".join([head, "|" + "---|" * 9, *(line for _, line in sorted(rows, reverse=True))])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--sets", nargs="*")
    arguments = parser.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        run(arguments.data, arguments.log, arguments.sets or sources(arguments.data), arguments.seeds)
    print(table(arguments.log))
