"""MultinomialLogisticRegression on real ranks."""

import numpy as np
import pytest

from steppe.linear_model import MultinomialLogisticRegression
from steppe.parallel import Cluster


def problem(n=150, d=12, k=20):
    rng = np.random.default_rng(0)
    y = np.concatenate([np.arange(k), rng.integers(k, size=n - k)])
    return rng.normal(size=(k, d))[y] + rng.normal(size=(n, d)), y


def fit(X, y, **params):
    return MultinomialLogisticRegression(1e-2, **{"random_state": 0, "max_iter": 200, "tol": 0, **params}).fit(X, y)


@pytest.mark.parametrize("schedule", ["bsp", "nomad"])
def test_more_ranks_than_columns(cluster, schedule):
    X, y = problem(60, 1, 2)
    rows = slice(60 * cluster.rank // cluster.size, 60 * (cluster.rank + 1) // cluster.size)
    model = fit(X[rows], y[rows], cluster=cluster, schedule=schedule)
    alone = fit(X, y, cluster=Cluster())
    assert model.history_["objective"][-1] == pytest.approx(alone.history_["objective"][-1], rel=1e-5)


@pytest.mark.parametrize(
    "params", [{"schedule": "bsp"}, {"schedule": "nomad", "n_jobs": 2}, {"solver": "softmax"}], ids=str
)
@pytest.mark.parametrize("shares", ["equal", "all on one", "one row on one"])
def test_ranks_reach_the_objective_of_one_process(cluster, params, shares):
    X, y = problem()
    cuts = {
        "equal": [150 * rank // cluster.size for rank in range(cluster.size + 1)],
        "all on one": [0] + [150] * cluster.size,
        "one row on one": [0, 1] + [150] * (cluster.size - 1) if cluster.size > 1 else [0, 150],
    }[shares]
    rows = slice(cuts[cluster.rank], cuts[cluster.rank + 1])
    model = fit(X[rows], y[rows], cluster=cluster, **params)
    alone = fit(X, y, cluster=Cluster())
    assert model.history_["objective"][-1] == pytest.approx(alone.history_["objective"][-1], rel=1e-5)
    for coef in cluster.gather(model.coef_):
        np.testing.assert_array_equal(coef, model.coef_)
    np.testing.assert_allclose(model.predict_proba(X), alone.predict_proba(X), atol=1e-2)
