"""LocalGMMLRanker against its oracle, its invariances, and awkward data."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from sklearn import config_context
from sklearn.model_selection import GridSearchCV, GroupKFold

import steppe
from steppe.metrics import ndcg_score
from steppe.parallel import Cluster
from steppe.ranking import LocalGMMLRanker

REFERENCE = Path(__file__).resolve().parents[1] / "reference"


def load(name):
    spec = importlib.util.spec_from_file_location(name, REFERENCE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


oracle, gmml = load("local_gmml"), load("gmml")
FULL = {"max_iter": 5, "tol": 0, "random_state": 0}


def documents(n_queries=40, d=6, seed=0, dtype=np.float64):
    """Queries of 5 to 14 documents; the grade rises with the nearness to a point, in three features."""
    rng = np.random.default_rng(seed)
    qid = np.repeat(rng.permutation(10 * n_queries)[:n_queries], rng.integers(5, 15, n_queries))
    X = rng.normal(size=(len(qid), d))
    near = -((X[:, :3] - 1) ** 2).sum(axis=1) + 0.3 * rng.normal(size=len(qid))
    y = np.digitize(near, np.quantile(near, [0.5, 0.75, 0.9]))
    return X.astype(dtype), y, qid


# --- what is computed ---


@pytest.mark.parametrize("form", ["score", "distance"])
def test_predict_is_the_score_of_the_oracle(form):
    X, y, qid = documents()
    model = LocalGMMLRanker(form=form, rho=0.7, **FULL).fit(X, y, qid)
    expected = oracle.score(X, model.anchors_, model.metrics_, model.weights_, 0.7, form)
    np.testing.assert_allclose(model.predict(X), expected, rtol=1e-10)
    assert (model.weights_ >= 0).all()
    assert model.weights_.any()


def test_anchors_are_relevant_documents_with_weight_one():
    X, y, qid = documents()
    model = LocalGMMLRanker(4, **FULL).fit(X, y, qid)
    for anchor, L in zip(model.anchors_, model.metrics_, strict=True):
        (row,) = np.flatnonzero((X == anchor).all(axis=1))
        assert y[row] > 0
        squared = oracle.squared_distances(X, anchor, L)
        assert squared[row] == 0
        assert np.exp(-0.5 * squared[row]) == 1
        in_training = np.isin(qid, [q for q in np.unique(qid) if len(set(y[qid == q])) > 1])
        assert np.sort(squared[in_training])[(in_training.sum() - 1) // 2] == pytest.approx(1)


@pytest.mark.parametrize("t", [0.0, 0.3, 0.5, 1.0])
def test_the_metric_is_the_geometric_mean_of_the_scatters(t):
    X, y, qid = documents()
    model = LocalGMMLRanker(1, t=t, reg=0.01, sample_size=10**6, **FULL).fit(X, y, qid)
    S, D = oracle.scatters(X, y, qid)
    reg = 0.01 * (np.trace(S) + np.trace(D)) / (2 * len(S))
    S, D = S + reg * np.eye(len(S)), D + reg * np.eye(len(D))
    root = np.real(gmml.sqrtm(S))
    inverse = np.linalg.inv(root)
    A = inverse @ np.real(gmml.fractional_matrix_power(root @ D @ root, t)) @ inverse
    learned = model.metrics_[0].T @ model.metrics_[0]
    np.testing.assert_allclose(learned / np.trace(learned), A / np.trace(A), atol=1e-9)


def test_the_best_anchor_is_chosen():
    X, y, qid = documents(6)  # fewer relevant documents than candidates: all are tried
    model = LocalGMMLRanker(1, sample_size=10**6, **FULL).fit(X, y, qid)
    relevant = np.flatnonzero(y > 0)
    assert len(relevant) <= 32
    values = []
    for a in relevant:
        others = np.arange(len(X)) != a
        squared = oracle.squared_distances(X, X[a], model.metrics_[0])
        values.append(ndcg_score(y[others], -squared[others], qid[others], 10))
    np.testing.assert_array_equal(model.anchors_[0], X[relevant[np.argmax(values)]])


def test_one_metric_ranks_by_the_distance_to_its_anchor():
    X, y, qid = documents()
    model = LocalGMMLRanker(1, **FULL).fit(X, y, qid)
    squared = oracle.squared_distances(X, model.anchors_[0], model.metrics_[0])
    np.testing.assert_array_equal(np.argsort(-model.predict(X)), np.argsort(squared))


def test_history_holds_the_loss_and_the_ndcg_of_the_oracle():
    X, y, qid = documents()
    model = LocalGMMLRanker(**FULL).fit(X, y, qid)
    scores = model.predict(X)
    np.testing.assert_allclose(model.history_["objective"][-1], oracle.warp_loss(scores, y, qid), rtol=1e-8)
    np.testing.assert_allclose(model.history_["ndcg"][-1], ndcg_score(y, scores, qid, 10), rtol=1e-10)


def test_it_ranks_better_than_chance_and_score_is_the_ndcg():
    X, y, qid = documents(120)
    train = np.isin(qid, np.unique(qid)[:80])
    model = LocalGMMLRanker(random_state=0).fit(X[train], y[train], qid[train])
    reached = model.score(X[~train], y[~train], qid[~train])
    assert reached == ndcg_score(y[~train], model.predict(X[~train]), qid[~train], 10)
    assert reached > 0.9 > ndcg_score(y[~train], np.zeros((~train).sum()), qid[~train], 10)


# --- what the result must not depend on ---


def same(one, other, rtol=0):
    for name in ("weights_", "anchors_"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=rtol)
    np.testing.assert_allclose(one.metrics_, other.metrics_, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("phi", ["shared", "per_query"])
def test_order_of_documents_and_names_of_queries(phi):
    X, y, qid = documents()
    model = LocalGMMLRanker(phi=phi, **FULL).fit(X, y, qid)
    shuffled = np.random.default_rng(1).permutation(len(X))
    same(model, LocalGMMLRanker(phi=phi, **FULL).fit(X[shuffled], y[shuffled], qid[shuffled]))
    names = np.array([f"q{q:05d}" for q in qid])
    same(model, LocalGMMLRanker(phi=phi, **FULL).fit(X[shuffled], y[shuffled], names[shuffled]))


@pytest.mark.parametrize("early_stopping", [False, True])
def test_threads_ranks_and_where_the_rows_lie(early_stopping):
    X, y, qid = documents()
    common = {"early_stopping": early_stopping, "validation_fraction": 0.3, "phi": "per_query", **FULL}
    alone = LocalGMMLRanker(**common).fit(X, y, qid)
    same(alone, LocalGMMLRanker(n_jobs=3, **common).fit(X, y, qid))
    scattered = np.random.default_rng(2).permutation(len(X))  # every query lies on all ranks

    def fit(cluster, n_jobs):
        mine = scattered[cluster.rank :: cluster.size]
        return LocalGMMLRanker(cluster=cluster, n_jobs=n_jobs, **common).fit(X[mine], y[mine], qid[mine])

    for n_ranks in (2, 3):
        for model in Cluster._threads(n_ranks, lambda cluster: fit(cluster, n_jobs=2)):
            same(model, alone, rtol=1e-9)
            np.testing.assert_allclose(model.query_weights_, alone.query_weights_, rtol=1e-9)


def test_sparse_rows_are_dense_rows():
    X, y, qid = documents()
    X[np.abs(X) < 0.5] = 0
    model = LocalGMMLRanker(**FULL).fit(X, y, qid)
    same(model, LocalGMMLRanker(**FULL).fit(scipy.sparse.csr_array(X), y, qid))
    np.testing.assert_array_equal(model.predict(scipy.sparse.csc_matrix(X)), model.predict(X))


def test_units_of_the_features_do_not_matter():
    X, y, qid = documents()
    model = LocalGMMLRanker(**FULL).fit(X, y, qid)
    other = LocalGMMLRanker(**FULL).fit(2.0**20 * X, y, qid)
    np.testing.assert_allclose(other.weights_, model.weights_, rtol=1e-6)
    np.testing.assert_allclose(other.predict(2.0**20 * X), model.predict(X), rtol=1e-6)


# --- options ---


def test_per_query_weights_and_their_mean():
    X, y, qid = documents()
    model = LocalGMMLRanker(phi="per_query", **FULL).fit(X, y, qid)
    assert model.query_weights_.shape == (40, 8)
    teaching = [len(set(y[qid == q])) > 1 for q in np.unique(qid)]
    np.testing.assert_allclose(model.query_weights_[teaching].mean(axis=0), model.weights_, rtol=1e-9)
    assert not hasattr(LocalGMMLRanker(**FULL).fit(X, y, qid), "query_weights_")


def test_early_stopping_keeps_the_best_weights():
    X, y, qid = documents(80)
    model = LocalGMMLRanker(
        early_stopping=True, validation_fraction=0.25, n_iter_no_change=2, max_iter=60, tol=1e-4, random_state=0
    ).fit(X, y, qid)
    ndcg = model.history_["ndcg"]
    watched = ndcg[~np.isnan(ndcg)]
    assert model.n_iter_ < 60
    best = LocalGMMLRanker(
        early_stopping=True, validation_fraction=0.25, max_iter=int(np.argmax(watched)) + 1, tol=0, random_state=0
    ).fit(X, y, qid)
    np.testing.assert_array_equal(model.weights_, best.weights_)


def test_weights_of_queries_and_documents():
    X, y, qid = documents()
    model = LocalGMMLRanker(**FULL).fit(X, y, qid)
    same(model, LocalGMMLRanker(**FULL).fit(X, y, qid, np.full(len(X), 2.0)), rtol=1e-5)
    kept = np.unique(qid)[::2]
    only = np.isin(qid, kept)
    weighted = LocalGMMLRanker(**FULL).fit(X, y, qid, group_weight=np.isin(np.unique(qid), kept).astype(float))
    by_rows = LocalGMMLRanker(**FULL).fit(X, y, qid, only.astype(float))
    same(weighted, by_rows)
    assert not np.array_equal(weighted.weights_, model.weights_)


def test_qid_is_routed():
    X, y, qid = documents(30)
    with config_context(enable_metadata_routing=True):
        ranker = (
            LocalGMMLRanker(random_state=0, max_iter=3, tol=0).set_fit_request(qid=True).set_score_request(qid=True)
        )
        search = GridSearchCV(ranker, {"rho": [0.5, 1.0]}, cv=GroupKFold(3), error_score="raise")
        search.fit(X, y, groups=qid, qid=qid)
    assert search.best_score_ > 0.5


def test_save_and_load(tmp_path):
    X, y, qid = documents(dtype=np.float32)
    model = LocalGMMLRanker(**FULL).fit(X, y, qid)
    model.save(tmp_path / "model")
    for loaded in (steppe.load(tmp_path / "model"), steppe.load(tmp_path / "model", mmap=True)):
        np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
        assert loaded.predict(X).dtype == np.float32


def test_warm_start_keeps_the_metrics():
    X, y, qid = documents()
    model = LocalGMMLRanker(warm_start=True, **FULL).fit(X, y, qid)
    anchors, metrics, weights = model.anchors_, model.metrics_, model.weights_
    model.set_params(random_state=5).fit(X, y, qid)
    np.testing.assert_array_equal(model.anchors_, anchors)
    np.testing.assert_array_equal(model.metrics_, metrics)
    assert not np.array_equal(model.weights_, weights)
    assert (
        LocalGMMLRanker(3, warm_start=True, **FULL).fit(X, y, qid).set_params(n_metrics=5).fit(X, y, qid).weights_.size
        == 5
    )


# --- awkward data ---


def test_queries_that_cannot_teach_change_nothing():
    X, y, qid = documents()
    model = LocalGMMLRanker(**FULL).fit(X, y, qid)
    more = np.vstack([X, np.random.default_rng(3).normal(size=(9, X.shape[1]))])
    grades = np.concatenate([y, [0, 0, 0, 2, 2, 2, 1, 0, 0]])  # none relevant, all alike, one document each
    ids = np.concatenate([qid, 10**6 + np.array([0, 0, 0, 1, 1, 1, 2, 3, 4])])
    same(model, LocalGMMLRanker(**FULL).fit(more, grades, ids))


def test_graded_documents_that_are_all_relevant_teach():
    X, y, qid = documents()
    assert LocalGMMLRanker(**FULL).fit(X, y + 1, qid).score(X, y, qid) > 0.8


def test_constant_features_and_identical_documents():
    X, y, qid = documents()
    model = LocalGMMLRanker(**FULL).fit(np.hstack([X, np.full((len(X), 3), 7.0)]), y, qid)
    scores = model.predict(np.hstack([X, np.full((len(X), 3), 7.0)]))
    assert np.isfinite(scores).all()
    assert ndcg_score(y, scores, qid, 10) > 0.8
    alike = LocalGMMLRanker(**FULL).fit(np.ones_like(X), y, qid)
    assert np.ptp(alike.predict(np.ones_like(X))) == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_far_documents_underflow_to_the_end(dtype):
    X, y, qid = documents(dtype=dtype)
    model = LocalGMMLRanker(**FULL).fit(X, y, qid)
    scores = model.predict(np.vstack([X, np.full((2, X.shape[1]), 1e6, dtype=dtype)]))
    assert np.isfinite(scores).all()
    assert (scores[-2:] == 0).all()
    assert (scores[:-2] >= 0).all()


def test_distances_that_overflow_are_bad_input():
    X, y, qid = documents(dtype=np.float32)
    with pytest.raises(ValueError, match="scale the features"):
        LocalGMMLRanker(**FULL).fit(X * np.float32(1e30), y, qid)
    model = LocalGMMLRanker(form="distance", **FULL).fit(X, y, qid)
    assert not np.isnan(model.predict(np.full((1, X.shape[1]), 1e30, dtype=np.float32))).any()


def test_many_more_features_than_documents():
    rng = np.random.default_rng(0)
    X, y, qid = rng.normal(size=(60, 300)), rng.integers(0, 3, 60), np.repeat(np.arange(6), 10)
    model = LocalGMMLRanker(**FULL).fit(X, y, qid)
    expected = oracle.score(X, model.anchors_, model.metrics_, model.weights_, 1.0)
    np.testing.assert_allclose(model.predict(X), expected, rtol=1e-9)
    np.testing.assert_allclose(model.history_["objective"][-1], oracle.warp_loss(expected, y, qid), rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"y": lambda y: y - 1}, "y: met the grade -1; grades of relevance must be 0 or more"),
        ({"y": lambda y: 0 * y + 1}, "y: no query has documents of different grades"),
        ({"y": lambda y: y * 1e4}, "overflows"),
        (
            {"qid": lambda qid: np.bincount(np.unique(qid, return_inverse=True)[1])},
            "give the query of each row, not sizes",
        ),
        ({"qid": lambda qid: np.arange(len(qid))}, "y: no query has documents of different grades"),
        ({"qid": lambda qid: np.where(qid == qid[0], np.nan, qid)}, "qid: contains NaN"),
        ({"sample_weight": lambda _: [1.0]}, "sample_weight: has shape"),
        ({"group_weight": lambda _: [1.0, 2.0]}, "group_weight: has shape"),
        ({"group_weight": lambda _: [-1.0] * 40}, "group_weight: contains negative"),
    ],
)
def test_bad_data_say_what_to_do(change, words):
    X, y, qid = documents()
    arguments = {"y": y, "qid": qid}
    for name, how in change.items():
        arguments[name] = how(arguments.get(name))
    with pytest.raises(ValueError, match=words):
        LocalGMMLRanker(**FULL).fit(X, **arguments)


@pytest.mark.parametrize(
    "bad",
    [{"n_metrics": 0}, {"rho": 0}, {"reg": 0}, {"t": 1.1}, {"form": "near"}, {"phi": "own"}, {"sample_size": 1},
     {"validation_fraction": 1.0}, {"n_iter_no_change": 0}, {"early_stopping": 2}],
)  # fmt: skip
def test_bad_parameters_are_named(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        LocalGMMLRanker(**bad).fit(*documents())


def test_qid_on_some_ranks_only():
    X, y, qid = documents()

    def fit(cluster):
        with pytest.raises(ValueError, match="qid: some ranks passed it"):
            LocalGMMLRanker(cluster=cluster, **FULL).fit(X, y, qid if cluster.rank else None)

    Cluster._threads(2, fit)
