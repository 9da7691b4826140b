"""Accuracy of 4-nearest-neighbour classification by learned distances, beside metric-learn's ITML, in one run.

python bench/peers/metric_accuracy.py [--data DIR] [--log DIR] [--splits 100] [--slow-splits 20] [--out FILE]

DIR of --data holds uci-arff/*.arff.gz. Needs metric-learn 0.7.0, which runs with scikit-learn below 1.8 only. Times
nothing. --log keeps the figures of every split, metric-learn's (rival.jsonl) apart from steppe's (defaults.jsonl): what
is there is not computed again, so remove the latter when steppe has changed.
"""

from __future__ import annotations

import argparse
import datetime
import gzip
import io
import json
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
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

import steppe
from steppe.metric import GMML, ITML

Data = tuple[np.ndarray, np.ndarray]
Figures = dict[str, float]
BUNDLED = {"wine": load_wine, "breast cancer": load_breast_cancer, "digits": load_digits}
ARFF = {
    "balance.scale": -1,
    "ionosphere": -1,
    "vehicle": -1,
    "segment": -1,
    "vowel": -1,
}  # column of labels; wine.arff is the bundled wine
SLOW = {"digits", "segment (arff)", "vowel (arff)"}  # for metric-learn
TEST_PART = 0.3
FIRST_SEED = 1000  # apart from the splits that were looked at while the defaults were chosen


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


class Split:
    """Rows to learn from and to score, with features scaled on the former."""

    def __init__(self, X: np.ndarray, y: np.ndarray, seed: int) -> None:
        A, B, self.a, self.b = train_test_split(X, y, test_size=TEST_PART, random_state=seed, stratify=y)
        scaler = StandardScaler().fit(A)
        self.A, self.B, self.seed = scaler.transform(A), scaler.transform(B), seed

    def score(self, transform: Callable[[np.ndarray], np.ndarray]) -> float:
        """Accuracy of four neighbours."""
        return float(KNeighborsClassifier(4).fit(transform(self.A), self.a).score(transform(self.B), self.b))


def rival_pairs(X: np.ndarray, y: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The pairs that metric-learn's ITML_Supervised samples by default."""
    from metric_learn.constraints import Constraints, wrap_pairs

    pairs = Constraints(y).positive_negative_pairs(20 * len(np.unique(y)) ** 2, random_state=seed)
    values, sign = wrap_pairs(X, pairs)
    return values, np.asarray(sign)


def rival(split: Split) -> Figures:
    """metric-learn's defaults, and steppe given its pairs, bounds and number of sweeps."""
    from metric_learn import ITML as Rival

    pairs, sign = rival_pairs(split.A, split.a, split.seed)
    model = Rival().fit(pairs, sign)
    same = ITML(1.0, bounds=model.bounds_, max_iter=model.n_iter_ + 1, tol=0).fit(pairs, sign)
    theirs, ours = model.get_mahalanobis_matrix(), same.get_mahalanobis_matrix()
    error = float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))
    return {"rival": split.score(model.transform), "same": split.score(same.transform), "error": error}


def defaults(split: Split) -> Figures:
    """steppe's defaults, and no learning."""
    return {
        "euclid": split.score(np.asarray),
        "itml": split.score(ITML(random_state=split.seed).fit(split.A, split.a).transform),
        "gmml": split.score(GMML(random_state=split.seed).fit(split.A, split.a).transform),
    }


def read_log(path: Path | None, name: str) -> dict[int, Figures]:
    """Figures of a data set by split."""
    if path is None or not path.exists():
        return {}
    lines = (json.loads(line) for line in path.read_text().splitlines())
    return {line["seed"]: line["figures"] for line in lines if line["data"] == name}


def logged(
    path: Path | None, name: str, compute: Callable[[Split], Figures], data: Data, seeds: range
) -> list[Figures]:
    """Figures of each split: from the log, or computed and added to it."""
    known = read_log(path, name)
    for seed in seeds:
        if seed not in known:
            known[seed] = compute(Split(*data, seed))
            if path:
                with path.open("a") as file:
                    file.write(json.dumps({"data": name, "seed": seed, "figures": known[seed]}) + "\n")
    return [known[seed] for seed in seeds]


def both_logged(log: Path, name: str) -> list[Figures]:
    """Figures of the splits that both parts have been computed for."""
    theirs, ours = (read_log(log / f"{compute.__name__}.jsonl", name) for compute in (rival, defaults))
    return [theirs[seed] | ours[seed] for seed in sorted(theirs.keys() & ours.keys())]


def computed(name: str, data: Data, seeds: range, log: Path | None) -> list[Figures]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", FutureWarning)  # of metric-learn, about scikit-learn
        theirs, ours = (
            logged(log and log / f"{compute.__name__}.jsonl", name, compute, data, seeds)
            for compute in (rival, defaults)
        )
    return [one | other for one, other in zip(theirs, ours, strict=True)]


def difference(ours: np.ndarray, theirs: np.ndarray) -> list[str]:
    """Mean in points, its standard error over splits, and that of Nadeau and Bengio, which allows for their overlap."""
    values = 100 * (ours - theirs)
    spread, n = values.std(ddof=1), len(values)
    wide = spread * np.sqrt(1 / n + TEST_PART / (1 - TEST_PART))
    return [f"{values.mean():+.2f} ± {spread / np.sqrt(n):.2f}", f"{wide:.2f}"]


def row(name: str, data: Data, splits: list[Figures]) -> str:
    """Return a row of the table."""
    scores = {key: np.array([split[key] for split in splits]) for key in splits[0]}
    X, y = data
    cells = [f"{len(X):,} x {X.shape[1]}, {len(np.unique(y))}", str(len(splits))]
    cells += [f"{100 * scores[key].mean():.2f}" for key in ("euclid", "rival", "same")]
    cells += [f"{scores['error'].max():.0e}", f"{100 * scores['itml'].mean():.2f}"]
    cells += difference(scores["itml"], scores["rival"])
    cells.append("holds" if np.mean(scores["itml"] - scores["rival"]) >= -0.005 else "**missed**")
    cells += [f"{100 * scores['gmml'].mean():.2f}", difference(scores["gmml"], scores["rival"])[0]]
    return f"| {name} | " + " | ".join(cells) + " |"


def report(arguments: argparse.Namespace) -> str:
    """Run all, and return the page."""
    import metric_learn

    lines = [
        "# Accuracy of learned distances",
        "",
        f"{datetime.date.today()}; Python {platform.python_version()}, steppe {steppe.__version__}, metric-learn "
        f"{metric_learn.__version__}, scikit-learn {sklearn.__version__}, NumPy {np.__version__}.",
        "",
        f"4-nearest-neighbour classification, percent right: means of stratified splits (random_state {FIRST_SEED} and "
        f"up), {TEST_PART:.0%} held out, features scaled on the rest. Differences are paired, from metric-learn's ITML "
        "with its defaults; ± is the standard error of the mean over splits, *wide* that of Nadeau and Bengio (2003), "
        "for another sample of the same size instead of another split of this one.",
        "",
        "- *same*: steppe's ITML given metric-learn's pairs, bounds and number of sweeps; *error* is the largest relative "
        "difference of the two matrices over the splits.",
        "- *ITML*, *GMML*: steppe's defaults, with pairs of its own.",
        "- Goal: ITML not below metric-learn by more than half a point.",
        "",
        "| data | rows x features, classes | splits | Euclidean | metric-learn | same | error | ITML | difference | wide | goal | GMML | difference |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, load in datasets(arguments.data).items():
        if arguments.only and name not in arguments.only:
            continue
        data, n_splits = load(), arguments.slow_splits if name in SLOW else arguments.splits
        if arguments.logged:
            splits = both_logged(arguments.log, name)
        else:
            splits = computed(name, data, range(FIRST_SEED, FIRST_SEED + n_splits), arguments.log)
        lines.append(row(name, data, splits))
        print(lines[-1], file=sys.stderr, flush=True)
    lines += ["", "Rows written by `python bench/peers/metric_accuracy.py --data DIR`."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with uci-arff/")
    parser.add_argument("--log", type=Path, help="existing folder for the figures of every split")
    parser.add_argument("--logged", action="store_true", help="compute nothing: the splits that --log has whole")
    parser.add_argument("--splits", type=int, default=100)
    parser.add_argument("--slow-splits", type=int, default=20, help="of digits, segment and vowel")
    parser.add_argument("--only", nargs="*", help="names of data sets")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    text = report(arguments)
    print(text)
    if arguments.out:
        arguments.out.write_text(text)
