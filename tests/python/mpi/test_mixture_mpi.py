"""BayesianGaussianMixture on real ranks."""

import numpy as np
import pytest

from steppe.mixture import BayesianGaussianMixture
from steppe.parallel import Cluster


def fit(X, **params):
    common = {"n_components": 4, "covariance_type": "diag", "random_state": 0, "max_iter": 200, "tol": 0}
    return BayesianGaussianMixture(**{**common, **params}).fit(X)


def rows_of(cluster, n, shares):
    cuts = {
        "equal": [n * rank // cluster.size for rank in range(cluster.size + 1)],
        "all on one": [0] + [n] * cluster.size,
        "one row on one": [0, 1] + [n] * (cluster.size - 1) if cluster.size > 1 else [0, n],
    }[shares]
    return slice(cuts[cluster.rank], cuts[cluster.rank + 1])


@pytest.mark.parametrize(
    "params",
    [
        {"schedule": "batch"},
        {"schedule": "batch", "n_jobs": 2, "covariance_type": "full"},
        {"schedule": "bsp"},
        {"schedule": "nomad", "n_jobs": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("shares", ["equal", "all on one", "one row on one"])
def test_ranks_reach_the_bound_of_one_process(cluster, params, shares):
    rng = np.random.default_rng(0)
    X = 6 * rng.normal(size=(4, 3))[rng.integers(4, size=300)] + rng.normal(size=(300, 3))
    mine = X[rows_of(cluster, 300, shares)]
    model = fit(mine, cluster=cluster, **params)
    alone = fit(X, cluster=Cluster(), **{**params, "schedule": "serial"})
    assert model.lower_bound_ == pytest.approx(alone.lower_bound_, rel=1e-9)
    np.testing.assert_allclose(model.means_, alone.means_, atol=1e-4)
    for means, bound in cluster.gather((model.means_, model.lower_bound_)):
        np.testing.assert_array_equal(means, model.means_)
        assert bound == model.lower_bound_


def test_batch_takes_the_same_steps_as_one_process(cluster):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(200, 5))
    mine = X[rows_of(cluster, 200, "equal")]
    model = fit(mine, cluster=cluster, schedule="batch", max_iter=9)
    alone = fit(X, cluster=Cluster(), schedule="serial", max_iter=9)
    np.testing.assert_allclose(model.means_, alone.means_, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_stochastic_steps_and_batches_on_ranks(cluster, dtype):
    rng = np.random.default_rng(2)
    X = (5 * rng.normal(size=(4, 3))[rng.integers(4, size=2000)] + rng.normal(size=(2000, 3))).astype(dtype)
    mine = X[rows_of(cluster, 2000, "equal")]
    batch = fit(mine, cluster=cluster, schedule="batch")
    model = fit(mine, cluster=cluster, schedule="svi", batch_size=100, max_iter=20)
    assert model.lower_bound_ == pytest.approx(batch.lower_bound_, rel=5e-3)
    online = BayesianGaussianMixture(4, random_state=0, cluster=cluster)
    for part in np.array_split(mine, 2):
        online.partial_fit(part)
    assert online.weight_concentration_.sum() == pytest.approx(2001, rel=1e-5)
    assert len({means.tobytes() for means in cluster.gather(online.means_)}) == 1
