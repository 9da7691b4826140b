"""LatentDirichletAllocation under schedule "batch" and "svi", and on documents that come in pieces."""

import sys
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from sklearn.decomposition import LatentDirichletAllocation as BatchVB

from steppe.datasets import iter_bag_of_words, make_topics
from steppe.parallel import Cluster
from steppe.topics import LatentDirichletAllocation

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from reference import topics as reference

ALPHA, ETA = 0.2, 0.1


def corpus(n=150, n_words=60, k=4, length=50, seed=0):
    rng = np.random.default_rng(seed)
    theta, phi = rng.dirichlet(np.full(k, 0.2), size=n), rng.dirichlet(np.full(n_words, 0.1), size=k)
    return scipy.sparse.csr_array(rng.poisson(length * theta @ phi).astype(np.float64))


def model(k=4, **params):
    priors = {"doc_topic_prior": ALPHA, "topic_word_prior": ETA}
    return LatentDirichletAllocation(
        k, **{"random_state": 0, "tol": 0, "schedule": "batch", "max_iter": 30, **priors, **params}
    )


def bounds_of(**params):
    """The bound after each iteration, and the model."""
    seen = []
    fitted = model(**params, callbacks=lambda info: seen.append(-info.objective)).fit(corpus())
    return np.array(seen), fitted


@pytest.mark.parametrize("priors", [{}, {"doc_topic_prior": [0.1, 0.5, 0.2, 0.3]}])
def test_a_pass_is_the_oracles(priors):
    X = corpus()
    before = model(max_iter=5, **priors).fit(X)
    alpha, lam = np.array(before.doc_topic_prior_), before.components_.T
    coo = X.tocoo()
    assert before.bound_ == pytest.approx(reference.held_bound(coo, lam, alpha, ETA), rel=1e-10)
    expected = reference.settled_pass(coo, lam, alpha, ETA)
    after = before.set_params(warm_start=True, max_iter=1).fit(X)
    np.testing.assert_allclose(after.components_, expected.T, rtol=1e-9)


def test_the_bound_is_scikit_learns():
    X = corpus()
    fitted = model(max_iter=3).fit(X)
    theirs = BatchVB(4, doc_topic_prior=ALPHA, topic_word_prior=ETA, max_iter=1, mean_change_tol=1e-3).fit(X)
    theirs.components_ = fitted.components_
    theirs.exp_dirichlet_component_ = fitted.exp_dirichlet_component_
    gamma = reference.settled_gamma(X.tocoo(), fitted.components_.T, ALPHA)
    assert fitted.bound_ == pytest.approx(theirs._approx_bound(X, gamma, sub_sampling=False), rel=1e-10)


def test_the_bound_rises_to_a_fixed_point():
    bounds, fitted = bounds_of(max_iter=150)
    # A document may settle up to 1e-3 a topic before the maximum.
    assert (np.diff(bounds) >= -1e-7 * np.abs(bounds[-1])).all()
    assert bounds[-1] == pytest.approx(bounds[-10], rel=1e-6)
    lam = reference.settled_pass(corpus().tocoo(), fitted.components_.T, ALPHA, ETA)
    np.testing.assert_allclose(fitted.components_, lam.T, rtol=0.05, atol=0.05)


def test_extreme_inference_ends_no_worse_than_batch():
    batch = max(model(max_iter=100, random_state=seed).fit(corpus()).bound_ for seed in range(4))
    serial = max(model(max_iter=100, random_state=seed, schedule="serial").fit(corpus()).bound_ for seed in range(4))
    assert serial > 1.01 * batch, "bounds are negative: at most one per cent below"


def test_all_documents_in_one_step_at_full_rate_are_a_pass():
    batch = model(max_iter=4).fit(corpus())
    svi = model(max_iter=4, schedule="svi", batch_size=150, learning_decay=0.0).fit(corpus())
    np.testing.assert_array_equal(svi.components_, batch.components_)


def test_stochastic_inference_nears_batch_inference():
    batch = max(model(max_iter=100, random_state=seed).fit(corpus(1000)).bound_ for seed in range(3))
    svi = model(schedule="svi", batch_size=50, max_iter=40).fit(corpus(1000))
    assert svi.bound_ > 1.02 * batch, "bounds are negative: within two per cent"
    np.testing.assert_allclose(svi.components_.sum(), corpus(1000).sum() + 4 * 60 * ETA, rtol=0.05)


def fits_on_ranks(X, **params):
    """By layout: the models of the ranks."""

    def fit(cluster, cuts):
        return model(**params, cluster=cluster).fit(X[cuts[cluster.rank] : cuts[cluster.rank + 1]])

    for cuts in ([0, 75, 150], [0, 149, 150], [0, 50, 50, 150]):
        yield Cluster._threads(len(cuts) - 1, partial(fit, cuts=cuts), timeout=60)


def test_a_batch_does_not_depend_on_threads_or_ranks():
    X = corpus()
    alone = model(max_iter=20).fit(X)
    others = [model(max_iter=20, n_jobs=n_jobs).fit(X) for n_jobs in (2, 3)]
    for fitted in [*others, *chain.from_iterable(fits_on_ranks(X, max_iter=20))]:
        np.testing.assert_allclose(fitted.components_, alone.components_, rtol=1e-6)
        assert fitted.bound_ == pytest.approx(alone.bound_, rel=1e-11)


def test_stochastic_inference_on_ranks():
    """Where documents lie decides which steps they are drawn for, so bounds are compared as those of seeds are."""
    X = corpus()
    common = {"schedule": "svi", "batch_size": 50, "max_iter": 20}
    alone = min(model(**common, random_state=seed).fit(X).bound_ for seed in range(4))
    for fits in fits_on_ranks(X, **common):
        for fitted in fits:
            np.testing.assert_array_equal(fitted.components_, fits[0].components_)
            assert fitted.bound_ > 1.03 * alone, "bounds are negative: within 3 % of the worst of one process"


def test_added_documents_keep_what_earlier_ones_gave():
    X = corpus(400)
    batches = model()
    for first in range(0, 400, 100):
        batches.partial_fit(X[first : first + 100])
    np.testing.assert_allclose(batches.components_.sum(axis=0), X.sum(axis=0) + 4 * ETA, rtol=1e-9)


def test_empty_documents_and_unseen_words():
    X = corpus().toarray()
    X[[3, 70]] = 0
    X[:, 5] = 0
    whole = model().fit(X)
    np.testing.assert_allclose(whole.components_[:, 5], ETA, rtol=1e-12)
    np.testing.assert_allclose(whole.components_.sum(axis=0), X.sum(axis=0) + 4 * ETA, rtol=1e-9)
    np.testing.assert_array_equal(model().fit(np.delete(X, [3, 70], axis=0)).components_, whole.components_)


@pytest.mark.parametrize("schedule", ["batch", "svi"])
def test_refusals(schedule):
    with pytest.raises(ValueError, match="inference='vb'; with 'cvb0' choose"):
        model(schedule=schedule, inference="cvb0").fit(corpus())
    with pytest.raises(ValueError, match=r"top_k: .* pass top_k=None"):
        model(schedule=schedule, top_k=2).fit(corpus())
    with pytest.raises(ValueError, match="batch_size"):
        model(schedule=schedule, batch_size=0).fit(corpus())


@pytest.mark.parametrize("inference", ["vb", "cvb0"])
def test_a_file_in_pieces_teaches_about_what_the_whole_does(inference, tmp_path):
    X, _ = make_topics(1200, n_features=300, n_components=6, doc_topic_prior=0.1, topic_word_prior=0.05, random_state=0)
    train, held_out = X[:1000].astype(np.float32), X[1000:].astype(np.float32)
    path = tmp_path / "docword.txt"
    entries = train.tocoo()
    with path.open("w") as stream:
        stream.write(f"{train.shape[0]}\n{train.shape[1]}\n{train.nnz}\n")
        for d, v, count in zip(entries.row, entries.col, entries.data, strict=True):
            stream.write(f"{d + 1} {v + 1} {int(count)}\n")
    common = {"inference": inference, "schedule": "auto", "doc_topic_prior": 0.1, "topic_word_prior": 0.05}
    streamed, pieces = model(6, **common), 0
    for batch in iter_bag_of_words(path, batch_bytes=path.stat().st_size // 5):
        streamed.partial_fit(batch.astype(np.float32))
        pieces += 1
    assert pieces >= 5
    np.testing.assert_allclose(streamed.components_.sum(axis=0), train.sum(axis=0) + 6 * 0.05, rtol=1e-3)
    whole = model(6, **common, max_iter=50).fit(train)
    assert streamed.perplexity(held_out) < 1.1 * whole.perplexity(held_out)
