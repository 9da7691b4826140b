"""Sliced Wasserstein distances on real ranks."""

import numpy as np
import pytest

from steppe.ot import sliced_wasserstein_distance, sorted_targets


def own(rows, cluster):
    """Shares that grow with the rank."""
    cuts = [len(rows) * rank**2 // cluster.size**2 for rank in range(cluster.size + 1)]
    return rows[cuts[cluster.rank] : cuts[cluster.rank + 1]]


@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-5), (np.float64, 1e-12)])
@pytest.mark.parametrize("m", [500, 300])
def test_distance_and_targets_are_those_of_one_process(cluster, m, dtype, tolerance):
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(500, 20)).astype(dtype), rng.normal(size=(m, 20)).astype(dtype)
    mine, theirs = own(X, cluster), own(Y, cluster)
    alone = sliced_wasserstein_distance(X, Y, n_projections=70, random_state=3)
    value = sliced_wasserstein_distance(mine, theirs, n_projections=70, random_state=3, n_jobs=2, cluster=cluster)
    assert value == pytest.approx(alone, rel=tolerance)
    assert cluster.gather(value) == [value] * cluster.size
    targets = sorted_targets(mine, theirs, cluster=cluster)
    np.testing.assert_array_equal(np.concatenate(cluster.gather(targets)), sorted_targets(X, Y))


def test_bad_rows_on_one_rank_end_the_call_on_all(cluster):
    X = np.ones((4, 3))
    if cluster.rank == cluster.size - 1:
        X[0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        sliced_wasserstein_distance(X, np.ones((4, 3)), cluster=cluster)
