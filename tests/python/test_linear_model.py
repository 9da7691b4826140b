"""MultinomialLogisticRegression against its definition, scikit-learn and itself."""

import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from sklearn.datasets import load_digits, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import steppe
from steppe import _core
from steppe._validation import native_rows
from steppe.linear_model import MultinomialLogisticRegression
from steppe.parallel import Cluster

sys.path.insert(0, str(Path(__file__).parent.parent))
from reference import multinomial as oracle

SOLVERS = ["ds_mlr", "softmax"]


def problem(n=150, d=12, k=7, *, sparse=False, dtype=np.float64, seed=0):
    """Rows drawn about class centres, with class 0 rare."""
    rng = np.random.default_rng(seed)
    y = np.concatenate([np.arange(k), rng.integers(0 if n < 50 else 1, k, size=n - k)])
    X = rng.normal(size=(k, d))[y] + 1.5 * rng.normal(size=(n, d))
    if sparse:
        X[rng.random(X.shape) < 0.6] = 0
    X = X.astype(dtype)
    return (scipy.sparse.csr_array(X) if sparse else X), y


def fit(X, y, alpha=1e-2, **params):
    sample_weight = params.pop("sample_weight", None)
    model = MultinomialLogisticRegression(alpha, **{"random_state": 0, "max_iter": 400, "tol": 0, **params})
    return model.fit(X, y, sample_weight)


def test_the_oracle_s_gradient_is_its_objective_s():
    X, y = problem(20, 4, 3)
    rng = np.random.default_rng(1)
    W, c = rng.normal(size=(3, 4)), rng.normal(size=3)
    dW, dc = oracle.gradient(W, c, X, y, 0.1)
    for place in np.ndindex(3, 5):
        step_W, step_c = np.zeros((3, 4)), np.zeros(3)
        if place[1] < 4:
            step_W[place] = 1e-6
        else:
            step_c[place[0]] = 1e-6
        above = oracle.objective(W + step_W, c + step_c, X, y, 0.1)
        below = oracle.objective(W - step_W, c - step_c, X, y, 0.1)
        assert (above - below) / 2e-6 == pytest.approx(np.hstack([dW, dc[:, None]])[place], abs=1e-7)


def test_serial_equals_the_oracle():
    X, y = problem(40, 6, 5)
    session = _core.multinomial_logistic_session(
        native_rows(X), y.astype(np.int32), np.ones(40), link=_core.LocalLink(), alpha=1e-2, solver="ds_mlr",
        fit_intercept=False, damping=1.0, n_classes=5, schedule="serial", n_threads=1, seed=123, total_weight=40.0,
    )  # fmt: skip
    for rounds in (1, 2, 3):
        session.advance(1)
        expected = oracle.dual_ascent(X, y, 5, 1e-2, [oracle.visit_order(40, 123, 0, r) for r in range(rounds)])
        np.testing.assert_allclose(session.result()["weights"].T, expected, atol=2e-4)
        assert session.objective() == pytest.approx(oracle.objective(expected, 0, X, y, 1e-2), rel=1e-4)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("solver", SOLVERS)
def test_reaches_the_optimum(solver, intercept, sparse):
    X, y = problem(sparse=sparse)
    weights = np.random.default_rng(2).random(len(y)) * (np.arange(len(y)) % 4 != 3) + (np.arange(len(y)) < 7)
    model = fit(X, y, solver=solver, fit_intercept=intercept, sample_weight=weights)
    dense = X.toarray() if sparse else X
    W, c, best = oracle.optimum(dense, y, 7, 1e-2, weights, intercept)
    assert model.history_["objective"][-1] == pytest.approx(best, rel=1e-8)
    np.testing.assert_allclose(model.coef_, W, atol=1e-4)
    np.testing.assert_allclose(model.intercept_ - model.intercept_.mean(), c - c.mean(), atol=1e-3)


@pytest.mark.parametrize("solver", SOLVERS)
def test_agrees_with_scikit_learn(solver):
    X, y = load_iris(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    ours = fit(X, y, alpha=1e-2, solver=solver)
    theirs = LogisticRegression(C=1 / (1e-2 * len(y)), tol=1e-10, max_iter=10000).fit(X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-4)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-4)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))


@pytest.mark.parametrize("schedule", ["serial", "bsp", "nomad", "hogwild"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_schedule_reaches_the_optimum(schedule, dtype):
    X, y = problem(200, 10, 40, dtype=dtype)
    _, _, best = oracle.optimum(X.astype(float), y, 40, 1e-2)
    model = fit(X, y, schedule=schedule, n_jobs=3)
    assert model.history_["objective"][-1] == pytest.approx(best, rel=1e-5 if dtype == np.float64 else 1e-4)
    assert model.history_["objective"][-1] == pytest.approx(
        oracle.objective(model.coef_, model.intercept_, X.astype(float), y, 1e-2), rel=1e-5
    )


@pytest.mark.parametrize("solver", SOLVERS)
def test_weights_mean_repeated_rows(solver):
    X, y = problem(80, 6, 4)
    times = np.random.default_rng(3).integers(0, 4, size=80)
    times[:4] = 1
    weighted = fit(X, y, solver=solver, sample_weight=times)
    repeated = fit(np.repeat(X, times, axis=0), np.repeat(y, times), solver=solver)
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, atol=1e-6)
    by_class = fit(X, y, solver=solver, class_weight={2: 3.0})
    by_row = fit(X, y, solver=solver, sample_weight=np.where(y == 2, 3.0, 1.0))
    np.testing.assert_allclose(by_class.coef_, by_row.coef_, atol=1e-6)
    balanced = fit(X, y, solver=solver, class_weight="balanced")
    theirs = LogisticRegression(C=1 / (1e-2 * len(y)), class_weight="balanced", tol=1e-10, max_iter=10000).fit(X, y)
    np.testing.assert_allclose(balanced.coef_, theirs.coef_, atol=1e-4)


def test_no_penalty_is_for_the_softmax_solver():
    X, y = problem(60, 3, 3)
    model = fit(X, y, alpha=0, solver="softmax", max_iter=1000)
    dW, _ = oracle.gradient(model.coef_, model.intercept_, X, y, 0)
    np.testing.assert_allclose(dW, 0, atol=1e-6)
    with pytest.raises(ValueError, match="alpha=0"):
        fit(X, y, alpha=0)


@pytest.mark.parametrize("sparse", [False, True])
def test_predictions_agree_with_each_other(sparse):
    X, y = problem(90, 8, 5, sparse=sparse)
    names = np.array(["ant", "bee", "cat", "dog", "eel"])
    model = fit(X, names[y], n_jobs=2)
    scores = model.decision_function(X)
    np.testing.assert_allclose(scores, X @ model.coef_.T + model.intercept_, rtol=1e-12)
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), model.predict_proba(X), rtol=1e-10)
    np.testing.assert_array_equal(model.predict(X), names[scores.argmax(axis=1)])
    labels, best = model.predict_topk(X, 3)
    np.testing.assert_allclose(best, -np.sort(-scores, axis=1)[:, :3], rtol=1e-12)
    np.testing.assert_array_equal(labels, names[np.argsort(-scores, axis=1)[:, :3]])
    assert model.score(X, names[y]) == np.mean(model.predict(X) == names[y])
    other = X.astype(np.float32)
    np.testing.assert_array_equal(model.predict(other), model.predict(X))
    for k in (0, 6, 1.5):
        with pytest.raises(ValueError, match="k"):
            model.predict_topk(X, k)


def test_equal_scores_give_the_first_class():
    X, y = problem(30, 4, 3)
    model = fit(X, y, max_iter=1)
    model.coef_, model.intercept_ = np.zeros((3, 4)), np.zeros(3)
    labels, _ = model.predict_topk(X, 3)
    np.testing.assert_array_equal(labels, np.tile(model.classes_, (30, 1)))


def test_two_classes():
    X, y = problem(50, 4, 2)
    model = fit(X, y)
    assert model.coef_.shape == (2, 4)
    theirs = LogisticRegression(C=2 / (1e-2 * 50), tol=1e-10, max_iter=10000).fit(X, y)  # their penalty is on w1 - w0
    np.testing.assert_allclose(model.decision_function(X), theirs.decision_function(X), atol=1e-3)


@pytest.mark.parametrize("solver", SOLVERS)
def test_warm_start_goes_on(solver):
    X, y = problem()
    model = fit(X, y, solver=solver, warm_start=True, max_iter=60)
    best = model.history_["objective"][-1]
    for alpha in (1e-2, 2e-2):
        model.set_params(alpha=alpha, max_iter=1).fit(X, y)
        cold = fit(X, y, alpha=alpha, solver=solver, max_iter=1).history_["objective"][0]
        assert model.history_["objective"][0] < cold
    model.set_params(alpha=1e-2, max_iter=200).fit(X, y)
    assert model.history_["objective"][-1] == pytest.approx(best, rel=1e-5)
    model.fit(X[:100], y[:100])  # other rows: from the beginning, or from W
    _, _, best = oracle.optimum(X[:100], y[:100], 7, 1e-2)
    assert model.history_["objective"][-1] == pytest.approx(best, rel=1e-5)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_partial_fit_learns_from_a_stream(n_jobs):
    X, y = problem(2000, 10, 5)
    model = MultinomialLogisticRegression(1e-3, random_state=0, n_jobs=n_jobs)
    for first in range(0, 2000, 200):
        model.partial_fit(X[first : first + 200], y[first : first + 200], classes=range(5))
    _, _, best = oracle.optimum(X, y, 5, 1e-3)
    assert oracle.objective(model.coef_, model.intercept_, X, y, 1e-3) < 1.35 * best
    assert model.weight_seen_ == 2000
    assert len(model.history_) == 10
    with pytest.raises(ValueError, match="not among the classes"):
        model.partial_fit(X, y + 1)
    before = oracle.objective(model.coef_, model.intercept_, X, y, 1e-3)
    full = fit(X, y, alpha=1e-3).partial_fit(X[:50], y[:50])
    assert oracle.objective(full.coef_, full.intercept_, X, y, 1e-3) < before


def test_bad_input_says_what_to_do():
    X, y = problem(40, 4, 3)
    with pytest.raises(ValueError, match="1 class"):
        fit(X, np.zeros(40))
    with pytest.raises(ValueError, match="learning_rate"):
        fit(X, y, learning_rate=2.0)
    with pytest.raises(ValueError, match="sample_weight"):
        fit(X, y, sample_weight=np.zeros(40))
    with pytest.raises(ValueError, match="class_weight"):
        fit(X, y, class_weight={9: 1.0})
    with pytest.raises(ValueError, match="solver"):
        fit(X, y, solver="newton")


def test_in_pipelines_and_searches():
    X, y = load_digits(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), MultinomialLogisticRegression(random_state=0, tol=1e-3))
    search = GridSearchCV(pipeline, {"multinomiallogisticregression__alpha": [1e-4, 1e-2]}, cv=2).fit(X, y)
    assert search.best_score_ > 0.9


def test_badly_scaled_rows_stay_finite():
    X, y = load_digits(return_X_y=True)
    for dtype in (np.float32, np.float64):
        model = fit(X.astype(dtype), y, alpha=1e-6, max_iter=20)
        assert np.isfinite(model.coef_).all()
        assert model.score(X, y) > 0.8


@pytest.mark.parametrize("cuts", [[0, 75, 150], [0, 150, 150], [0, 1, 60, 150]])
@pytest.mark.parametrize("schedule", ["bsp", "nomad", "auto"])
def test_ranks_reach_the_objective_of_one_process(cuts, schedule):
    X, y = problem(150, 12, 20)
    alone = fit(X, y, max_iter=300)

    def work(cluster):
        rows = slice(cuts[cluster.rank], cuts[cluster.rank + 1])
        model = fit(X[rows], y[rows], max_iter=300, schedule=schedule, cluster=cluster)
        return model.coef_, model.history_["objective"][-1]

    results = Cluster._threads(len(cuts) - 1, work, timeout=60)
    for coef, objective in results:
        np.testing.assert_array_equal(coef, results[0][0])
        assert objective == pytest.approx(alone.history_["objective"][-1], rel=1e-5)


def test_hogwild_does_not_span_ranks():
    X, y = problem(40, 4, 3)
    with pytest.raises(ValueError, match="hogwild"):
        Cluster._threads(2, lambda cluster: fit(X, y, schedule="hogwild", cluster=cluster), timeout=60)


def test_a_saved_model_predicts_alike(tmp_path):
    X, y = problem(60, 6, 4, sparse=True, dtype=np.float32)
    model = fit(X, y)
    model.save(tmp_path / "model")
    other = steppe.load(tmp_path / "model", mmap=True)
    np.testing.assert_array_equal(other.predict_proba(X), model.predict_proba(X))
    assert other.partial_fit(X, y).weight_seen_ == 120


def diverge(self):
    raise ValueError("diverged")


def test_a_failed_refit_leaves_the_last_model(monkeypatch):
    X, y = problem(60, 6, 4)
    model = fit(X, y, max_iter=3)
    before = model.predict_proba(X)
    with monkeypatch.context() as patch:
        patch.setattr("steppe._loop.FitLoop._train", diverge)
        with pytest.raises(ValueError, match="diverged"):
            model.fit(*problem(90, 9, 7))
        with pytest.raises(ValueError, match="diverged"):
            model.partial_fit(X, y)
    np.testing.assert_array_equal(model.predict_proba(X), before)
    assert model.weight_seen_ == 60


def test_partial_fit_after_one_that_failed(monkeypatch):
    X, y = problem(60, 6, 4)
    model = MultinomialLogisticRegression(1e-2, random_state=0)
    with monkeypatch.context() as patch:
        patch.setattr("steppe._loop.FitLoop._train", diverge)
        with pytest.raises(ValueError, match="diverged"):
            model.partial_fit(X, y)
    assert not hasattr(model, "classes_")
    assert model.partial_fit(X, y).weight_seen_ == 60


def test_ranks_start_warm_together_or_not_at_all():
    """Rows that changed in number on one rank: the duals of no rank are taken."""
    X, y = problem(150, 12, 5)

    def work(cluster):
        mine = slice(75 * cluster.rank, 75 * cluster.rank + 75)
        model = fit(X[mine], y[mine], max_iter=30, warm_start=True, cluster=cluster)
        fewer = slice(mine.start, mine.stop - 5 * cluster.rank)
        model.set_params(max_iter=1).fit(X[fewer], y[fewer])
        cold = fit(X[fewer], y[fewer], max_iter=1, cluster=cluster)
        np.testing.assert_array_equal(model.coef_, cold.coef_)

    Cluster._threads(2, work, timeout=20)


@pytest.mark.parametrize("schedule", ["bsp", "nomad"])
@pytest.mark.parametrize("sparse", [False, True])
def test_more_ranks_than_columns_and_classes(schedule, sparse):
    X, y = problem(80, 1, 2, sparse=sparse)
    alone = fit(X, y, max_iter=200)

    def work(cluster):
        rows = slice(20 * cluster.rank, 20 * cluster.rank + 20)
        return fit(X[rows], y[rows], max_iter=200, schedule=schedule, cluster=cluster).history_["objective"][-1]

    for objective in Cluster._threads(4, work, timeout=60):
        assert objective == pytest.approx(alone.history_["objective"][-1], rel=1e-5)
