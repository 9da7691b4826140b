"""Generators: the planted truth is in the data, and a seed fixes every bit."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression

from steppe.datasets import make_ratings, make_text_classification, make_topics, split_ratings


def same_matrix(A, B):
    assert A.shape == B.shape
    for left, right in ((A.indptr, B.indptr), (A.indices, B.indices), (A.data, B.data)):
        assert_array_equal(left, right)


def is_canonical(X):
    return csr_array((X.data, X.indices, X.indptr), shape=X.shape).has_canonical_format


@pytest.mark.parametrize("n_ratings", [1, 500, 3000, 5999, 6000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ratings_are_distinct_pairs(n_ratings, dtype):
    X, truth = make_ratings(100, 60, n_ratings, rank=5, dtype=dtype, random_state=1)
    assert X.shape == (100, 60) and X.nnz == n_ratings and is_canonical(X)
    assert X.dtype == truth.user_factors.dtype == truth.item_factors.dtype == dtype


def test_the_planted_spectrum_and_noise():
    X, truth = make_ratings(400, 300, 60_000, rank=4, decay=0.7, noise=0.3, dtype=np.float64, random_state=0)
    full = truth.user_factors @ truth.item_factors.T
    singular = np.linalg.svd(full, compute_uv=False)
    assert_allclose(singular[:4], truth.singular_values)
    assert_allclose(singular[1:4] / singular[:3], 0.7)
    assert_allclose(singular[4:], 0, atol=1e-9)
    assert_allclose(np.mean(full**2), 1)
    rows = np.repeat(np.arange(400), np.diff(X.indptr))
    residual = X.data - truth.predict(rows, X.indices)
    assert_allclose(truth.predict(rows, X.indices), full[rows, X.indices])
    assert_allclose(residual.std(), 0.3, rtol=0.02)
    assert_allclose(X.data.std(), np.sqrt(1.09), rtol=0.03)


def test_pairs_are_uniform():
    X, _ = make_ratings(50, 40, 1000, rank=1, random_state=3)
    counts = np.zeros((50, 40))
    for seed in range(60):
        X, _ = make_ratings(50, 40, 1000, rank=1, random_state=seed)
        counts += X.toarray() != 0
    assert_allclose(counts.mean(), 30)
    assert_allclose(counts.std(), np.sqrt(60 * 0.25), rtol=0.1)  # binomial


def test_split_keeps_every_rating():
    X, _ = make_ratings(50, 40, 1000, rank=2, random_state=0)
    train, test = split_ratings(X, 0.2, random_state=0)
    assert (train.nnz, test.nnz) == (800, 200) and is_canonical(train) and is_canonical(test)
    same_matrix(csr_array(train + test), X)
    same_matrix(split_ratings(X, 0.2, random_state=0)[1], test)
    with pytest.raises(ValueError, match="test_size"):
        split_ratings(X, 1.0)


def test_documents():
    X, y, truth = make_text_classification(2000, 4000, 25, 10, label_noise=0.2, norm=None, random_state=0)
    assert X.shape == (2000, 4000) and is_canonical(X)
    assert_array_equal(np.diff(X.indptr), 25)
    assert X.data.min() >= 1 and (X.data == np.round(X.data)).all()
    assert_allclose((y != truth.labels).mean(), 0.2, atol=0.03)
    assert_allclose((truth.predict(X) == truth.labels).mean(), 1, atol=0.05)
    assert set(np.unique(y)) == set(range(10))
    normed, y_normed, _ = make_text_classification(2000, 4000, 25, 10, label_noise=0.2, random_state=0)
    assert_array_equal(y_normed, y)
    assert_allclose(np.sqrt(normed.multiply(normed).sum(axis=1)), 1, rtol=1e-6)
    assert_array_equal(truth.predict(normed), truth.predict(X))


def test_a_linear_model_reaches_the_ceiling():
    X, y, _ = make_text_classification(3000, 2000, 40, 5, label_noise=0.1, dtype=np.float64, random_state=0)
    model = LogisticRegression(C=1.0, max_iter=200).fit(X[:2000], y[:2000])
    assert model.score(X[2000:], y[2000:]) > 0.86


def test_log_odds_are_those_of_the_documents():
    X, _, truth = make_text_classification(4000, 400, 20, 2, signal=0.5, label_noise=0, norm=None, random_state=0)
    for label in (0, 1):
        counts = X[truth.labels == label].sum(axis=0)
        often = counts > 400
        odds = counts[often] / counts.sum() / truth.background[often]
        planted = truth.coef[[label]].toarray().ravel()[often]
        assert planted.max() > 3 and planted.min() == 0
        assert_allclose(np.log(odds) - np.log(0.5), planted, atol=0.2)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float32, np.float64])
def test_topics_are_counts(dtype):
    X, truth = make_topics(300, 80, 50, 4, topic_word_prior=0.1, dtype=dtype, random_state=0)
    assert X.shape == (300, 80) and X.dtype == dtype and is_canonical(X)
    assert X.data.min() >= 1
    assert_array_equal(X.sum(axis=1), 50)
    assert_allclose(truth.components.sum(axis=1), 1)
    assert_allclose(truth.doc_topic.sum(axis=1), 1)
    same_matrix(make_topics(300, 80, 50, 4, topic_word_prior=0.1, random_state=0)[0].astype(dtype), X)


def test_words_follow_the_planted_topics():
    X, truth = make_topics(20, 30, 50_000, 3, doc_topic_prior=0.5, topic_word_prior=0.2, random_state=0)
    p = truth.doc_topic @ truth.components
    z_scores = (X.toarray() - 50_000 * p) / np.sqrt(50_000 * p * (1 - p) + 1e-9)
    assert_allclose(z_scores[p > 1e-3].std(), 1, atol=0.15)  # binomial
    entropy = -(X.toarray() * np.log(np.maximum(p, 1e-300))).sum() / X.sum()
    assert_allclose(truth.perplexity(X), np.exp(entropy))


def test_priors_say_how_concentrated_topics_are():
    _, truth = make_topics(2000, 1000, 10, 20, doc_topic_prior=0.3, topic_word_prior=0.05, random_state=0)
    # The second moment of a symmetric Dirichlet distribution.
    assert_allclose((truth.doc_topic**2).sum(axis=1).mean(), 1.3 / 7, rtol=0.05)
    assert_allclose((truth.components**2).sum(axis=1).mean(), 1.05 / 51, rtol=0.1)


@pytest.mark.parametrize("seed", [7, np.random.RandomState, np.random.default_rng])
def test_a_seed_fixes_every_bit(seed):
    def state():
        return seed if isinstance(seed, int) else seed(7)

    first, second = (make_ratings(60, 50, 800, 3, random_state=state()) for _ in range(2))
    same_matrix(first[0], second[0])
    assert_array_equal(first[1].user_factors, second[1].user_factors)
    first, second = (make_text_classification(50, 200, 10, 3, random_state=state()) for _ in range(2))
    same_matrix(first[0], second[0])
    assert_array_equal(first[1], second[1])
    first, second = (make_topics(50, 200, 10, 3, random_state=state()) for _ in range(2))
    same_matrix(first[0], second[0])
    assert_array_equal(first[1].components, second[1].components)


def test_seeds_differ():
    assert (make_ratings(60, 50, 800, 3)[0] != make_ratings(60, 50, 800, 3)[0]).nnz


@pytest.mark.parametrize(
    "make, options, message",
    [
        (make_ratings, {"n_ratings": 10**9}, "n_ratings"),
        (make_ratings, {"n_users": 0}, "n_users"),
        (make_ratings, {"rank": 6000}, "rank"),
        (make_ratings, {"decay": 0}, "decay"),
        (make_ratings, {"noise": -1}, "noise"),
        (make_text_classification, {"n_nonzero": 40_000}, "n_nonzero"),
        (make_text_classification, {"signal": 1}, "signal"),
        (make_text_classification, {"label_noise": -0.1}, "label_noise"),
        (make_text_classification, {"norm": "l1"}, "norm"),
        (make_text_classification, {"n_classes": 0}, "n_classes"),
        (make_topics, {"n_tokens": 0}, "n_tokens"),
        (make_topics, {"doc_topic_prior": 0}, "doc_topic_prior"),
        (make_topics, {"topic_word_prior": np.inf}, "topic_word_prior"),
    ],
)
def test_bad_options(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)
