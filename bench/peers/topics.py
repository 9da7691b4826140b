"""LatentDirichletAllocation against tomotopy, scikit-learn and gensim: seconds to a held-out perplexity, tokens a second.

python bench/peers/topics.py measure --corpus planted --threads 1 2 --curves build/topics.jsonl [--data DIR] [--methods NAME ...]
python bench/peers/topics.py report --curves build/topics.jsonl [--out bench/results/topics.md]

Needs `pip install tomotopy gensim scikit-learn`. DIR/lda-ap and DIR/lda-newsgroups are the corpora "ap" and "newsgroups".
`measure` appends one line for each method and seed, so a long comparison may be made in parts; `report` takes the last line
of each. Methods end in different local optima, and so do seeds: give several (`--seeds 1 2 3`) before you compare.

One evaluator for all: a method gives its topics, a matrix of word probabilities, and nothing else. Each held-out document's
words are split at random into halves; its topics are folded in from the first half, the maximum of
sum_v c log(theta . phi_v) + alpha sum_k log theta_k; perplexity is exp(-mean log(theta . phi_v)) over the second half.
Seconds are of training alone: for rivals the reading of the corpus into their own structures and every evaluation are left
out; each point of steppe is a whole call of fit.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os

os.environ.pop("OPENBLAS_CORETYPE", None)  # would slow down every rival's linear algebra
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # the methods' own threads are what is compared
os.environ["OMP_NUM_THREADS"] = "1"

import platform
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

import steppe
from steppe.datasets import load_bag_of_words, make_topics

K = 64
ALPHA, ETA = 0.1, 0.01  # of the planted corpus; the priors of every method, and of the evaluator
HELD_OUT = 2_000
GOAL_BATCH, GOAL_TOMOTOPY, GOAL_VB = 10.0, 1.0, 1.08
CLOSE = 1.01


@dataclass
class Corpus:
    """Documents to fit, and halves of others."""

    name: str
    train: csr_array
    observed: csr_array
    evaluated: csr_array
    known: NDArray[np.bool_]  # words of the whole vocabulary that are left
    planted: float = np.nan

    @property
    def n_tokens(self) -> int:
        """Words to fit."""
        return int(self.train.sum())

    def perplexity(self, topics: NDArray[Any], n_iter: int = 60) -> float:
        """Document completion: 60 iterations leave less than a thousandth to the maximum."""
        phi = np.ascontiguousarray(topics.T, dtype=np.float32)
        log_likelihood = 0.0
        for first in range(0, self.observed.shape[0], 250):
            rows = slice(first, first + 250)
            theta = fold_in(self.observed[rows], phi, n_iter)
            second = self.evaluated[rows]
            documents = np.repeat(np.arange(second.shape[0]), np.diff(second.indptr))
            p = np.einsum("nk,nk->n", theta[documents], phi[second.indices], dtype=np.float64)
            log_likelihood += float(second.data @ np.log(p))
        return float(np.exp(-log_likelihood / self.evaluated.sum()))


def fold_in(X: csr_array, phi: NDArray[Any], n_iter: int) -> NDArray[Any]:
    """Topics of documents by expectation maximisation; phi has words first."""
    documents = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))
    of_entries = phi[X.indices]
    theta = np.full((X.shape[0], phi.shape[1]), 1 / phi.shape[1], dtype=np.float32)
    ratio = csr_array((np.empty(X.nnz, dtype=np.float32), np.arange(X.nnz), X.indptr), shape=(X.shape[0], X.nnz))
    for _ in range(n_iter):
        ratio.data[:] = X.data / np.einsum("nk,nk->n", theta[documents], of_entries)
        theta = ALPHA + theta * (ratio @ of_entries)
        theta /= theta.sum(axis=1, keepdims=True)
    return theta


def corpus(name: str, folder: Path | None) -> Corpus:
    """One of the three corpora, always the same."""
    if name == "planted":
        X, truth = make_topics(
            50_000 + HELD_OUT, doc_topic_prior=ALPHA, topic_word_prior=ETA, n_components=K, random_state=0
        )
        made = split(name, X[:50_000], X[50_000:])
        planted = truth.components[:, made.known] + 1e-12
        made.planted = made.perplexity(planted / planted.sum(axis=1, keepdims=True))
        return made
    if folder is None:
        raise SystemExit(f"--corpus {name} needs --data")
    if name == "ap":
        X = load_bag_of_words(folder / "lda-ap" / "ap.dat.gz").X
        order = np.random.default_rng(0).permutation(X.shape[0])
        return split(name, X[order[224:]], X[order[:224]])
    parts = [
        load_bag_of_words(folder / "lda-newsgroups" / f"newsgroup.{part}.ldac.gz", n_features=61_188).X
        for part in ("train", "test")
    ]
    order = np.random.default_rng(0).permutation(parts[1].shape[0])
    return split(name, parts[0], parts[1][order[:HELD_OUT]])


def split(name: str, train: csr_array, held_out: csr_array) -> Corpus:
    """Halve the held-out documents; words that no training document has are left out, as no method knows them."""
    known = np.bincount(train.indices, minlength=train.shape[1]) > 0
    held_out = held_out[:, known]
    train = train[:, known]
    rng = np.random.default_rng(1)
    counts = held_out.data.astype(np.int64)
    documents = np.repeat(np.repeat(np.arange(held_out.shape[0]), np.diff(held_out.indptr)), counts)
    words = np.repeat(held_out.indices, counts)
    order = np.lexsort((rng.random(len(words)), documents))
    documents, words = documents[order], words[order]
    sizes = np.bincount(documents, minlength=held_out.shape[0])
    place = np.arange(len(words)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    first = place < np.repeat(sizes - sizes // 2, sizes)
    halves = (
        csr_array((np.ones(int(part.sum())), (documents[part], words[part])), shape=held_out.shape)
        for part in (first, ~first)
    )
    return Corpus(name, train, *halves, known)


# --- the clock ---


class Enough(Exception):
    """The run has shown what it had to."""


@dataclass
class Watch:
    """Times a training and looks at its topics, off the clock, after more and more passes."""

    data: Corpus
    limit: float
    seconds: float = 0.0
    next_look: int = 1
    passes: list[tuple[int, float]] = field(default_factory=list)
    looks: list[tuple[int, float, float]] = field(default_factory=list)  # passes, seconds, perplexity

    def start(self) -> None:
        """From here on it is training."""
        self.started = time.perf_counter()

    def look(self, n: int, topics: Callable[[], NDArray[Any]]) -> None:
        """After n passes; raises Enough at the end of the time, or when three looks have gained less than 0.1 %."""
        self.seconds += time.perf_counter() - self.started
        self.passes.append((n, self.seconds))
        if n >= self.next_look or self.seconds > self.limit:
            self.note(n, self.seconds, topics())
        self.start()

    def note(self, n: int, seconds: float, topics: NDArray[Any]) -> None:
        """Evaluate these topics."""
        perplexity = self.data.perplexity(topics / topics.sum(axis=1, keepdims=True))
        self.looks.append((n, seconds, perplexity))
        print(f"    {n} passes, {seconds:.2f} s: {perplexity:.1f}", flush=True)
        self.next_look = max(n + 1, round(1.25 * n))
        values = [value for _, _, value in self.looks]
        stalled = len(values) > 3 and n >= 16 and min(values[-3:]) > 0.999 * min(values[:-3])
        if seconds > self.limit or stalled:
            raise Enough

    def pass_seconds(self) -> float:
        """Median over looks: disturbances and what is done once drop out."""
        n, seconds = np.array(self.passes).T
        if len(n) == 1:
            return float(seconds[0] / n[0])
        return float(np.median(np.diff(seconds) / np.diff(n)))


# --- methods: they train until the watch raises Enough ---

Method = Callable[[Corpus, int, int, Watch], None]  # data, threads, seed


def tomotopy_method(scheme: str, interval: int = 10) -> Method:
    """Collapsed Gibbs sampling; alpha is learnt at every tenth iteration, by default."""

    def run(data: Corpus, n_threads: int, seed: int, watch: Watch) -> None:
        import tomotopy

        model = tomotopy.LDAModel(k=K, alpha=ALPHA, eta=ETA, seed=seed)
        model.optim_interval = interval
        names = np.array([str(word) for word in range(data.train.shape[1])], dtype=object)
        for row in range(data.train.shape[0]):
            entries = slice(data.train.indptr[row], data.train.indptr[row + 1])
            words = np.repeat(names[data.train.indices[entries]], data.train.data[entries])
            if len(words):
                model.add_doc(words.tolist())

        def topics() -> NDArray[Any]:
            columns = [int(word) for word in model.used_vocabs]
            found = np.zeros((K, data.train.shape[1]))
            found[:, columns] = [model.get_topic_word_dist(topic) for topic in range(K)]
            return found

        done = 0
        watch.next_look = 10
        watch.start()
        while True:
            n = watch.next_look
            model.train(
                n - done, workers=n_threads, parallel=tomotopy.ParallelScheme[scheme if n_threads > 1 else "NONE"]
            )
            done = n
            watch.look(done, topics)

    return run


def scikit_learn_method(learning: str, batch_size: int = 128) -> Method:
    """Mean field, all documents at once or in mini-batches."""

    def run(data: Corpus, n_threads: int, seed: int, watch: Watch) -> None:
        from sklearn.decomposition import LatentDirichletAllocation

        model = LatentDirichletAllocation(
            K, doc_topic_prior=ALPHA, topic_word_prior=ETA, learning_method=learning, batch_size=batch_size,
            n_jobs=n_threads, random_state=seed, max_iter=10**6,
        )  # fmt: skip
        per_pass = 1 if learning == "batch" else -(-data.train.shape[0] // batch_size)
        step, steps = model._em_step, 0  # fit itself offers no look at the topics on the way

        def watched(*args: Any, **kwargs: Any) -> Any:
            nonlocal steps
            result = step(*args, **kwargs)
            steps += 1
            if steps % per_pass == 0:
                watch.look(steps // per_pass, lambda: model.components_)
            return result

        model._em_step = watched
        X = data.train.astype(np.float64)
        watch.start()
        model.fit(X)

    return run


def gensim_method(data: Corpus, n_threads: int, seed: int, watch: Watch) -> None:
    """Online mean field; its processes beside this one, which only hands out the documents."""
    from gensim.models import LdaModel, LdaMulticore

    X = data.train
    documents = [
        list(zip(X.indices[begin:end].tolist(), X.data[begin:end].tolist(), strict=True))
        for begin, end in zip(X.indptr[:-1], X.indptr[1:], strict=True)
    ]
    options: dict[str, Any] = {
        "num_topics": K, "alpha": [ALPHA] * K, "eta": ETA, "id2word": {word: str(word) for word in range(X.shape[1])},
        "eval_every": None, "random_state": seed, "dtype": np.float32,
    }  # fmt: skip
    model = LdaModel(**options) if n_threads == 1 else LdaMulticore(workers=n_threads, **options)
    watch.start()
    for n in range(1, 10**6):
        model.update(documents)
        watch.look(n, model.get_topics)


def steppe_method(inference: str, **params: Any) -> Method:
    """Ours: each point is a call of fit from the start."""

    def run(data: Corpus, n_threads: int, seed: int, watch: Watch) -> None:
        from steppe.topics import LatentDirichletAllocation

        X = data.train.astype(np.float32)
        while True:
            n = watch.next_look
            model = LatentDirichletAllocation(
                K, inference=inference, doc_topic_prior=ALPHA, topic_word_prior=ETA, max_iter=n, tol=0,
                n_jobs=n_threads, random_state=seed, **params,
            )  # fmt: skip
            begin = time.perf_counter()
            model.fit(X)
            seconds = time.perf_counter() - begin
            watch.passes.append((n, seconds))
            watch.note(n, seconds, model.components_)

    return run


METHODS: dict[str, Method] = {
    "steppe cvb0": steppe_method("cvb0"),
    "steppe vb": steppe_method("vb"),
    "tomotopy": tomotopy_method("PARTITION"),
    "tomotopy copy_merge": tomotopy_method("COPY_MERGE"),
    "tomotopy alpha fixed": tomotopy_method("PARTITION", interval=0),
    "scikit-learn batch": scikit_learn_method("batch"),
    "scikit-learn online": scikit_learn_method("online", batch_size=1024),
    "gensim": gensim_method,
}


def measure(arguments: argparse.Namespace) -> None:
    """Append a curve for each method and number of threads."""
    data = corpus(arguments.corpus, arguments.data)
    print(f"{data.name}: {data.train.shape}, {data.n_tokens} words, planted {data.planted:.1f}", flush=True)
    for seed, n_threads, name in product(arguments.seeds, arguments.threads, arguments.methods):
        print(f"  {name}, {n_threads} threads, seed {seed}", flush=True)
        watch = Watch(data, arguments.limit)
        with suppress(Enough):
            METHODS[name](data, n_threads, seed, watch)
        rate = data.n_tokens / watch.pass_seconds() / 1e6
        print(f"  {name}, {n_threads} threads: {rate:.2f} million words a second", flush=True)
        line = {
            "corpus": data.name, "documents": data.train.shape[0], "vocabulary": data.train.shape[1],
            "tokens": data.n_tokens, "planted": data.planted, "method": name, "threads": n_threads, "seed": seed,
            "rate": rate, "looks": watch.looks,
        }  # fmt: skip
        with arguments.curves.open("a") as stream:
            stream.write(json.dumps(line) + "\n")


# --- the page ---


Runs = list[dict[str, Any]]  # of one method on one number of threads, one for each seed


def best_of(runs: Runs) -> float:
    """The lowest perplexity of each run, the median of the runs."""
    return median(min(value for _, _, value in run["looks"]) for run in runs)


def reached(runs: Runs, target: float) -> tuple[float, float]:
    """Seconds and passes to a perplexity that is low enough: medians over runs; infinite where a run never was."""
    first = [next(((s, n) for n, s, value in run["looks"] if value <= target), (np.inf, np.inf)) for run in runs]
    return median(seconds for seconds, _ in first), median(n for _, n in first)


def table(methods: dict[tuple[int, str], Runs]) -> list[str]:
    """One corpus: a row for each number of threads and method."""
    best = min(best_of(runs) for runs in methods.values())
    rows = [
        f"The best perplexity of a method, the median of its seeds, is {best:.1f}.",
        "",
        "| threads | method | seeds | million words a second in a pass | best perplexity (of all seeds) "
        "| seconds to 5 % above the best of all | to 1 % |",
        "|---|---|---|---|---|---|---|",
    ]
    for (n_threads, name), runs in methods.items():
        cells = []
        for target in (1.05 * best, CLOSE * best):
            seconds, n = reached(runs, target)
            cells.append(f"{seconds:.2f} ({n:.0f} passes)" if np.isfinite(seconds) else "not reached")
        least = [min(value for _, _, value in run["looks"]) for run in runs]
        found = f"{best_of(runs):.1f} ({min(least):.1f} to {max(least):.1f})"
        rate = median(run["rate"] for run in runs)
        rows.append(f"| {n_threads} | {name} | {len(runs)} | {rate:.2f} | {found} | {' | '.join(cells)} |")
    return [*rows, "", *verdict(methods, CLOSE * best)]


def verdict(methods: dict[tuple[int, str], Runs], target: float) -> list[str]:
    """How many times faster steppe's faster method is, to 1 % or, where a rival never comes so far, to the rival's best."""
    lines = []
    for (n_threads, name), runs in methods.items():
        ours = [methods[n_threads, own] for own in ("steppe cvb0", "steppe vb") if (n_threads, own) in methods]
        if name.startswith("steppe") or not ours:
            continue
        goal = target if np.isfinite(reached(runs, target)[0]) else CLOSE * best_of(runs)
        ratio = reached(runs, goal)[0] / min(reached(own, goal)[0] for own in ours)
        wanted = GOAL_TOMOTOPY if name.startswith("tomotopy") else GOAL_BATCH
        lines.append(
            f"- {n_threads} thread{'s' * (n_threads > 1)}, to perplexity {goal:.1f}: **{ratio:.2f} times** faster than "
            f"{name}; goal {wanted:.0f}: {'reached' if ratio >= wanted else 'MISSED'}"
        )
    least = {name: min((best_of(runs) for (_, own), runs in methods.items() if own == name), default=np.nan)
             for name in ("steppe vb", "tomotopy")}  # fmt: skip
    ratio = least["steppe vb"] / least["tomotopy"]
    if np.isfinite(ratio):
        word = "reached" if ratio <= GOAL_VB else "MISSED"
        lines.append(f"- best perplexity of `vb` over tomotopy's: **{ratio:.3f}**; goal {GOAL_VB:.2f}: {word}")
    return lines


def installed(name: str) -> str:
    """The package and its version."""
    with suppress(PackageNotFoundError):
        return f"{name} {version(name)}"
    return f"no {name}"


def processor() -> str:
    """Return the processor's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def report(arguments: argparse.Namespace) -> None:
    """Write the page from the curves."""
    found = [json.loads(line) for line in arguments.curves.read_text().splitlines()]
    last = {tuple(line[key] for key in ("corpus", "threads", "method", "seed")): line for line in found}
    corpora: dict[str, dict[tuple[int, str], Runs]] = {}
    for name, n_threads, method, _ in sorted(
        last, key=lambda key: (key[0], key[1], list(METHODS).index(key[2]), key[3])
    ):
        corpora.setdefault(name, {}).setdefault((n_threads, method), [])
    for (name, n_threads, method, _), run in last.items():
        corpora[name][n_threads, method].append(run)
    rivals = ", ".join(installed(name) for name in ("tomotopy", "scikit-learn", "gensim"))
    page = [
        "# Topics against tomotopy, scikit-learn and gensim",
        "",
        f"{datetime.date.today()}, {processor()}, {os.cpu_count()} cores; Python {platform.python_version()}, steppe "
        f"{steppe.__version__}, {rivals}, NumPy {np.__version__}. K = {K}, alpha {ALPHA}, eta {ETA} for all; tomotopy learns "
        f"alpha from there at every tenth iteration, as it does by default. Held-out perplexity by document completion, one "
        f"evaluator for all, with symmetric alpha {ALPHA}; see the script. Seconds of training, medians over seeds; "
        f"evaluations, and the rivals' reading of the corpus, are off the clock. Looks are after passes that grow by a quarter.",
        "",
    ]
    for name, methods in corpora.items():
        one = next(iter(methods.values()))[0]
        planted = f"; the planted topics have perplexity {one['planted']:.1f}" if name == "planted" else ""
        size = f"{one['documents']:,} documents, {one['vocabulary']:,} words, {one['tokens']:,} tokens"
        page += [f"## {name}", "", f"{size}{planted}.", "", *table(methods), ""]
    page.append("Written by `python bench/peers/topics.py`.")
    print("\n".join(page))
    if arguments.out:
        arguments.out.write_text("\n".join(page) + "\n")


def main() -> None:
    """Measure a part, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    part = commands.add_parser("measure")
    part.set_defaults(run=measure)
    part.add_argument("--corpus", choices=["planted", "ap", "newsgroups"], required=True)
    part.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    part.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    part.add_argument("--seeds", nargs="+", type=int, default=[1])
    part.add_argument("--limit", type=float, default=120, help="seconds of training of each method")
    part.add_argument("--data", type=Path)
    whole = commands.add_parser("report")
    whole.set_defaults(run=report)
    whole.add_argument("--out", type=Path)
    for command in (part, whole):
        command.add_argument("--curves", type=Path, required=True)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    arguments.run(arguments)


if __name__ == "__main__":
    main()
