"""Generator of documents with planted topics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from steppe.datasets._generators import _check_at_least_one, _csr, _generator

__all__ = ["TopicsTruth", "make_topics"]

_BLOCK = 1 << 16


@dataclass(frozen=True)
class TopicsTruth:
    """The distributions behind `make_topics`.

    Attributes
    ----------
    components : ndarray of shape (n_components, n_features)
        Probability of each word in each topic.
    doc_topic : ndarray of shape (n_samples, n_components)
        Probability of each topic in each document.
    """

    components: NDArray[np.float64]
    doc_topic: NDArray[np.float64]

    def perplexity(self, X: csr_array) -> float:
        """Return the perplexity of words X drawn for the same documents, such as a part of them held out.

        That is ``exp(-mean(log p))`` over the words, p being the probability that the word was drawn with. No
        model's expected value is lower.
        """
        counts = csr_array(X)
        documents = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
        words_first = np.ascontiguousarray(self.components.T)
        log_likelihood = 0.0
        for first in range(0, counts.nnz, _BLOCK):
            block = slice(first, first + _BLOCK)
            p = np.einsum("nk,nk->n", self.doc_topic[documents[block]], words_first[counts.indices[block]])
            log_likelihood += float(counts.data[block] @ np.log(p))
        return float(np.exp(-log_likelihood / counts.data.sum()))


def make_topics(
    n_samples: int = 50_000,
    n_features: int = 20_000,
    n_tokens: int = 200,
    n_components: int = 64,
    *,
    doc_topic_prior: float = 0.1,
    topic_word_prior: float = 0.01,
    dtype: Any = np.int32,
    random_state: Any = None,
) -> tuple[csr_array, TopicsTruth]:
    r"""Word counts of documents from latent Dirichlet allocation, and the topics behind them.

    A document draws its topics :math:`\theta_d \sim Dir(doc\_topic\_prior)`, each of its words a topic from
    them, and the word from that topic, :math:`\phi_k \sim Dir(topic\_word\_prior)`. The smaller the priors, the
    fewer topics a document has and the fewer words a topic. The work is that of sorting ``n_samples * n_tokens``
    numbers: about two seconds with the defaults.

    Parameters
    ----------
    n_samples, n_features, n_components : int, default=50000, 20000, 64
        Documents, words of the vocabulary, topics.
    n_tokens : int, default=200
        Words of each document, counted with repeats.
    doc_topic_prior : float, default=0.1
        Parameter of the symmetric Dirichlet distribution of each document's topics.
    topic_word_prior : float, default=0.01
        Parameter of the symmetric Dirichlet distribution of each topic's words.
    dtype : {np.int32, np.int64, np.float32, np.float64}, default=np.int32
        Type of the counts.
    random_state : int, Generator, RandomState or None, default=None
        The same integer gives the same documents.

    Returns
    -------
    X : csr_array of shape (n_samples, n_features)
        Counts, with sorted columns; each row sums to `n_tokens`.
    truth : TopicsTruth
        The planted topics, and the topics of each document.

    Raises
    ------
    ValueError
        A size is below one, or a prior is not positive and finite.

    Examples
    --------
    >>> from steppe.datasets import make_topics
    >>> X, truth = make_topics(100, 500, 40, 5, random_state=0)
    >>> X.shape, int(X.sum()), truth.components.shape, truth.doc_topic.shape
    ((100, 500), 4000, (5, 500), (100, 5))
    """
    _check_at_least_one(n_samples=n_samples, n_features=n_features, n_tokens=n_tokens, n_components=n_components)
    for name, prior in (("doc_topic_prior", doc_topic_prior), ("topic_word_prior", topic_word_prior)):
        if not 0 < prior < np.inf:
            raise ValueError(f"{name}: it must be positive and finite, got {prior}")

    rng = _generator(random_state)
    components = rng.dirichlet(np.full(n_features, topic_word_prior), size=n_components)
    doc_topic = rng.dirichlet(np.full(n_components, doc_topic_prior), size=n_samples)
    cells = np.sort(_cells(rng, components, rng.multinomial(n_tokens, doc_topic)))
    starts = np.flatnonzero(np.concatenate([[True], cells[1:] != cells[:-1]]))
    counts = np.diff(starts, append=len(cells))
    documents, words = np.divmod(cells[starts], n_features)
    X = _csr(counts.astype(dtype), words, np.bincount(documents, minlength=n_samples), n_features)
    return X, TopicsTruth(components, doc_topic)


def _cells(rng: np.random.Generator, components: NDArray[np.float64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Draw sizes[d, k] words of topic k for document d: their places in the matrix, unsorted."""
    n_components, n_features = components.shape
    documents = np.arange(len(sizes)) * n_features
    parts = []
    for topic in range(n_components):
        owners = np.repeat(documents, sizes[:, topic])
        # How often each word of the topic is drawn, then in which order: quicker than one search for each.
        words = np.repeat(np.arange(n_features), rng.multinomial(len(owners), components[topic]))
        parts.append(owners + rng.permutation(words))
    return np.concatenate(parts)
