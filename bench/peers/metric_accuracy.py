"""Accuracy of 4-nearest-neighbour classification by learned distances, beside metric-learn's ITML, in one run.

python bench/peers/metric_accuracy.py [--data DIR] [--splits 20] [--out bench/results/metric_accuracy.md]

DIR holds uci-arff/*.arff.gz. Needs metric-learn 0.7.0, which runs with scikit-learn below 1.8 only. Times nothing.
"""

from __future__ import annotations

import argparse
import datetime
import gzip
import io
import platform
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import sklearn
from scipy.io import arff
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import steppe
from steppe.metric import GMML, ITML

Data = tuple[np.ndarray, np.ndarray]
BUNDLED = {"wine": load_wine, "breast cancer": load_breast_cancer, "digits": load_digits}
ARFF = {"wine": 0, "balance.scale": -1, "ionosphere": -1, "vehicle": -1, "segment": -1, "vowel": -1}  # column of labels
TEST_PART = 0.3
GAMMAS = [0.01, 0.1, 1.0, 10.0]
WEIGHTS = [0.1, 0.3, 0.5, 0.7, 0.9]


def read_arff(path: Path, label: int) -> Data:
    """Numeric features and class numbers."""
    with gzip.open(path, "rt") as file:
        rows, meta = arff.loadarff(io.StringIO(file.read()))
    names = meta.names()
    target = names[label]
    features = [name for name in names if meta[name][0] == "numeric" and name != target]
    return np.stack([rows[name] for name in features], axis=1).astype(float), np.unique(
        rows[target], return_inverse=True
    )[1]


def datasets(folder: Path | None) -> dict[str, Callable[[], Data]]:
    """Loaders by name."""
    found: dict[str, Callable[[], Data]] = {n: lambda load=load: load(return_X_y=True) for n, load in BUNDLED.items()}
    for name, label in ARFF.items() if folder else ():
        path = folder / "uci-arff" / f"{name}.arff.gz"
        found[f"{name} (arff)"] = lambda path=path, label=label: read_arff(path, label)
    return found


def rival_pairs(X: np.ndarray, y: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The pairs that metric-learn's ITML_Supervised samples by default."""
    from metric_learn.constraints import Constraints, wrap_pairs

    pairs = Constraints(y).positive_negative_pairs(20 * len(np.unique(y)) ** 2, random_state=seed)
    values, sign = wrap_pairs(X, pairs)
    return values, np.asarray(sign)


def tuned(learner: ITML | GMML, name: str, values: list[float]) -> GridSearchCV:
    """The learner with a parameter chosen by cross-validation on whatever it is fitted to."""
    steps = make_pipeline(learner, KNeighborsClassifier(4))
    return GridSearchCV(steps, {f"{type(learner).__name__.lower()}__{name}": values}, cv=3)


def one_split(X: np.ndarray, y: np.ndarray, seed: int) -> dict[str, float]:
    """Accuracy of each learner on one split, and how far the rival's matrix is from ours of the same pairs."""
    from metric_learn import ITML as Rival

    A, B, a, b = train_test_split(X, y, test_size=TEST_PART, random_state=seed, stratify=y)
    scaler = StandardScaler().fit(A)
    A, B = scaler.transform(A), scaler.transform(B)

    def score(transform: Callable[[np.ndarray], np.ndarray]) -> float:
        return float(KNeighborsClassifier(4).fit(transform(A), a).score(transform(B), b))

    pairs, sign = rival_pairs(A, a, seed)
    rival = Rival().fit(pairs, sign)
    same = ITML(1.0, bounds=rival.bounds_, max_iter=rival.n_iter_ + 1, tol=0).fit(pairs, sign)
    theirs, ours = rival.get_mahalanobis_matrix(), same.get_mahalanobis_matrix()
    return {
        "euclid": score(lambda Z: Z),
        "rival": score(rival.transform),
        "same": score(same.transform),
        "error": float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)),
        "itml": score(ITML(random_state=seed).fit(A, a).transform),
        "itml tuned": tuned(ITML(random_state=seed), "gamma", GAMMAS).fit(A, a).score(B, b),
        "gmml": score(GMML(random_state=seed).fit(A, a).transform),
        "gmml tuned": tuned(GMML(random_state=seed), "t", WEIGHTS).fit(A, a).score(B, b),
    }


def difference(ours: np.ndarray, theirs: np.ndarray) -> str:
    """Mean in points with its standard error: that of Nadeau and Bengio (2003), as splits share most of their rows."""
    values = 100 * (ours - theirs)
    error = np.std(values, ddof=1) * np.sqrt(1 / len(values) + TEST_PART / (1 - TEST_PART))
    return f"{values.mean():+.2f} ± {error:.2f}"


def row(name: str, load: Callable[[], Data], n_splits: int) -> str:
    """Return a row of the table."""
    X, y = load()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", FutureWarning)  # of metric-learn, about scikit-learn
        splits = [one_split(X, y, seed) for seed in range(n_splits)]
    scores = {key: np.array([split[key] for split in splits]) for key in splits[0]}
    cells = [f"{len(X):,} x {X.shape[1]}, {len(np.unique(y))}"]
    cells += [f"{100 * scores[key].mean():.2f}" for key in ("euclid", "rival", "same")]
    cells.append(f"{scores['error'].max():.0e}")
    for key in ("itml", "itml tuned", "gmml", "gmml tuned"):
        cells += [f"{100 * scores[key].mean():.2f}", difference(scores[key], scores["rival"])]
    return f"| {name} | " + " | ".join(cells) + " |"


def report(folder: Path | None, n_splits: int) -> str:
    """Run all, and return the page."""
    import metric_learn

    lines = [
        "# Accuracy of learned distances",
        "",
        f"{datetime.date.today()}; Python {platform.python_version()}, steppe {steppe.__version__}, metric-learn "
        f"{metric_learn.__version__}, scikit-learn {sklearn.__version__}, NumPy {np.__version__}.",
        "",
        f"4-nearest-neighbour classification, percent right: means of {n_splits} stratified splits, {TEST_PART:.0%} held "
        "out, features scaled on the rest. Differences are paired, from metric-learn's ITML with its defaults, with a "
        "standard error that allows for the overlap of the splits.",
        "",
        "- *same*: steppe's ITML given metric-learn's pairs, bounds and number of sweeps; *error* is the largest relative "
        "difference of the two matrices over the splits.",
        "- *ITML*, *GMML*: steppe's defaults, with pairs of its own.",
        f"- *tuned*: gamma of {GAMMAS}, or t of {WEIGHTS}, by 3-fold cross-validation on the training part alone; metric-learn is not tuned.",
        "",
        "| data | rows x features, classes | Euclidean | metric-learn | same | error | ITML | difference | ITML tuned | difference | GMML | difference | GMML tuned | difference |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, load in datasets(folder).items():
        lines.append(row(name, load, n_splits))
        print(lines[-1], file=sys.stderr, flush=True)
    lines += ["", "Goal: not below metric-learn by more than half a point."]
    lines += ["", f"Written by `python bench/peers/metric_accuracy.py --data DIR --splits {n_splits}`."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with uci-arff/")
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    text = report(arguments.data, arguments.splits)
    print(text)
    if arguments.out:
        arguments.out.write_text(text)
