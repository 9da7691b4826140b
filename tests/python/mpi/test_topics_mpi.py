"""LatentDirichletAllocation on real ranks."""

import numpy as np
import pytest
import scipy.sparse

from steppe.topics import LatentDirichletAllocation


def corpus(n=120, n_words=40, k=3):
    rng = np.random.default_rng(0)
    theta, phi = rng.dirichlet(np.full(k, 0.2), size=n), rng.dirichlet(np.full(n_words, 0.1), size=k)
    return scipy.sparse.csr_array(rng.poisson(50 * theta @ phi).astype(np.float32))


def fit(X, **params):
    priors = {"doc_topic_prior": 0.2, "topic_word_prior": 0.1}
    return LatentDirichletAllocation(3, **{"random_state": 0, "max_iter": 40, "tol": 0, **priors, **params}).fit(X)


@pytest.mark.parametrize("inference", ["vb", "cvb0"])
@pytest.mark.parametrize("schedule", ["bsp", "nomad"])
@pytest.mark.parametrize("shares", ["equal", "all on one"])
@pytest.mark.filterwarnings("ignore:.*ranks were started")
def test_ranks_reach_the_bound_of_one_process(cluster, inference, schedule, shares):
    X = corpus()
    n = X.shape[0]
    cuts = [n * rank // cluster.size for rank in range(cluster.size + 1)]
    cuts = cuts if shares == "equal" else [0] + [n] * cluster.size
    mine = X[cuts[cluster.rank] : cuts[cluster.rank + 1]]
    alone = min(fit(X, inference=inference, random_state=seed).bound_ for seed in range(3))
    model = fit(mine, inference=inference, schedule=schedule, cluster=cluster)
    assert model.bound_ > 1.03 * alone, "bounds are negative"
    assert cluster.gather(model.bound_) == [model.bound_] * cluster.size
    for other in cluster.gather(model.components_):
        np.testing.assert_array_equal(other, model.components_)
    np.testing.assert_allclose(model.components_.sum(axis=0), X.sum(axis=0) + 0.3, rtol=1e-3)
    if shares == "equal":
        perplexity = model.perplexity(mine)
        model.cluster = None
        assert perplexity == model.perplexity(X), "equal for any number of ranks"


def test_a_bad_count_on_one_rank_ends_the_fit_on_all(cluster):
    X = corpus()
    if cluster.rank == cluster.size - 1:
        X.data[3] = -1
    with pytest.raises(ValueError, match="Negative"):
        fit(X, cluster=cluster)
