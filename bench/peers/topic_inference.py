"""Topics of unseen documents: steppe's transform against scikit-learn's, with the same topics, and tomotopy's infer.

python bench/peers/topic_inference.py [--repeats 3] [--out bench/results/topic_inference.md]

Needs `pip install tomotopy scikit-learn`. 2,000 documents of the planted corpus of bench/peers/topics.py, halved: theta comes
from one half, and the other half gives the perplexity exp(-mean log(theta . phi)). steppe and scikit-learn fold in by the
same rule, to the same tolerance (a mean change of gamma of 1e-3, at most 100 steps). tomotopy, a sampler, has topics of its
own, of 20,000 of the training documents in 150 iterations, and infers by 100 iterations, its default.
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
from typing import Any

import numpy as np
from numpy.typing import NDArray
from topics import ALPHA, ETA, Corpus, K, corpus, installed, processor

import steppe
from steppe.topics import LatentDirichletAllocation

# theta of the observed halves on so many threads, and the topics that it goes with.
Way = tuple[Callable[[int], NDArray[Any]], NDArray[Any]]


def steppe_way(data: Corpus, fitted: LatentDirichletAllocation, inference: str) -> Way:
    X = data.observed.astype(np.float32)

    def theta(n_threads: int) -> NDArray[Any]:
        return fitted.set_params(inference=inference, n_jobs=n_threads).transform(X)

    return theta, fitted.components_


def scikit_learn_way(data: Corpus, fitted: LatentDirichletAllocation) -> Way:
    from sklearn.decomposition import LatentDirichletAllocation as Theirs

    X = data.observed.astype(np.float64)
    model = Theirs(K, doc_topic_prior=ALPHA, topic_word_prior=ETA, max_iter=1, random_state=0).fit(X[:50])
    model.components_ = fitted.components_.astype(np.float64)
    model.exp_dirichlet_component_ = fitted.exp_dirichlet_component_.astype(np.float64)
    return lambda n_threads: model.set_params(n_jobs=n_threads).transform(X), fitted.components_


def tomotopy_way(data: Corpus) -> Way:
    import tomotopy

    def words(X: Any, row: int) -> list[str]:
        entries = slice(X.indptr[row], X.indptr[row + 1])
        return [str(v) for v in np.repeat(X.indices[entries], X.data[entries].astype(int))]

    model = tomotopy.LDAModel(k=K, alpha=ALPHA, eta=ETA, seed=1)
    for row in range(20_000):
        model.add_doc(words(data.train, row))
    model.train(150, workers=2)
    topics = np.full((K, data.train.shape[1]), 1e-12)
    topics[:, [int(word) for word in model.used_vocabs]] = [model.get_topic_word_dist(k) for k in range(K)]

    def theta(n_threads: int) -> NDArray[Any]:
        documents = [model.make_doc(words(data.observed, row)) for row in range(data.observed.shape[0])]
        begin = time.perf_counter()
        found = model.infer(documents, workers=n_threads)[0]
        theta.seconds = time.perf_counter() - begin  # type: ignore[attr-defined] # without its making of documents
        return np.array(found)

    return theta, topics


def perplexity(data: Corpus, theta: NDArray[Any], topics: NDArray[Any]) -> float:
    phi = (topics / topics.sum(axis=1, keepdims=True)).T
    second = data.evaluated.tocoo()
    p = np.einsum("nk,nk->n", theta[second.row], phi[second.col], dtype=np.float64)
    return float(np.exp(-second.data @ np.log(p) / second.data.sum()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    data = corpus("planted", None)
    fitted = LatentDirichletAllocation(
        K, inference="cvb0", doc_topic_prior=ALPHA, topic_word_prior=ETA, max_iter=30, tol=0, n_jobs=2, random_state=0
    ).fit(data.train.astype(np.float32))
    ways = {
        "steppe vb": steppe_way(data, fitted, "vb"),
        "steppe cvb0": steppe_way(data, fitted, "cvb0"),
        "scikit-learn": scikit_learn_way(data, fitted),
        "tomotopy": tomotopy_way(data),
    }
    seconds: dict[tuple[str, int], list[float]] = {}
    quality = {}
    for _ in range(arguments.repeats):
        for name, (theta, topics) in ways.items():
            for n_threads in (1, 2):
                begin = time.perf_counter()
                found = theta(n_threads)
                spent = getattr(theta, "seconds", time.perf_counter() - begin)
                seconds.setdefault((name, n_threads), []).append(spent)
                quality[name] = perplexity(data, found, topics)
    tokens = data.observed.sum()
    lines = [
        "# Topics of unseen documents",
        "",
        f"{datetime.date.today()}, {processor()}, {os.cpu_count()} cores; Python {platform.python_version()}, steppe "
        f"{steppe.__version__}, {installed('scikit-learn')}, {installed('tomotopy')}, NumPy {np.__version__}. "
        f"{data.observed.shape[0]:,} documents of 100 words, K = {K}; best of {arguments.repeats} interleaved runs. "
        "steppe and scikit-learn have the same topics, tomotopy its own.",
        "",
        "| method | 1 thread, million words a second | 2 threads | times scikit-learn, 1 thread | 2 threads | perplexity |",
        "|---|---|---|---|---|---|",
    ]
    for name in ways:
        rates = [tokens / min(seconds[name, n]) / 1e6 for n in (1, 2)]
        times = [min(seconds["scikit-learn", n]) / min(seconds[name, n]) for n in (1, 2)]
        lines.append(
            f"| {name} | {rates[0]:.2f} | {rates[1]:.2f} | **{times[0]:.1f}** | **{times[1]:.1f}** | {quality[name]:.0f} |"
        )
    lines += ["", "Written by `python bench/peers/topic_inference.py`."]
    print("\n".join(lines))
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
