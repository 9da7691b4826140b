"""LatentDirichletAllocation: bounds, perplexity, priors, batches, and what it must refuse."""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from scipy.special import psi
from sklearn.decomposition import LatentDirichletAllocation as BatchVB

from steppe.parallel import Cluster
from steppe.topics import LatentDirichletAllocation

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from reference import topics as reference


def corpus(n=150, n_words=60, k=4, length=50, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    phi = rng.dirichlet(np.full(n_words, 0.1), size=k)
    theta = rng.dirichlet(np.full(k, 0.2), size=n)
    return scipy.sparse.csr_array(rng.poisson(length * theta @ phi).astype(dtype))


def model(k=4, **params):
    return LatentDirichletAllocation(
        k, **{"random_state": 0, "max_iter": 60, "tol": 0, "doc_topic_prior": 0.2, "topic_word_prior": 0.1, **params}
    )


def halves(X):
    """Every second token of each document, in the order of words, and the others."""
    observed, evaluated = [], []
    for row in X.toarray():
        tokens = np.repeat(np.arange(X.shape[1]), row.astype(int))
        observed.append(np.bincount(tokens[0::2], minlength=X.shape[1]))
        evaluated.append(np.bincount(tokens[1::2], minlength=X.shape[1]))
    return tuple(scipy.sparse.coo_array(np.array(half, dtype=np.float64)) for half in (observed, evaluated))


@pytest.mark.parametrize("inference", ["vb", "cvb0"])
@pytest.mark.parametrize("top_k", [None, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_mass_is_that_of_the_words(inference, top_k, dtype):
    X = corpus(dtype=dtype)
    fitted = model(inference=inference, top_k=top_k).fit(X)
    assert fitted.components_.dtype == dtype
    np.testing.assert_allclose(
        fitted.components_.sum(axis=0), X.sum(axis=0) + 4 * 0.1, rtol=1e-3 if dtype == np.float32 else 1e-9
    )
    theta = fitted.transform(X)
    assert theta.shape == (150, 4)
    np.testing.assert_allclose(theta.sum(axis=1), 1, rtol=1e-5)


def test_bound_agrees_with_scikit_learn_on_the_same_parameters():
    """At a fixed point the bound of z is the bound with the best z, which scikit-learn reckons from gamma and lambda."""
    X = corpus()
    fitted = model(max_iter=1500).fit(X)
    other = BatchVB(4, doc_topic_prior=0.2, topic_word_prior=0.1, max_doc_update_iter=2000, mean_change_tol=1e-9)
    other.fit(X)
    other.components_, other.exp_dirichlet_component_ = fitted.components_, fitted.exp_dirichlet_component_
    gamma = reference.fold_in_vb(X.tocoo(), fitted.components_.T, 0.2)
    theirs = other._approx_bound(X, gamma, sub_sampling=False)
    # Gamma is folded in anew, and a few documents have more than one best gamma: it may be better or worse than ours.
    assert fitted.bound_ == pytest.approx(theirs, rel=1e-5)


def test_mean_field_ends_at_a_fixed_point_of_batch_vb():
    X = corpus().tocoo()
    fitted = model(max_iter=1500).fit(X.tocsr())
    gamma = reference.fold_in_vb(X, fitted.components_.T, 0.2)
    z = reference.best_z(X, gamma, fitted.components_.T)
    moved = 0.1 + reference.sums(X, z)[1].T
    # Folding in starts anew, and a few documents have more than one best gamma.
    assert np.abs(moved - fitted.components_).sum() < 0.01 * X.data.sum()


def test_cvb0_ends_at_a_fixed_point_of_synchronous_cvb0():
    """Passes of the oracle from our topics do not leave them, nor gain on them."""
    X = corpus().tocoo()
    fitted = model(inference="cvb0", max_iter=1000).fit(X.tocsr())
    phi = fitted.components_ / fitted.components_.sum(axis=1, keepdims=True)
    theta = reference.fold_in(X, phi, 0.2)
    z = theta[X.row] * phi.T[X.col]
    z = reference.batch_cvb0(X, z / z.sum(axis=1, keepdims=True), 0.2, 0.1, 200)
    moved = 0.1 + reference.sums(X, z)[1].T
    assert np.abs(moved - fitted.components_).sum() < 0.02 * X.data.sum()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_perplexity_is_document_completion(dtype):
    X, held_out = corpus(dtype=dtype), corpus(seed=0, dtype=dtype)[:40]
    fitted = model(inference="cvb0").fit(X)
    phi = fitted.components_ / fitted.components_.sum(axis=1, keepdims=True)
    expected = reference.completion_perplexity(*halves(held_out), phi.astype(np.float64), 0.2)
    assert fitted.perplexity(held_out) == pytest.approx(expected, rel=1e-3)
    assert fitted.score(held_out) == pytest.approx(-np.log(expected), rel=1e-3)
    parts = [held_out[:7], held_out[7:7], held_out[7:]]
    for n in (1, 2, 3):
        shares = parts if n == 3 else [held_out] if n == 1 else [held_out[:13], held_out[13:]]

        def evaluate(cluster, shares=shares):
            one = model(inference="cvb0", cluster=cluster)
            vars(one).update({name: vars(fitted)[name] for name in vars(fitted) if name.endswith("_")})
            return one.perplexity(shares[cluster.rank])

        if all(share.shape[0] for share in shares):
            assert Cluster._threads(n, evaluate, timeout=60) == [fitted.perplexity(held_out)] * n


@pytest.mark.parametrize("inference", ["vb", "cvb0"])
def test_transform_is_the_oracles_fold_in(inference):
    X = corpus()
    fitted = model(inference=inference).fit(X)
    if inference == "vb":
        gamma = reference.fold_in_vb(X.tocoo(), fitted.components_.T, 0.2)
        expected = gamma / gamma.sum(axis=1, keepdims=True)
    else:
        phi = fitted.components_ / fitted.components_.sum(axis=1, keepdims=True)
        expected = reference.fold_in(X.tocoo(), phi, 0.2)
    np.testing.assert_allclose(fitted.transform(X), expected, atol=0.02)
    for n_jobs in (1, 3):
        np.testing.assert_array_equal(fitted.set_params(n_jobs=n_jobs).transform(X), fitted.transform(X))


def test_cvb0_finds_planted_topics_and_trails_nobody():
    X, held_out = corpus(600, length=80), corpus(600, length=80, seed=0)[:100]
    theirs = BatchVB(4, doc_topic_prior=0.2, topic_word_prior=0.1, max_iter=60, random_state=0).fit(X)
    other = model()
    other.components_, other.doc_topic_prior_, other.n_features_in_ = theirs.components_, 0.2, X.shape[1]
    best = min(model(inference="cvb0", random_state=seed).fit(X).perplexity(held_out) for seed in range(3))
    assert best < 1.02 * other.perplexity(held_out)
    assert min(model(random_state=seed).fit(X).perplexity(held_out) for seed in range(3)) < 1.08 * best


@pytest.mark.parametrize("inference", ["vb", "cvb0"])
def test_schedules_reach_bounds_alike(inference):
    X = corpus()
    alone = [model(inference=inference, random_state=seed).fit(X).bound_ for seed in range(4)]
    for schedule in ("bsp", "nomad"):
        reached = [
            model(inference=inference, random_state=seed, schedule=schedule, n_jobs=3).fit(X).bound_
            for seed in range(4)
        ]
        assert max(reached) >= min(alone) + 0.02 * min(alone), "bounds are negative: within 2 % of the worst of serial"


@pytest.mark.parametrize("inference", ["vb", "cvb0"])
def test_keeping_topics(inference):
    X = corpus()
    whole = model(inference=inference).fit(X)
    np.testing.assert_array_equal(model(inference=inference, top_k=4).fit(X).components_, whole.components_)
    bounds = [model(inference=inference, top_k=3, random_state=seed).fit(X).bound_ for seed in range(4)]
    assert max(bounds) == pytest.approx(whole.bound_, rel=0.03)


def test_one_topic():
    X = corpus()
    for inference in ("vb", "cvb0"):
        fitted = model(1, inference=inference, max_iter=2).fit(X)
        np.testing.assert_allclose(fitted.components_[0], X.sum(axis=0) + 0.1, rtol=1e-12)
        np.testing.assert_array_equal(fitted.transform(X), np.ones((150, 1)))
        phi = fitted.components_[0] / fitted.components_.sum()
        evaluated = halves(X)[1]
        assert fitted.score(X) == pytest.approx(evaluated.sum(axis=0) @ np.log(phi) / evaluated.sum(), rel=1e-12)


def test_empty_documents_unseen_words_and_few_tokens():
    X = corpus().tolil()
    X[3], X[:, 7] = 0, 0
    X = X.tocsr()
    for inference in ("vb", "cvb0"):
        fitted = model(9, inference=inference, doc_topic_prior=np.arange(1, 10) / 20).fit(X)
        np.testing.assert_allclose(fitted.components_[:, 7], 0.1, rtol=1e-12)
        np.testing.assert_allclose(fitted.transform(X)[3], np.arange(1, 10) / 45, rtol=1e-6)
        unseen = scipy.sparse.csr_array(([5.0], ([0], [7])), shape=(1, 60))
        assert np.isfinite(fitted.perplexity(unseen))
        single = scipy.sparse.csr_array(([1.0], ([0], [2])), shape=(1, 60))
        with pytest.raises(ValueError, match="two tokens"):
            fitted.perplexity(single)
    with pytest.raises(ValueError, match="no word at all"):
        model().fit(scipy.sparse.csr_array((4, 5), dtype=np.float64))
    assert np.isfinite(model(30).fit(X[:5]).bound_)


def test_asymmetric_priors():
    X = corpus()
    eta = np.full(60, 0.1)
    eta[5] = 30.0
    fitted = model(inference="cvb0", topic_word_prior=eta).fit(X)
    assert (fitted.components_[:, 5] >= 30).all()
    np.testing.assert_array_equal(fitted.topic_word_prior_, eta)
    same = model(doc_topic_prior=[0.2] * 4, topic_word_prior=[0.1] * 60).fit(X)
    np.testing.assert_array_equal(same.components_, model().fit(X).components_)
    for name, value in (
        ("doc_topic_prior", [0.1, 0.2]),
        ("topic_word_prior", [1.0, -1.0]),
        ("doc_topic_prior", np.inf),
    ):
        with pytest.raises(ValueError, match=name):
            model(**{name: value}).fit(X)


@pytest.mark.parametrize("inference", ["vb", "cvb0"])
def test_batches_add_up(inference):
    X = corpus(400)
    batches = model(inference=inference)
    for first in range(0, 400, 100):
        batches.partial_fit(X[first : first + 100])
    assert batches.n_iter_ == 4
    np.testing.assert_allclose(batches.components_.sum(axis=0), X.sum(axis=0) + 0.4, rtol=1e-9)
    whole = model(inference=inference).fit(X)
    assert batches.perplexity(X) < 1.25 * whole.perplexity(X)
    with pytest.raises(ValueError, match="n_components"):
        batches.set_params(n_components=7).partial_fit(X)


@pytest.mark.parametrize("inference", ["vb", "cvb0"])
def test_ranks(inference):
    X = corpus()

    def fit(cluster, cuts, schedule):
        one = model(inference=inference, cluster=cluster, schedule=schedule)
        return one.fit(X[cuts[cluster.rank] : cuts[cluster.rank + 1]])

    alone = min(model(inference=inference, random_state=seed).fit(X).bound_ for seed in range(4))
    for schedule in ("bsp", "nomad"):
        for cuts in ([0, 150], [0, 75, 150], [0, 149, 150], [0, 50, 50, 150]):
            fits = Cluster._threads(len(cuts) - 1, partial(fit, cuts=cuts, schedule=schedule), timeout=120)
            for fitted in fits:
                np.testing.assert_array_equal(fitted.components_, fits[0].components_)
                assert fitted.bound_ == fits[0].bound_
                assert fitted.bound_ > 1.03 * alone, "bounds are negative: within 3 % of the worst of one process"
                np.testing.assert_allclose(fitted.components_.sum(axis=0), X.sum(axis=0) + 0.4, rtol=1e-9)


def test_refusals():
    X = corpus()
    with pytest.raises(ValueError, match="Negative values"):
        model().fit(-X)
    with pytest.raises(ValueError, match="inference"):
        model(inference="gibbs").fit(X)


def test_attributes():
    fitted = model().fit(corpus())
    expected = np.exp(psi(fitted.components_) - psi(fitted.components_.sum(axis=1, keepdims=True)))
    np.testing.assert_allclose(fitted.exp_dirichlet_component_, expected)
    assert fitted.bound_ == -fitted.history_["objective"][-1]
    assert list(fitted.get_feature_names_out()) == [f"latentdirichletallocation{k}" for k in range(4)]
