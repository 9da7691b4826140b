"""MatrixFactorization on real ranks."""

import numpy as np
import pytest
import scipy.sparse

import steppe
from steppe.recommend import MatrixFactorization


def ratings(n_users=120, n_items=40):
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(n_users, 3)) @ rng.normal(size=(3, n_items))
    return scipy.sparse.csr_array(np.where(rng.random(truth.shape) < 0.4, truth, 0))


def fit(X, **params):
    return MatrixFactorization(4, **{"random_state": 0, "max_iter": 60, **params}).fit(X)


def shares_of(cluster, shares, n):
    """First row of each rank, and the end."""
    return {
        "equal": [n * rank // cluster.size for rank in range(cluster.size + 1)],
        "all on one": [0] + [n] * cluster.size,
        "one row on one": [0, 1] + [n] * (cluster.size - 1) if cluster.size > 1 else [0, n],
    }[shares]


@pytest.mark.parametrize(
    "params",
    [
        {"schedule": "bsp"},
        {"schedule": "nomad", "n_jobs": 2},
        {"solver": "als"},
        {"solver": "als", "nonnegative": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("shares", ["equal", "all on one", "one row on one"])
@pytest.mark.filterwarnings("ignore:.*ranks were started")
def test_ranks_reach_the_objective_of_one_process(cluster, params, shares, tmp_path):
    X = ratings()
    cuts = shares_of(cluster, shares, X.shape[0])
    mine = X[cuts[cluster.rank] : cuts[cluster.rank + 1]]
    alone = fit(X, **{**params, "schedule": "serial", "n_jobs": None})
    model = fit(mine, cluster=cluster, **params)
    reached = model.history_["objective"][-1]
    assert reached == pytest.approx(alone.history_["objective"][-1], rel=0.05)
    assert cluster.gather(reached) == [reached] * cluster.size
    for other in cluster.gather(model.item_factors_):
        np.testing.assert_array_equal(other, model.item_factors_)
    assert model.user_factors_.shape == (mine.shape[0], 4)

    path = cluster.broadcast(str(tmp_path / "model"))
    model.save(path)
    users = np.concatenate(cluster.gather(model.user_factors_))
    if cluster.rank == 0:
        whole = steppe.load(path)
        np.testing.assert_array_equal(whole.user_factors_, users)
        np.testing.assert_array_equal(whole.users_, np.arange(X.shape[0]))
        assert whole.score(X) < 0
    cluster.gather(None)


def test_more_ranks_than_items(cluster):
    X = ratings(30 * cluster.size, 2)
    mine = X[30 * cluster.rank : 30 * (cluster.rank + 1)]
    for schedule in ("bsp", "nomad"):
        assert np.isfinite(fit(mine, cluster=cluster, schedule=schedule).history_["objective"][-1])


def test_bad_ratings_on_one_rank_end_the_fit_on_all(cluster):
    X = ratings()
    if cluster.rank == cluster.size - 1:
        X.data[3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        fit(X, cluster=cluster)
