"""ITML and GMML on the ranks of an MPI job: the same bits as in one process."""

import numpy as np
import pytest

from steppe import _core
from steppe.metric import GMML, ITML


def labelled(n=240, d=8, seed=0):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(n, d)), rng.integers(0, 4, n)
    X[:, 0] += y
    return X, y


def own_rows(cluster, n):
    """Uneven shares; rank 1 of several has none."""
    cuts = np.linspace(0, n, cluster.size + 1).astype(int)
    if cluster.size > 2:
        cuts[2] = cuts[1]
    return slice(cuts[cluster.rank], cuts[cluster.rank + 1])


@pytest.mark.parametrize("n_features", [8, 400, 4100])  # whole on every rank, shared rows, factors
@pytest.mark.parametrize("solver", ["exact", "parallel"])
def test_itml_equals_one_process(cluster, n_features, solver):
    X, y = labelled(d=n_features)
    mine = own_rows(cluster, len(X))
    common = {"n_constraints": 120, "max_iter": 3, "tol": 0, "solver": solver, "random_state": 0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("steppe.parallel._warned_alone", True)
        alone = ITML(**common).fit(X, y)
    model = ITML(**common, cluster=cluster).fit(X[mine], y[mine])
    np.testing.assert_array_equal(model.dual_, alone.dual_)
    np.testing.assert_array_equal(model.transform(X[:5]), alone.transform(X[:5]))
    np.testing.assert_array_equal(model.history_["objective"], alone.history_["objective"])


@pytest.mark.parametrize("n_features", [8, 4100])
def test_gmml_equals_one_process(cluster, n_features):
    X, y = labelled(d=n_features)
    mine = own_rows(cluster, len(X))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("steppe.parallel._warned_alone", True)
        alone = GMML(n_constraints=60, random_state=0).fit(X, y)
    model = GMML(n_constraints=60, random_state=0, cluster=cluster).fit(X[mine], y[mine])
    np.testing.assert_array_equal(model.transform(X[:5]), alone.transform(X[:5]))


@pytest.mark.parametrize("solver", ["exact", "parallel"])
def test_shared_products_of_pairs(cluster, solver):
    """More pairs than every rank holds whole, of as many points: each rank has the rows of its own pairs."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(1000, 4100)).astype(np.float32)
    pairs, sign = rng.permutation(1000)[:900].reshape(450, 2), np.where(np.arange(450) % 2, 1, -1)
    assert _core.itml_form(900, 450, 4100) == "products"
    mine = own_rows(cluster, len(pairs))
    common = {"preprocessor": X, "bounds": (4000.0, 9000.0), "max_iter": 3, "tol": 0, "solver": solver}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("steppe.parallel._warned_alone", True)
        alone = ITML(**common).fit(pairs, sign)
    model = ITML(**common, n_jobs=2, cluster=cluster).fit(pairs[mine], sign[mine])
    np.testing.assert_array_equal(model.dual_, alone.dual_)
    np.testing.assert_array_equal(model.transform(X[:5]), alone.transform(X[:5]))


def test_bad_pairs_on_one_rank_are_bad_on_all(cluster):
    pairs, sign = np.random.default_rng(0).normal(size=(6, 2, 3)), np.array([1, 1, 1, -1, -1, -1])
    if cluster.rank == cluster.size - 1:
        sign = sign * 2
    with pytest.raises(ValueError, match=r"y: met 2"):
        ITML(cluster=cluster).fit(pairs, sign)
