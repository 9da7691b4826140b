"""load_svmlight against scikit-learn's loader, and load_ratings against pandas, in one interleaved run.

python bench/peers/svmlight.py [--rows 40000] [--repeats 7] [--out bench/results/svmlight.md]
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import scipy
import sklearn
from scipy.sparse import coo_array
from sklearn.datasets import load_svmlight_file

import steppe
from steppe.datasets import load_ratings, load_svmlight, make_ratings, make_text_classification

GOAL = 10.0
FORMATS = {
    "counts, `17:3`": (lambda values: np.ceil(7 * values), "%d:%d"),
    "six digits, `17:0.108465`": (lambda values: values, "%d:%.6g"),
    "sixteen digits, as scikit-learn writes": (lambda values: np.pi * values, "%d:%.16g"),
}


def write_svmlight(path: Path, rows: int, transform: Callable, pattern: str) -> None:
    """Write text-like rows of 60 features from 50,000, from one."""
    X, y, _ = make_text_classification(rows, dtype=np.float64, random_state=0)
    values = transform(X.data)
    with path.open("w") as stream:
        for row, label in enumerate(y):
            part = slice(X.indptr[row], X.indptr[row + 1])
            pairs = zip(X.indices[part] + 1, values[part], strict=True)
            stream.write(f"{label} " + " ".join(pattern % pair for pair in pairs) + "\n")


def write_ratings(path: Path) -> None:
    """Write two million ratings as MovieLens does: user,item,rating,time."""
    X, _ = make_ratings(random_state=0)
    X = coo_array(X)
    ids = {"user": X.row * 7 + 1, "item": X.col * 3 + 1}
    frame = pd.DataFrame({**ids, "stars": np.round(X.data, 1), "time": 964982703})
    frame.to_csv(path, index=False)


def with_pandas(path: Path) -> coo_array:
    """Do what load_ratings does with what most people use."""
    frame = pd.read_csv(path)
    users, rows = np.unique(frame["user"], return_inverse=True)
    items, columns = np.unique(frame["item"], return_inverse=True)
    values = frame["stars"].to_numpy(np.float32)
    return coo_array((values, (rows, columns)), shape=(len(users), len(items))).tocsr()


def interleaved(loaders: dict[str, Callable], repeats: int) -> dict[str, float]:
    """Median seconds of each, all run once before any runs again: what disturbs the machine disturbs all."""
    seconds: dict[str, list[float]] = {name: [] for name in loaders}
    for _ in range(repeats):
        for name, load in loaders.items():
            start = time.perf_counter()
            load()
            seconds[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in seconds.items()}


def pair(label: str, path: Path, rival: Callable, ours: Callable, repeats: int) -> str:
    """Return one row of the table."""
    times = interleaved({"rival": rival, "1": lambda: ours(n_jobs=1), "2": lambda: ours(n_jobs=2)}, repeats)
    megabytes = path.stat().st_size / 1e6
    row = f"| {label} | {megabytes:.0f} | {times['rival'] * 1e3:.0f} ms, {megabytes / times['rival']:.0f} MB/s |"
    for threads in ("1", "2"):
        row += f" {times[threads] * 1e3:.1f} ms, {megabytes / times[threads]:.0f} MB/s |"
        row += f" **{times['rival'] / times[threads]:.1f}** |"
    print(row, flush=True)
    return row


def same(left, right) -> None:
    """Refuse to time loaders that disagree."""
    for name in ("indptr", "indices", "data"):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name))


def measure(rows: int, repeats: int) -> list[str]:
    """Return the rows of the table."""
    table = []
    with tempfile.TemporaryDirectory() as folder:
        for label, (transform, pattern) in FORMATS.items():
            path = Path(folder) / "data.svm"
            write_svmlight(path, rows, transform, pattern)
            same(load_svmlight(path)[0], load_svmlight_file(path)[0])
            ours = lambda n_jobs, path=path: load_svmlight(path, n_jobs=n_jobs)  # noqa: E731
            table.append(pair(f"svmlight, {label}", path, lambda path=path: load_svmlight_file(path), ours, repeats))
        path = Path(folder) / "ratings.csv"
        write_ratings(path)
        same(load_ratings(path).X, with_pandas(path))
        table.append(
            pair(
                "ratings, csv, against pandas.read_csv + numpy.unique",
                path,
                lambda: with_pandas(path),
                lambda n_jobs: load_ratings(path, n_jobs=n_jobs),
                repeats,
            )
        )
    return table


def processor() -> str:
    """Return the processor's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def main() -> None:
    """Run the pairs and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    table = measure(arguments.rows, arguments.repeats)
    page = [
        "# Readers of text files",
        "",
        f"{datetime.date.today()}, {processor()}, {os.cpu_count()} cores; Python {platform.python_version()}, "
        f"steppe {steppe.__version__}, scikit-learn {sklearn.__version__}, NumPy {np.__version__}, "
        f"SciPy {scipy.__version__}, pandas {pd.__version__}. Files in the page cache. Medians of "
        f"{arguments.repeats} interleaved runs; both results are compared bit for bit before they are timed. "
        f"Goal: {GOAL:.0f} times scikit-learn's speed on one and on two threads.",
        "",
        "| file | MB | rival | steppe, 1 thread | times | steppe, 2 threads | times |",
        "|---|---|---|---|---|---|---|",
        *table,
        "",
        "Written by `python bench/peers/svmlight.py`.",
    ]
    if arguments.out:
        arguments.out.write_text("\n".join(page) + "\n")


if __name__ == "__main__":
    main()
