"""Fits of the library's models that die on real ranks, and go on."""

import numpy as np
import pytest
from common_checks import assert_same_fit

from steppe.linear_model import MultinomialLogisticRegression
from steppe.parallel import ClusterError
from steppe.recommend import MatrixFactorization

MODELS = [
    (MatrixFactorization, {"n_factors": 4, "schedule": "bsp"}),
    (MatrixFactorization, {"n_factors": 4, "solver": "als"}),
    (MultinomialLogisticRegression, {"alpha": 1e-2, "schedule": "bsp"}),
    (MultinomialLogisticRegression, {"alpha": 1e-2, "solver": "softmax"}),
]


def share(cluster, model):
    rng = np.random.default_rng(0)
    y = np.concatenate([np.arange(6), rng.integers(6, size=94)])
    X = rng.normal(size=(6, 8))[y] + rng.normal(size=(100, 8))
    mine = slice(100 * cluster.rank // cluster.size, 100 * (cluster.rank + 1) // cluster.size)
    return (X[mine],) if model is MatrixFactorization else (X[mine], y[mine])


@pytest.mark.parametrize("model, params", MODELS, ids=str)
def test_a_job_that_died_resumes_bit_equal(cluster, tmp_path, monkeypatch, model, params):
    monkeypatch.setattr(model, "_checkpoint_seconds", 0.0)
    path = cluster.broadcast(tmp_path) / "c"
    data = share(cluster, model)
    common = {"max_iter": 6, "tol": 0, "random_state": 0, "cluster": cluster, **params}

    def die(info):
        if info.iteration == 4 and cluster.rank == cluster.size - 1:
            raise LookupError("died")

    with pytest.raises((LookupError, ClusterError), match="died"):
        model(**common, checkpoint=path, callbacks=die).fit(*data)
    seen = []
    resumed = model(**common, checkpoint=path, callbacks=lambda info: seen.append(info.iteration)).fit(*data)
    assert seen == [4, 5, 6]
    assert_same_fit(resumed, model(**common).fit(*data))


@pytest.mark.parametrize("model, params", MODELS, ids=str)
def test_parameters_that_differ_are_named_on_every_rank(cluster, model, params):
    if cluster.size == 1:
        pytest.skip("needs two ranks")
    last = cluster.rank == cluster.size - 1
    for name, value in {"max_iter": 9, "tol": 1e-3, "warm_start": True, "checkpoint": "c"}.items():
        mine = {**params, **({name: value} if last else {})}
        with pytest.raises(ValueError, match=f"^{name}: the ranks hold different values"):
            model(cluster=cluster, **mine).fit(*share(cluster, model))
