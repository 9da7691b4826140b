"""SemiDiscreteOT on real ranks."""

import numpy as np
import pytest

from steppe.ot import SemiDiscreteOT
from steppe.parallel import Cluster


@pytest.mark.parametrize("params", [{}, {"reg": 0.3}, {"n_jobs": 2}, {"cost": "euclidean"}], ids=str)
@pytest.mark.parametrize("shares", ["equal", "all on one", "one row on one"])
def test_ranks_reach_the_dual_of_one_process(cluster, params, shares):
    rng = np.random.default_rng(0)
    X, sites = rng.normal(size=(3000, 4)), rng.normal(size=(20, 4))
    cuts = {
        "equal": [3000 * rank // cluster.size for rank in range(cluster.size + 1)],
        "all on one": [0] + [3000] * cluster.size,
        "one row on one": [0, 1] + [3000] * (cluster.size - 1) if cluster.size > 1 else [0, 3000],
    }[shares]
    mine = X[cuts[cluster.rank] : cuts[cluster.rank + 1]]
    model = SemiDiscreteOT(sites, tol=1e-3, cluster=cluster, **params).fit(mine)
    alone = SemiDiscreteOT(sites, tol=1e-3, cluster=Cluster(), **params).fit(X)
    assert model.cost_ == pytest.approx(alone.cost_, rel=1e-5)
    assert model.mass_error_ <= 1e-3
    if "reg" not in params:
        np.testing.assert_allclose(model.votes_, np.bincount(model.predict(X), minlength=20) / 3000, atol=1e-12)
    for fitted in cluster.gather((model.potential_, model.gradient_, model.cost_)):
        np.testing.assert_array_equal(fitted[0], model.potential_)
        np.testing.assert_array_equal(fitted[1], model.gradient_)
        assert fitted[2] == model.cost_


def test_barycentre_of_measures_on_different_ranks(cluster):
    """Each rank may hold a measure of its own."""
    rng = np.random.default_rng(1)
    X, sites = rng.normal(size=(600, 2)), rng.normal(size=(8, 2))
    measures = np.arange(600) // 200
    mine = measures % cluster.size == cluster.rank
    common = {"free_weights": True, "tol": 1e-3}
    model = SemiDiscreteOT(sites, cluster=cluster, **common).fit(X[mine], measures=measures[mine])
    alone = SemiDiscreteOT(sites, cluster=Cluster(), **common).fit(X, measures=measures)
    assert model.cost_ == pytest.approx(alone.cost_, rel=1e-4)
    np.testing.assert_allclose(model.weights_, alone.weights_, atol=1e-2)
