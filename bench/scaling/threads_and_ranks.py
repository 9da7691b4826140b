"""How iterations speed up from one thread to two threads and to two MPI ranks; writes bench/results/scaling.md.

Goals: two threads 1.7 times as fast as one (MatrixFactorization); two ranks at least 0.8 times as fast as two threads.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

os.environ.pop("OPENBLAS_CORETYPE", None)

from steppe import __version__
from steppe.datasets import make_ratings, make_text_classification, make_topics
from steppe.linear_model import MultinomialLogisticRegression
from steppe.parallel import Cluster
from steppe.recommend import MatrixFactorization
from steppe.topics import LatentDirichletAllocation

# name: (schedule, threads of each rank, ranks)
WAYS = {
    "1 thread": ("serial", 1, 1),
    "2 threads, bsp": ("bsp", 2, 1),
    "2 threads, nomad": ("nomad", 2, 1),
    "2 ranks, bsp": ("bsp", 1, 2),
    "2 ranks, nomad": ("nomad", 1, 2),
}


def models(cluster):
    """(name, fit(schedule, threads)) on this rank's rows."""
    mine = slice(cluster.rank, None, cluster.size)
    shared = {"tol": 0, "random_state": 0, "cluster": cluster if cluster.size > 1 else None}
    ratings = make_ratings(20_000, 5_000, 2_000_000, 32, random_state=0)[0][mine].astype(np.float32)
    X, y = make_text_classification(20_000, 50_000, 60, 200, random_state=0)[:2]
    X, y = X[mine].astype(np.float32), y[mine]
    yield (
        "MatrixFactorization",
        lambda schedule, threads: MatrixFactorization(
            32, reg=0.02, biases=False, max_iter=15, schedule=schedule, n_jobs=threads, **shared
        ).fit(ratings),
    )
    yield (
        "MultinomialLogisticRegression",
        lambda schedule, threads: MultinomialLogisticRegression(
            1e-5, fit_intercept=False, max_iter=9, schedule=schedule, n_jobs=threads, **shared
        ).fit(X, y),
    )
    counts = make_topics(20_000, random_state=0)[0][mine].astype(np.float32)
    for inference in ("cvb0", "vb"):
        yield (
            f"LatentDirichletAllocation {inference}",
            lambda schedule, threads, inference=inference: LatentDirichletAllocation(
                64, inference=inference, max_iter=12, schedule=schedule, n_jobs=threads, **shared
            ).fit(counts),
        )


def measure(cluster, ways):
    """Seconds of the fastest of the last six iterations, by model and way."""
    times = {}
    for model, fit in models(cluster):
        for way in ways:
            schedule, threads, _ = WAYS[way]
            seconds = np.diff(fit(schedule, threads).history_["seconds"])[-6:]  # topics warm up for eight
            times[f"{model}/{way}"] = cluster.gather(float(seconds.min()))[0]
    return times


def under_mpiexec(ways):
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "times.json"
        mpiexec = Path(sys.executable).parent / "mpiexec"
        subprocess.run([mpiexec, "-n", "2", sys.executable, __file__, "--ways", *ways, "--json", out], check=True)
        return json.loads(out.read_text())


def table(runs):
    """Medians over runs; the ratio is against two threads of the same schedule, or against one thread."""
    lines = ["| model | way | ms an iteration | times as fast | as |", "|---|---|---|---|---|"]
    for key in runs[0]:
        model, way = key.split("/")
        base = way.replace("ranks", "threads") if "ranks" in way else "1 thread"
        ratio = np.median([run[f"{model}/{base}"] / run[key] for run in runs])
        against = "" if base == way else f"| **{ratio:.2f}** | {base} |"
        lines.append(f"| {model} | {way} | {1e3 * np.median([run[key] for run in runs]):.1f} {against or '| | |'}")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--ways", nargs="+")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.json is not None:
        cluster = Cluster.world()
        times = measure(cluster, options.ways)
        if cluster.rank == 0:
            options.json.write_text(json.dumps(times))
        return
    alone = [way for way in WAYS if WAYS[way][2] == 1]
    together = [way for way in WAYS if WAYS[way][2] == 2]
    runs = [{**measure(Cluster(), alone), **under_mpiexec(together)} for _ in range(options.repeats)]
    info = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in info if line.startswith("model name")), "")
    text = [
        "# From one thread to two, and to two ranks",
        "",
        f"{datetime.date.today()}, {cpu}, {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}; "
        f"Python {platform.python_version()}, steppe {__version__}. 2 M ratings, rank 32; 20,000 x 50,000 text-like "
        "rows of 200 classes; 20,000 documents of 200 words with 64 topics; float32. Fastest of the last six iterations "
        f"of a fit; medians of {options.repeats} interleaved runs. An iteration of the classifier skips rows without mass on the classes at hand, so its time "
        "also depends on the number of packets.",
        "",
        *table(runs),
        "",
        "Written by `python bench/scaling/threads_and_ranks.py`.",
    ]
    target = Path(__file__).parents[1] / "results/scaling.md"
    target.write_text("\n".join(text) + "\n")
    print("\n".join(text))


if __name__ == "__main__":
    main()
