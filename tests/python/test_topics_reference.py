"""The oracles of topic models themselves: closed forms, scikit-learn's bound, bounds that rise, sums that are kept."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import coo_array
from scipy.special import gammaln
from sklearn.decomposition import LatentDirichletAllocation as Theirs

REFERENCE = Path(__file__).resolve().parents[1] / "reference" / "topics.py"
_spec = importlib.util.spec_from_file_location("topics", REFERENCE)
topics = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(topics)

ALPHA, ETA = 0.1, 0.05


def corpus(n_documents=40, n_words=60, n_topics=5, n_tokens=80, seed=0):
    """Counts of a planted corpus, and the planted topics."""
    rng = np.random.default_rng(seed)
    phi = rng.dirichlet(np.full(n_words, 0.1), size=n_topics)
    theta = rng.dirichlet(np.full(n_topics, 0.3), size=n_documents)
    return coo_array(rng.multinomial(n_tokens, theta @ phi).astype(float)), phi


def random_z(X, n_topics, seed=1):
    return np.random.default_rng(seed).dirichlet(np.ones(n_topics), size=X.nnz)


def state(X, z, alpha=ALPHA, eta=ETA):
    n_d, n_v = topics.sums(X, z)
    return alpha + n_d, eta + n_v


def log_dirichlet_multinomial(counts, prior):
    """log of the probability of a sequence of tokens with these counts, its distribution drawn from Dir(prior)."""
    prior = np.broadcast_to(prior, counts.shape)
    return gammaln(prior.sum()) - gammaln(prior.sum() + counts.sum()) + (gammaln(prior + counts) - gammaln(prior)).sum()


# --- one topic ---


def test_one_topic_has_a_closed_form():
    X, _ = corpus()
    words = X.toarray().sum(axis=0)
    for gamma, lam, z in (
        topics.batch_vb(X, random_z(X, 1), ALPHA, ETA, 3),
        (*state(X, np.ones((X.nnz, 1))), topics.batch_cvb0(X, random_z(X, 1), ALPHA, ETA, 3)),
    ):
        assert_allclose(z, 1)
        assert_allclose(gamma[:, 0], ALPHA + X.toarray().sum(axis=1))
        assert_allclose(lam[:, 0], ETA + words)
        # With one topic the bound is tight: the words are one Dirichlet multinomial sequence.
        assert_allclose(topics.elbo(X, gamma, lam, z, ALPHA, ETA), log_dirichlet_multinomial(words, ETA))
    phi = lam.T / lam.sum()
    observed, evaluated = topics.halves(X, 0)
    expected = np.exp(-(evaluated.toarray() @ np.log(phi[0])).sum() / evaluated.sum())
    assert_allclose(topics.completion_perplexity(observed, evaluated, phi, ALPHA), expected)
    unigram = np.full((1, X.shape[1]), 1 / X.shape[1])
    assert_allclose(topics.completion_perplexity(observed, evaluated, unigram, ALPHA), X.shape[1])


# --- the bound ---


@pytest.mark.parametrize("n_topics", [1, 2, 5])
def test_bound_and_perplexity_are_scikit_learns(n_topics):
    X, _ = corpus()
    model = Theirs(n_topics, doc_topic_prior=ALPHA, topic_word_prior=ETA, max_iter=3, random_state=0).fit(X.tocsr())
    gamma = model._unnormalized_transform(X.tocsr())
    lam = model.components_.T
    bound = topics.elbo(X, gamma, lam, topics.best_z(X, gamma, lam), ALPHA, ETA)
    assert_allclose(bound, model._approx_bound(X.tocsr(), gamma, sub_sampling=False), rtol=1e-10)
    assert_allclose(topics.bound_perplexity(X, gamma, lam, ALPHA, ETA), model.perplexity(X.tocsr()), rtol=1e-10)
    precise = model.set_params(max_doc_update_iter=1000, mean_change_tol=1e-12)._unnormalized_transform(X.tocsr())
    assert_allclose(topics.fold_in_vb(X, lam, ALPHA), precise, rtol=1e-6)


def test_bound_is_below_the_likelihood():
    # Two tokens, two topics: the likelihood is a sum over four assignments.
    X = coo_array(np.array([[1.0, 1.0]]))
    alpha, eta = np.array([0.3, 0.8]), 0.4
    likelihood = 0.0
    for first in range(2):
        for second in range(2):
            n_d, n_kv = np.zeros(2), np.zeros((2, 2))
            for word, topic in enumerate((first, second)):
                n_d[topic] += 1
                n_kv[topic, word] += 1
            log_words = sum(log_dirichlet_multinomial(row, eta) for row in n_kv)
            likelihood += np.exp(log_dirichlet_multinomial(n_d, alpha) + log_words)
    bounds = [
        topics.elbo(X, *topics.batch_vb(X, random_z(X, 2, seed), alpha, eta, 200), alpha, eta) for seed in range(5)
    ]
    assert max(bounds) < np.log(likelihood)


def test_z_maximise_the_bound():
    X, _ = corpus()
    z = random_z(X, 4)
    gamma, lam = state(X, z)
    best = topics.best_z(X, gamma, lam)
    at_best = topics.elbo(X, gamma, lam, best, ALPHA, ETA)
    for share in (0.01, 0.5, 1.0):
        assert topics.elbo(X, gamma, lam, (1 - share) * best + share * z, ALPHA, ETA) < at_best


# --- visits ---


def test_the_bound_never_falls():
    X, _ = corpus()
    z = random_z(X, 5)
    gamma, lam = state(X, z)
    total = lam.sum(axis=0)
    last = topics.elbo(X, gamma, lam, z, ALPHA, ETA)
    rng = np.random.default_rng(2)
    for v in np.concatenate([rng.permutation(X.shape[1]) for _ in range(10)]):
        topics.vb_visit(X, v, gamma, lam, total, z)
        bound = topics.elbo(X, gamma, lam, z, ALPHA, ETA)
        assert bound >= last - 1e-9 * abs(last)
        last = bound
    batch = [topics.elbo(X, *topics.batch_vb(X, random_z(X, 5), ALPHA, ETA, n), ALPHA, ETA) for n in (0, 1, 5, 10)]
    assert batch == sorted(batch) and last > batch[2]  # ten passes of visits are worth more than five batch passes


def test_visits_keep_the_sums():
    X, _ = corpus()
    z = random_z(X, 5)
    gamma, lam = state(X, z)
    total, z_vb, z_cvb0 = lam.sum(axis=0), z.copy(), z.copy()
    n_d, n_v = topics.sums(X, z)
    n = n_v.sum(axis=0)
    for v in np.random.default_rng(3).integers(X.shape[1], size=500):
        topics.vb_visit(X, v, gamma, lam, total, z_vb)
        topics.cvb0_visit(X, v, n_d, n_v, n, z_cvb0, ALPHA, ETA)
    assert_allclose(z_vb.sum(axis=1), 1)
    assert_allclose(z_cvb0.sum(axis=1), 1)
    for seen, expected in zip((gamma, lam), state(X, z_vb), strict=True):
        assert_allclose(seen, expected)
    for seen, expected in zip((n_d, n_v), topics.sums(X, z_cvb0), strict=True):
        assert_allclose(seen, expected, atol=1e-9)
    assert_allclose(total, lam.sum(axis=0))
    assert_allclose(n, n_v.sum(axis=0))


def test_a_visit_of_a_word_in_one_document_is_the_batch_update():
    # Nothing else has changed when it is visited, so its z are those of the pass over all entries at once.
    X = coo_array(np.diag([3.0, 2.0, 4.0]) + np.array([[0, 0, 0], [0, 0, 0], [1.0, 0, 0]]))
    for v, entry in ((1, 1), (2, 3)):
        z = random_z(X, 3)
        n_d, n_v = topics.sums(X, z)
        expected = topics.batch_cvb0(X, z, ALPHA, ETA, 1)[entry]
        topics.cvb0_visit(X, v, n_d, n_v, n_v.sum(axis=0), z, ALPHA, ETA)
        assert (X.col[entry], X.row[entry]) == (v, v)
        assert_allclose(z[entry], expected)
        z = random_z(X, 3)
        gamma, lam = state(X, z)
        expected = topics.best_z(X, gamma, lam)[entry]
        topics.vb_visit(X, v, gamma, lam, lam.sum(axis=0), z)
        assert_allclose(z[entry], expected)


def test_cvb0_of_two_tokens():
    # n_d - z = z of the other token, and so on: written out by hand.
    X = coo_array(np.array([[1.0, 1.0]]))
    z = np.array([[0.7, 0.3], [0.2, 0.8]])
    a, b = (0.2 + ALPHA) * ETA / (0.2 + 2 * ETA), (0.8 + ALPHA) * ETA / (0.8 + 2 * ETA)
    assert_allclose(topics.batch_cvb0(X, z, ALPHA, ETA, 1)[0], [a / (a + b), b / (a + b)])


# --- held-out perplexity ---


def test_halves():
    X, _ = corpus(n_tokens=81)
    first, second = topics.halves(X, 0)
    assert_array_equal((first + second).toarray(), X.toarray())
    assert_array_equal(first.sum(axis=1), 41)
    assert_array_equal(second.sum(axis=1), 40)
    assert_array_equal(topics.halves(X, 0)[0].toarray(), first.toarray())
    empty = coo_array(np.array([[0.0, 0.0], [1.0, 0.0]]))
    first, second = topics.halves(empty, 0)
    assert first.sum() == 1 and second.sum() == 0


def test_fold_in_is_the_maximum():
    X, phi = corpus()
    alpha = np.linspace(0.1, 0.5, len(phi))

    def objective(theta):
        return X.data @ np.log((theta @ phi)[X.row, X.col]) + (alpha * np.log(theta)).sum()

    theta = topics.fold_in(X, phi, alpha)
    assert_allclose(theta.sum(axis=1), 1)
    for seed in range(5):
        other = np.random.default_rng(seed).dirichlet(np.ones(len(phi)), size=len(theta))
        for share in (1e-4, 0.01, 1.0):
            assert objective((1 - share) * theta + share * other) < objective(theta)


def test_the_planted_topics_predict_best():
    X, phi = corpus(n_documents=400, seed=4)
    observed, evaluated = topics.halves(X, 0)
    at_truth = topics.completion_perplexity(observed, evaluated, phi, 0.3, 200)
    for share in (0.05, 0.3, 1.0):
        other = (1 - share) * phi + share / phi.shape[1]
        assert topics.completion_perplexity(observed, evaluated, other, 0.3, 200) > at_truth
