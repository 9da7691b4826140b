"""Generators with planted truth: what a perfect estimator would find is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

__all__ = [
    "RatingsTruth",
    "TextTruth",
    "make_ratings",
    "make_text_classification",
    "split_ratings",
]

# A class's own words: enough that a document shows several of them, few enough that each is seen in training.
_WORDS_PER_CLASS = 100


@dataclass(frozen=True)
class RatingsTruth:
    """The low-rank matrix behind `make_ratings`.

    Attributes
    ----------
    user_factors : ndarray of shape (n_users, rank)
        Orthogonal columns, scaled by the root of their singular value.
    item_factors : ndarray of shape (n_items, rank)
        Orthogonal columns, scaled by the root of their singular value.
    singular_values : ndarray of shape (rank,)
        Singular values of ``user_factors @ item_factors.T``, in falling order.
    noise : float
        Standard deviation of the noise on each rating: no estimator has a smaller expected RMSE on new
        ratings.
    """

    user_factors: NDArray[Any]
    item_factors: NDArray[Any]
    singular_values: NDArray[np.float64]
    noise: float

    def predict(self, users: ArrayLike, items: ArrayLike) -> NDArray[Any]:
        """Return the noiseless ratings of the pairs ``(users[n], items[n])``, shape (n_pairs,)."""
        rows, columns = np.asarray(users), np.asarray(items)
        expected: NDArray[Any] = np.einsum("nk,nk->n", self.user_factors[rows], self.item_factors[columns])
        return expected


@dataclass(frozen=True)
class TextTruth:
    """The word model behind `make_text_classification`.

    Attributes
    ----------
    coef : csr_array of shape (n_classes, n_features)
        Log-odds of each word against the background: ``argmax(X @ coef.T)`` is the best possible classifier
        of X.
    labels : ndarray of shape (n_samples,)
        Class of each document before labels were flipped.
    background : ndarray of shape (n_features,)
        Probability of each word outside any class.
    label_noise : float
        Share of flipped labels: no classifier's expected accuracy exceeds one minus this.
    """

    coef: csr_array
    labels: NDArray[np.int64]
    background: NDArray[np.float64]
    label_noise: float

    def predict(self, X: csr_array) -> NDArray[np.int64]:
        """Return the most probable class of each row of counts, shape (n_samples,)."""
        scores = csr_array(X) @ self.coef.T
        return np.asarray(scores.argmax(axis=1), dtype=np.int64).ravel()


def make_ratings(
    n_users: int = 20_000,
    n_items: int = 5_000,
    n_ratings: int = 2_000_000,
    rank: int = 32,
    *,
    decay: float = 0.85,
    noise: float = 0.3,
    dtype: type[np.float32] | type[np.float64] = np.float32,
    random_state: Any = None,
) -> tuple[csr_array, RatingsTruth]:
    r"""Ratings of distinct pairs of a user and an item, from a low-rank matrix and Gaussian noise.

    The matrix has singular values proportional to ``decay ** r``, ``r = 0 .. rank - 1``, and entries of mean
    square one, so ratings have the standard deviation :math:`\sqrt{1 + noise^2}` (1.04 with the defaults).
    All pairs are equally likely. The work is that of sorting ``n_ratings`` numbers, plus ``n_ratings * rank``
    multiplications.

    Parameters
    ----------
    n_users, n_items : int, default=20000, 5000
        Shape of the matrix.
    n_ratings : int, default=2000000
        Number of observed pairs, at most ``n_users * n_items``.
    rank : int, default=32
        Rank of the planted matrix, at most ``min(n_users, n_items)``.
    decay : float, default=0.85
        Ratio of successive singular values, in (0, 1].
    noise : float, default=0.3
        Standard deviation of the noise.
    dtype : {np.float32, np.float64}, default=np.float32
        Type of the ratings and of the factors.
    random_state : int, Generator, RandomState or None, default=None
        The same integer gives the same ratings.

    Returns
    -------
    X : csr_array of shape (n_users, n_items)
        The ratings, with sorted columns.
    truth : RatingsTruth
        The planted factors.

    Raises
    ------
    ValueError
        A size is below one, or more pairs or ranks are asked for than there are.

    Examples
    --------
    >>> from steppe.datasets import make_ratings
    >>> X, truth = make_ratings(100, 50, 2000, rank=3, random_state=0)
    >>> X.shape, X.nnz, truth.user_factors.shape
    ((100, 50), 2000, (100, 3))
    """
    _check_at_least_one(n_users=n_users, n_items=n_items, n_ratings=n_ratings, rank=rank)
    if n_ratings > n_users * n_items:
        raise ValueError(f"n_ratings: {n_ratings} distinct pairs were asked for, but there are {n_users * n_items}")
    if rank > min(n_users, n_items):
        raise ValueError(f"rank: {rank} is more than min(n_users, n_items) = {min(n_users, n_items)}")
    if not 0 < decay <= 1:
        raise ValueError(f"decay: it must be in (0, 1], got {decay}")
    if not noise >= 0:
        raise ValueError(f"noise: it must not be negative, got {noise}")

    rng = _generator(random_state)
    spectrum = decay ** np.arange(rank, dtype=np.float64)
    spectrum *= np.sqrt(n_users * n_items) / np.linalg.norm(spectrum)
    truth = RatingsTruth(
        (_orthonormal(rng, n_users, rank) * np.sqrt(spectrum)).astype(dtype),
        (_orthonormal(rng, n_items, rank) * np.sqrt(spectrum)).astype(dtype),
        spectrum,
        float(noise),
    )
    pairs = _distinct(rng, n_users * n_items, n_ratings)
    users, items = np.divmod(pairs, n_items)
    values = np.empty(n_ratings, dtype=dtype)
    for first in range(0, n_ratings, 1 << 16):  # the gathered factors of one block stay in the cache
        block = slice(first, first + (1 << 16))
        values[block] = truth.predict(users[block], items[block])
    values += noise * rng.standard_normal(n_ratings, dtype=dtype)
    return _csr(values, items, np.bincount(users, minlength=n_users), n_items), truth


def split_ratings(X: csr_array, test_size: float = 0.1, *, random_state: Any = None) -> tuple[csr_array, csr_array]:
    """Split the stored entries of a sparse matrix at random, for fitting and for measuring.

    Parameters
    ----------
    X : sparse array of shape (n_users, n_items)
        The ratings; a stored zero is a rating.
    test_size : float, default=0.1
        Share of the entries that are held out, in (0, 1).
    random_state : int, Generator, RandomState or None, default=None
        The same integer gives the same split.

    Returns
    -------
    X_train, X_test : csr_array of shape (n_users, n_items)
        Disjoint, and together all entries of X.
    """
    if not 0 < test_size < 1:
        raise ValueError(f"test_size: it must be between 0 and 1, got {test_size}")
    ratings = csr_array(X)
    held_out = np.zeros(ratings.nnz, dtype=bool)
    held_out[_distinct(_generator(random_state), ratings.nnz, round(test_size * ratings.nnz))] = True
    rows = np.repeat(np.arange(ratings.shape[0]), np.diff(ratings.indptr))
    parts = []
    for chosen in (~held_out, held_out):
        counts = np.bincount(rows[chosen], minlength=ratings.shape[0])
        parts.append(_csr(ratings.data[chosen], ratings.indices[chosen], counts, ratings.shape[1]))
    return parts[0], parts[1]


def make_text_classification(
    n_samples: int = 20_000,
    n_features: int = 50_000,
    n_nonzero: int = 60,
    n_classes: int = 200,
    *,
    signal: float = 0.3,
    label_noise: float = 0.1,
    norm: Literal["l2"] | None = "l2",
    dtype: type[np.float32] | type[np.float64] = np.float32,
    random_state: Any = None,
) -> tuple[csr_array, NDArray[np.int64], TextTruth]:
    r"""Word counts of documents of known classes, with a linear rule that classifies them best.

    Words follow Zipf's law, :math:`p(w) \propto 1 / (1 + w)`, over the vocabulary in a random order. Each
    class prefers some words of its own: a document of class c draws every word from :math:`(1 - signal)\,p +
    signal\,q_c`, until it holds `n_nonzero` distinct words. The log-odds of the classes are then linear in
    the counts. Finally a share `label_noise` of the labels is replaced by other classes.

    Parameters
    ----------
    n_samples, n_features, n_classes : int, default=20000, 50000, 200
        Documents, words of the vocabulary, classes.
    n_nonzero : int, default=60
        Distinct words of each document, at most a quarter of `n_features`.
    signal : float, default=0.3
        Share of words drawn for the class, in [0, 1).
    label_noise : float, default=0.1
        Share of labels flipped, in [0, 1).
    norm : {"l2", None}, default="l2"
        Scale each row of counts to length one, or leave the counts.
    dtype : {np.float32, np.float64}, default=np.float32
        Type of the values.
    random_state : int, Generator, RandomState or None, default=None
        The same integer gives the same documents.

    Returns
    -------
    X : csr_array of shape (n_samples, n_features)
        Term frequencies or counts, with sorted columns and `n_nonzero` entries a row.
    y : ndarray of shape (n_samples,), int64
        Labels ``0 .. n_classes - 1``, some of them flipped.
    truth : TextTruth
        The planted log-odds and the labels before flipping.

    Raises
    ------
    ValueError
        A size is below one, a share outside its interval, or too many distinct words are asked for.

    Examples
    --------
    >>> from steppe.datasets import make_text_classification
    >>> X, y, truth = make_text_classification(500, 2000, 20, 5, random_state=0)
    >>> X.shape, X.nnz, float((truth.predict(X) == truth.labels).mean()) > 0.9
    ((500, 2000), 10000, True)
    """
    _check_at_least_one(n_samples=n_samples, n_features=n_features, n_nonzero=n_nonzero, n_classes=n_classes)
    if n_nonzero * 4 > n_features:
        raise ValueError(f"n_nonzero: {n_nonzero} is more than a quarter of n_features={n_features}; use fewer words")
    for name, share in (("signal", signal), ("label_noise", label_noise)):
        if not 0 <= share < 1:
            raise ValueError(f"{name}: it must be in [0, 1), got {share}")
    if norm not in ("l2", None):
        raise ValueError(f"norm: it must be 'l2' or None, got {norm!r}")

    rng = _generator(random_state)
    words = _WordModel(rng, n_features, n_classes, signal)
    labels = rng.integers(n_classes, size=n_samples)
    documents, columns, counts = words.documents(rng, labels, n_nonzero)
    values: NDArray[Any] = counts.astype(dtype)
    if norm == "l2":
        lengths = np.sqrt(np.bincount(documents, weights=counts**2))
        values = (counts / lengths[documents]).astype(dtype)
    X = _csr(values, columns, np.bincount(documents, minlength=n_samples), n_features)
    y = labels.copy()
    if n_classes > 1:
        flipped = rng.random(n_samples) < label_noise
        shift = rng.integers(1, n_classes, size=n_samples)  # never back to the same class
        y[flipped] = (labels[flipped] + shift[flipped]) % n_classes
    return X, y, TextTruth(words.log_odds(), labels, words.background, float(label_noise))


class _WordModel:
    """Zipfian background, and for each class a Zipfian distribution over a few words of its own."""

    def __init__(self, rng: np.random.Generator, n_features: int, n_classes: int, signal: float) -> None:
        size = min(_WORDS_PER_CLASS, n_features)
        self.signal = signal
        self.by_rank = rng.permutation(n_features)  # the word at each rank of the background
        self.rank_mass = _zipf(n_features)
        self.own_mass = _zipf(size)
        self.own_words = np.stack([rng.choice(n_features, size, replace=False) for _ in range(n_classes)])
        self.background = np.empty(n_features)
        self.background[self.by_rank] = self.rank_mass

    def draw(self, rng: np.random.Generator, labels: NDArray[np.int64], n_words: int) -> NDArray[np.int64]:
        """Words of documents with these labels, shape (n_documents, n_words)."""
        shape = (len(labels), n_words)
        words: NDArray[np.int64] = self.by_rank[_inverse_cdf(self.rank_mass, rng.random(shape))]
        own = rng.random(shape) < self.signal
        rank = _inverse_cdf(self.own_mass, rng.random(int(own.sum())))
        words[own] = self.own_words[labels[np.nonzero(own)[0]], rank]
        return words

    def documents(
        self, rng: np.random.Generator, labels: NDArray[np.int64], n_nonzero: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Draw words until each document holds n_nonzero distinct ones: (document, word, count), sorted."""
        parts = []
        rows = np.arange(len(labels))
        n_words = n_nonzero + n_nonzero // 2
        while len(rows):
            words = self.draw(rng, labels[rows], n_words)
            document, word, count, whole = _until_distinct(words, n_nonzero)
            keep = whole[document]
            parts.append((rows[document[keep]], word[keep], count[keep]))
            rows, n_words = rows[~whole], 2 * n_words
        document, word, count = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        order = np.argsort(document, kind="stable")
        return document[order], word[order], count[order]

    def log_odds(self) -> csr_array:
        """log(p_c / p) up to log(1 - signal), which all classes share and which therefore decides nothing."""
        n_classes, size = self.own_words.shape
        odds = np.log1p(self.signal * self.own_mass / ((1 - self.signal) * self.background[self.own_words]))
        shape = (n_classes, len(self.background))
        coef = csr_array((odds.ravel(), self.own_words.ravel(), np.arange(n_classes + 1) * size), shape=shape)
        coef.sort_indices()
        return coef


def _until_distinct(words: NDArray[np.int64], n_distinct: int) -> tuple[NDArray[Any], ...]:
    """Read each row until n_distinct words were met: (row, word, count) sorted, and which rows had enough."""
    n_words = words.shape[1]
    order = np.argsort(words, axis=1, kind="stable")
    ordered = np.take_along_axis(words, order, axis=1)
    opens = np.ones(words.shape, dtype=bool)  # in word order: the first time this word is read
    opens[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    is_new = np.empty_like(opens)
    np.put_along_axis(is_new, order, opens, axis=1)
    met = np.cumsum(is_new, axis=1)
    read = np.take_along_axis(met <= n_distinct, order, axis=1)
    # A word's repeats follow its first reading, so a group is read as a leading part: add what is read of
    # each group.
    group = np.cumsum(opens.ravel()) - 1
    counts = np.bincount(group, weights=read.ravel()).astype(np.int64)
    starts = np.flatnonzero(opens.ravel())
    kept = counts > 0
    starts = starts[kept]
    return starts // n_words, ordered.ravel()[starts], counts[kept], met[:, -1] >= n_distinct


def _csr(values: NDArray[Any], columns: NDArray[Any], row_sizes: NDArray[Any], n_columns: int) -> csr_array:
    offsets = np.zeros(len(row_sizes) + 1, dtype=np.int64)
    np.cumsum(row_sizes, out=offsets[1:])
    small = max(n_columns, len(values)) <= np.iinfo(np.int32).max  # scipy wants one type for both
    index = np.int32 if small else np.int64
    return csr_array(
        (values, columns.astype(index, copy=False), offsets.astype(index, copy=False)),
        shape=(len(row_sizes), n_columns),
    )


def _distinct(rng: np.random.Generator, population: int, size: int) -> NDArray[np.int64]:
    """Sorted random subset of ``range(population)``: draw with repeats, drop those, thin out the excess."""
    if 2 * size > population:  # choose what to leave out instead
        absent = np.ones(population, dtype=bool)
        absent[_distinct(rng, population, population - size)] = False
        return np.flatnonzero(absent)
    chosen = np.empty(0, dtype=np.int64)
    while len(chosen) < size:
        missing = size - len(chosen)
        excess = int(missing * (1.0 + 1.5 * size / population)) + 16
        drawn = np.sort(np.concatenate([chosen, rng.integers(population, size=excess)]))
        is_new = np.concatenate([[True], drawn[1:] != drawn[:-1]])
        chosen = drawn[is_new]  # np.unique hashes, which is several times slower
    if len(chosen) > size:
        chosen = np.delete(chosen, rng.choice(len(chosen), len(chosen) - size, replace=False))
    return chosen


def _orthonormal(rng: np.random.Generator, rows: int, columns: int) -> NDArray[np.float64]:
    return np.asarray(np.linalg.qr(rng.standard_normal((rows, columns)))[0], dtype=np.float64)


def _zipf(size: int) -> NDArray[np.float64]:
    mass: NDArray[np.float64] = 1.0 / np.arange(1, size + 1)
    return np.asarray(mass / mass.sum())


def _inverse_cdf(mass: NDArray[np.float64], uniform: NDArray[np.float64]) -> NDArray[np.int64]:
    cumulative = np.cumsum(mass)
    found = np.searchsorted(cumulative, uniform * cumulative[-1], side="right")
    return np.asarray(np.minimum(found, len(mass) - 1))


def _generator(random_state: Any) -> np.random.Generator:
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(0, 2**31, size=4))
    return np.random.default_rng(random_state)


def _check_at_least_one(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name}: it must be at least 1, got {size}")
