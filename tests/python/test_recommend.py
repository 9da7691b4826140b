"""MatrixFactorization against its oracle, and its verbs against their definitions."""

import sys
from functools import partial
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from sklearn.base import clone

import steppe
from steppe.parallel import Cluster
from steppe.recommend import MatrixFactorization

sys.path.insert(0, str(Path(__file__).parents[1] / "reference"))
import matrix_factorization as oracle


def planted(n_users=120, n_items=50, k=3, density=0.4, noise=0.2, seed=0, dtype=np.float64):
    """A COO matrix of ratings around 3 with some users and items that have none."""
    rng = np.random.default_rng(seed)
    truth = 3 + rng.normal(size=(n_users, k)) @ rng.normal(size=(k, n_items)) / np.sqrt(k)
    truth += 0.3 * rng.normal(size=(n_users, 1)) + 0.3 * rng.normal(size=n_items)
    given = rng.random(truth.shape) < density
    given[5], given[:, 7] = False, False
    u, j = np.nonzero(given)
    return scipy.sparse.coo_array(((truth[u, j] + noise * rng.normal(size=len(u))).astype(dtype), (u, j)), truth.shape)


def frame(R, user="u{:03d}", item="i{:03d}"):
    users, items = [user.format(u) for u in R.row], [item.format(j) for j in R.col]
    return pd.DataFrame({"user": users, "item": items, "value": R.data})


@pytest.fixture(scope="module")
def R():
    return planted()


@pytest.fixture(scope="module")
def model(R):
    return MatrixFactorization(4, random_state=0, max_iter=30).fit(R)


def factors_of(model):
    return model.user_factors_, model.item_factors_, model.user_bias_, model.item_bias_, model.mean_


def table_of(model):
    W, H, bu, bi, mean = factors_of(model)
    return mean + bu[:, None] + bi + W @ H.T


@pytest.mark.parametrize("reg_weighting", ["count", "plain"])
@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize("solver", ["sgd", "als"])
def test_history_holds_the_documented_objective(R, solver, biases, reg_weighting):
    model = MatrixFactorization(4, solver=solver, biases=biases, reg=0.1, reg_weighting=reg_weighting, max_iter=3)
    model.fit(R)
    expected = oracle.objective(R, *factors_of(model), 0.1, reg_weighting == "plain")
    assert model.history_["objective"][-1] == pytest.approx(expected)
    assert biases or not model.user_bias_.any()


@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize("plain", [True, False])
def test_als_reaches_what_exact_least_squares_reach(R, biases, plain):
    reg = 2.0 if plain else 0.1
    params = {"reg": reg, "reg_weighting": "plain" if plain else "count", "biases": biases, "random_state": 1}
    start = MatrixFactorization(3, solver="als", max_iter=1, **params).fit(R)
    W, H, bu, bi, mean = (np.array(part) for part in factors_of(start))
    oracle.als(R, W, H, bu, bi, mean, reg, 60, plain, biases)
    ours = MatrixFactorization(3, solver="als", max_iter=61, **params).fit(R)
    best = oracle.objective(R, W, H, bu, bi, mean, reg, plain)
    assert ours.history_["objective"][-1] == pytest.approx(best, rel=1e-4)


@pytest.mark.parametrize("schedule", ["serial", "bsp", "nomad", "hogwild"])
def test_sgd_ends_within_2_percent_of_als(R, schedule):
    als = MatrixFactorization(3, solver="als", reg=0.1, max_iter=60).fit(R)
    sgd = MatrixFactorization(3, reg=0.1, max_iter=150, schedule=schedule, n_jobs=2, random_state=2).fit(R)
    assert sgd.history_["objective"][-1] == pytest.approx(als.history_["objective"][-1], rel=0.02)


def test_one_visit_is_the_oracles():
    """One item, so one visit an epoch, from known factors: the numbers are those of the NumPy visit."""
    n, k, c = 15, 5, 0.0
    rng = np.random.default_rng(4)
    values = rng.normal(size=n)
    X = scipy.sparse.csr_array(values[:, None])
    for biases in (False, True):
        model = MatrixFactorization(k, reg=0.05, biases=biases, max_iter=1, random_state=3).fit(X)
        W, H, bu, bi, mean = (np.array(part) for part in factors_of(model))
        c = model.scale_ if biases else 0.0
        step = 0.3 * 0.6 / model.scale_
        bi[0], _ = oracle.sgd_visit(np.arange(n), values, W, H[0], bu, bi[0], mean, step, 0.05, 0.05, c)
        model.partial_fit(X)
        for ours, theirs in zip(factors_of(model)[:4], (W, H, bu, bi), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("biases", [False, True])
def test_an_epoch_is_plain_sgd_in_some_order_of_the_items(biases):
    """Users whom the items share carry what one visit changed into the next: only the true order gives these numbers."""
    n, k, n_items = 12, 5, 4
    values = np.random.default_rng(4).normal(size=(n, n_items))
    R = scipy.sparse.csr_array(np.where(np.arange(n)[:, None] % n_items == np.arange(n_items), 0, values))
    model = MatrixFactorization(k, reg=0.05, biases=biases, max_iter=1, random_state=3).fit(R)
    start = [np.array(part) for part in factors_of(model)]
    c = model.scale_ if biases else 0.0
    step = 0.3 * 0.6 / model.scale_
    ours = factors_of(model.partial_fit(R))[:4]

    def distance(order):
        W, H, bu, bi, mean = (np.array(part) for part in start)
        for j in order:
            users = np.flatnonzero(R[:, [j]].toarray())
            visit = (users, values[users, j], W, H[j], bu, bi[j], mean, step, 0.05, 0.05, c)
            bi[j], _ = oracle.sgd_visit(*visit)
        return max(np.abs(one - other).max() for one, other in zip(ours, (W, H, bu, bi), strict=True))

    distances = sorted(distance(order) for order in permutations(range(n_items)))
    assert distances[0] < 1e-12
    assert distances[1] > 1e-6


@pytest.mark.parametrize("solver", ["sgd", "als"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_recovers_a_planted_factorisation(solver, dtype):
    R = planted(200, 60, noise=0, dtype=dtype)
    model = MatrixFactorization(5, solver=solver, reg=1e-6, max_iter=600, learning_rate=3.0, random_state=0).fit(R)
    assert -model.score(R) < 1e-3


@pytest.mark.parametrize("solver", ["sgd", "als"])
def test_nonnegative(solver):
    rng = np.random.default_rng(0)
    X = rng.random((60, 3)) @ rng.random((3, 30))
    model = MatrixFactorization(4, solver=solver, nonnegative=True, biases=False, reg=1e-5, max_iter=300).fit(X)
    assert (model.user_factors_ >= 0).all()
    assert (model.item_factors_ >= 0).all()
    assert model.mean_ == 0
    assert -model.score(X) < 0.03


def test_predict_and_score_are_the_documented_products(R, model):
    table = table_of(model)
    np.testing.assert_allclose(model.predict(R.row, R.col), table[R.row, R.col])
    np.testing.assert_allclose(model.predict(3, [1, 2]), table[3, [1, 2]])
    assert model.score(R) == pytest.approx(-np.sqrt(np.mean((table[R.row, R.col] - R.data) ** 2)))
    assert model.score(frame(R, "{}", "{}").astype({"user": int, "item": int})) == pytest.approx(model.score(R))


def test_users_and_items_without_ratings_are_predicted_by_the_rest(model):
    assert not model.user_factors_[5].any()
    assert not model.item_factors_[7].any()
    assert model.predict([5], [7])[0] == pytest.approx(model.mean_)


@pytest.mark.parametrize("n_jobs", [1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_recommend_is_the_sorted_table(R, n_jobs, dtype):
    model = MatrixFactorization(4, n_jobs=n_jobs, max_iter=3, random_state=0).fit(R.astype(dtype))
    users = np.array([3, 100, 5, 3, 7])
    table = table_of(model)[users]
    items, scores = model.recommend(users, 6)
    np.testing.assert_array_equal(items, np.argsort(-table, axis=1, kind="stable")[:, :6])
    np.testing.assert_allclose(scores, -np.sort(-table, axis=1)[:, :6], rtol=1e-5)
    assert scores.dtype == dtype

    rated = R.toarray()[users] != 0
    items, scores = model.recommend(users, 50, exclude=R)
    left = (~rated).sum(axis=1)
    for row, (user_items, user_scores) in enumerate(zip(items, scores, strict=True)):
        assert not rated[row, user_items[: left[row]]].any()
        assert np.isneginf(user_scores[left[row] :]).all()
        assert len(set(user_items[: left[row]])) == left[row]


def test_recommend_beyond_one_block_of_items():
    rng = np.random.default_rng(0)
    X = scipy.sparse.random_array((9, 1300), density=0.3, random_state=rng, format="csr")
    model = MatrixFactorization(8, max_iter=2, random_state=0).fit(X)
    items, _ = model.recommend(np.arange(9), 20, exclude=X[:, :])
    hidden = np.where(X.toarray() != 0, -np.inf, table_of(model))
    np.testing.assert_array_equal(items, np.argsort(-hidden, axis=1, kind="stable")[:, :20])


def test_similar_items_are_those_of_largest_cosine(model):
    H = model.item_factors_
    norms = np.linalg.norm(H, axis=1, keepdims=True)
    cosines = (H / np.where(norms > 0, norms, 1)) @ (H / np.where(norms > 0, norms, 1)).T
    np.fill_diagonal(cosines, -np.inf)
    items, scores = model.similar_items([0, 4, 49], 5)
    np.testing.assert_array_equal(items, np.argsort(-cosines[[0, 4, 49]], axis=1, kind="stable")[:, :5])
    np.testing.assert_allclose(scores, -np.sort(-cosines[[0, 4, 49]], axis=1)[:, :5])


@pytest.mark.parametrize("reg_weighting", ["count", "plain"])
@pytest.mark.parametrize("biases", [True, False])
def test_fold_in_solves_the_users_equations(R, biases, reg_weighting):
    model = MatrixFactorization(4, biases=biases, reg_weighting=reg_weighting, reg=0.1, max_iter=5).fit(R)
    new = planted(9, 50, seed=8)
    factors, bias = model.fold_in(new, return_bias=True)
    W, bu = np.zeros((9, 4)), np.zeros(9)
    oracle.als_rows(
        new.tocsr(), W, model.item_factors_, bu, model.item_bias_, model.mean_, 0.1, reg_weighting == "plain", biases
    )
    np.testing.assert_allclose(factors, W, atol=1e-6)
    np.testing.assert_allclose(bias, bu, atol=1e-6)
    assert model.fold_in(new).shape == (9, 4)


def test_fold_in_nonnegative(R):
    model = MatrixFactorization(4, nonnegative=True, max_iter=5).fit(R)
    assert (model.fold_in(planted(9, 50, seed=8)) >= 0).all()


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "csr_matrix", "int64", "frame", "ndarray_of_all"])
def test_every_kind_of_input_gives_the_same_model(kind):
    R = planted(40, 20, density=2.0) if kind == "ndarray_of_all" else planted(40, 20)
    csr = R.tocsr()
    made = {
        "csr": lambda: csr,
        "csc": R.tocsc,
        "coo": lambda: R,
        "csr_matrix": lambda: scipy.sparse.csr_matrix(R),
        "int64": lambda: scipy.sparse.csr_array(
            (csr.data, csr.indices.astype(np.int64), csr.indptr.astype(np.int64)), csr.shape
        ),
        "frame": lambda: frame(R).sample(frac=1, random_state=0),
        "ndarray_of_all": R.toarray,
    }[kind]()
    if kind == "frame":  # has no users and items without ratings
        keep_users, keep_items = np.unique(R.row), np.unique(R.col)
        csr = csr[keep_users][:, keep_items]
    if kind == "ndarray_of_all":
        csr = scipy.sparse.csr_array(np.where(made == 0, 1e-300, made))
    ours, theirs = (MatrixFactorization(4, max_iter=3, random_state=0).fit(X) for X in (made, csr))
    np.testing.assert_allclose(ours.user_factors_, theirs.user_factors_, rtol=1e-12)
    np.testing.assert_allclose(ours.item_factors_, theirs.item_factors_, rtol=1e-12)


def test_explicit_zeros_are_ratings():
    X = scipy.sparse.csr_array((np.array([0.0, 4.0, 0.0]), np.array([0, 1, 1]), np.array([0, 2, 3])), shape=(2, 2))
    assert MatrixFactorization(2, max_iter=1).fit(X).mean_ == pytest.approx(4 / 3)


@pytest.mark.parametrize("ids", [str, int, np.datetime64])
def test_ids_of_any_type_are_kept(R, ids, tmp_path):
    base = {
        str: lambda n: f"user {n:03d}",
        int: lambda n: 10 * n - 7,
        np.datetime64: lambda n: np.datetime64("2020-01-01") + n,
    }[ids]
    table = pd.DataFrame({"rating": R.data, "UserId": [base(int(u)) for u in R.row], "item_id": R.col})
    model = MatrixFactorization(3, max_iter=3, random_state=0).fit(table)
    plain = MatrixFactorization(3, max_iter=3, random_state=0).fit(R.tocsr()[np.unique(R.row)][:, np.unique(R.col)])
    wanted = [base(int(u)) for u in R.row[:20]]
    places = np.searchsorted(np.unique(R.row), R.row[:20]), np.searchsorted(np.unique(R.col), R.col[:20])
    np.testing.assert_allclose(model.predict(wanted, R.col[:20]), plain.predict(*places))
    assert 7 not in model.items_
    items, _ = model.recommend(wanted[:2], 4, exclude=table)
    assert set(items.ravel()) <= set(np.unique(R.col))
    model.save(tmp_path / "model")
    again = steppe.load(tmp_path / "model")
    np.testing.assert_array_equal(again.users_, model.users_)
    np.testing.assert_array_equal(again.predict(wanted, R.col[:20]), model.predict(wanted, R.col[:20]))


@pytest.mark.parametrize("kind", ["string", "category", "Int64", "int8", "uint64", "negative"])
def test_ids_of_pandas_types(R, kind):
    low = {"int8": -100, "uint64": 2**64 - 500, "negative": -60}.get(kind, 0)
    numbers = [int(u) + low for u in R.row]
    made = {
        "string": lambda: pd.array([f"u{u}" for u in numbers], dtype="string"),
        "category": lambda: pd.Categorical([f"u{u}" for u in numbers]),
        "negative": lambda: np.array(numbers),
    }.get(kind, lambda: pd.array(numbers, dtype=kind))
    table = frame(R).assign(user=made())
    model = MatrixFactorization(3, max_iter=2, random_state=0).fit(table)
    asked = table.user.to_numpy()[:9]
    np.testing.assert_array_equal(model.predict(asked, table.item[:9]), model.predict(list(asked), table.item[:9]))
    assert model.score(table) < 0
    if kind not in ("string", "category"):
        assert model.users_.dtype.kind in "iu"
        for strange in (
            np.array([2**64 - 1], np.uint64),
            np.array([-(2**63)]),
            np.array([10**6]),
            np.array([-1], np.int8),
        ):
            if int(strange[0]) not in model.users_.tolist():
                with pytest.raises(ValueError, match="users: 1 ids were not in fit"):
                    model.predict(strange, table.item[:1])


def test_an_empty_table_is_no_exclusion(R):
    table = frame(R)
    model = MatrixFactorization(3, max_iter=2, random_state=0).fit(table)
    some = model.recommend(model.users_[:4], 5)
    for empty in (table[:0], pd.DataFrame(columns=["user", "item"])):
        for one, other in zip(some, model.recommend(model.users_[:4], 5, exclude=empty), strict=True):
            np.testing.assert_array_equal(one, other)


def test_columns_without_a_known_name_keep_their_order(R):
    table = frame(R)[["value", "user", "item"]].set_axis(["rating", "who", "what"], axis=1)
    model = MatrixFactorization(3, max_iter=2, random_state=0).fit(table)
    assert set(model.users_) == set(table.who)


def test_a_diverged_refit_leaves_the_last_model(R, monkeypatch):
    model = MatrixFactorization(3, max_iter=2, random_state=0).fit(R)
    before, known = model.predict(R.row, R.col), len(model.users_)
    monkeypatch.setattr("steppe._loop.FitLoop._train", lambda self: (_ for _ in ()).throw(ValueError("diverged")))
    for refit in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match="diverged"):
            refit(planted(200, 80, seed=3))
        assert len(model.users_) == known
        np.testing.assert_array_equal(model.predict(R.row, R.col), before)


def test_two_columns_are_events(R):
    model = MatrixFactorization(2, max_iter=2).fit(frame(R)[["user", "item"]])
    assert model.mean_ == 1


def test_partial_fit_takes_new_users_and_items(R):
    table = frame(R)
    early = table[(table.user < "u080") & (table.item < "i040")]
    model = MatrixFactorization(4, random_state=0, max_iter=20).fit(early)
    known = set(model.users_)
    before = -model.score(early)
    for _ in range(15):
        model.partial_fit(table)
    assert known < set(model.users_) == set(table.user)
    assert set(model.items_) == set(table.item)
    assert model.n_iter_ == 35
    assert -model.score(table) < max(1.5 * before, 0.5)
    model.predict(["u000", "u119"], ["i049", "i000"])


def test_partial_fit_alone_and_by_number(R):
    csr = R.tocsr()
    model = MatrixFactorization(4, random_state=0)
    for _ in range(20):
        model.partial_fit(csr[:100])
    assert model.user_factors_.shape == (100, 4)
    model.partial_fit(csr)
    assert model.user_factors_.shape == (120, 4)
    assert len(model.history_) == model.n_iter_ == 21
    with pytest.raises(ValueError, match="solver"):
        MatrixFactorization(solver="als").partial_fit(R)


def test_warm_start_goes_on(R):
    model = MatrixFactorization(4, random_state=0, max_iter=3, warm_start=True).fit(R)
    before = model.history_["objective"][-1]
    assert model.fit(R).history_["objective"][0] < before
    with pytest.raises(ValueError, match="warm_start"):
        model.fit(R.tocsr()[:50])
    with pytest.raises(ValueError, match="warm_start"):
        model.set_params(n_factors=5).fit(R)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda m, R: m.predict([120], [0]), "users: 1 ids were not in fit"),
        (lambda m, R: m.predict([0], [-1]), "items: 1 ids"),
        (lambda m, R: m.predict(["a"], [0]), "users"),
        (lambda m, R: m.predict([0, 1], [0, 1, 2]), "one item for each user"),
        (lambda m, R: m.recommend([0], 51), "n: got 51"),
        (lambda m, R: m.recommend([0], 0), "n: got 0"),
        (lambda m, R: m.recommend([0], 5, exclude=R.tocsr()[:, :4]), "exclude"),
        (lambda m, R: m.recommend([0], 5, exclude=R.tocsr()[:4]), "exclude: has 4 rows"),
        (lambda m, R: m.similar_items([50]), "items: 1 ids"),
        (lambda m, R: m.score(R.T), "X: has"),
        (lambda m, R: m.score(scipy.sparse.csr_array((3, 50))), "no rating"),
        (lambda m, R: m.fold_in(R.T), "columns"),
        (lambda m, R: m.predict([[0, 1]], [0, 1]), r"users: has shape \(1, 2\); give ids in one dimension"),
        (lambda m, R: m.recommend([[0, 1]]), r"users: has shape \(1, 2\)"),
        (lambda m, R: m.similar_items([[0], [1]]), r"items: has shape \(2, 1\)"),
    ],
)
def test_what_is_asked_for_wrongly(R, model, call, match):
    with pytest.raises(ValueError, match=match):
        call(model, R)


def with_missing(R, what, dtype=None):
    table = frame(R)
    ids = table["user"].astype(object)
    ids.iloc[3] = what
    return table.assign(user=ids if dtype is None else ids.astype(dtype))


def days(R):
    table = frame(R).assign(user=pd.Timestamp("2020-01-01") + pd.to_timedelta(R.row, "D"))
    table.loc[3, "user"] = pd.NaT
    return table


def tuples(R):
    ids = pd.Series([(int(u), 1) for u in R.row])
    return frame(R).assign(user=ids)


def doubled(R):
    return scipy.sparse.coo_array((np.r_[R.data, 1.0], (np.r_[R.row, R.row[0]], np.r_[R.col, R.col[0]])), R.shape)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (doubled, "rated more than once"),
        (lambda R: frame(doubled(R)), "rated more than once"),
        (lambda R: scipy.sparse.csr_array((4, 5)), "no rating"),
        (lambda R: frame(R).assign(user=None), "missing"),
        (lambda R: frame(R).assign(value=np.inf), "inf"),
        (lambda R: frame(R).assign(value=np.nan), "NaN.*Drop or replace"),
        (lambda R: R.astype(np.float64) * np.nan, "NaN.*Drop or replace"),
        (lambda R: frame(R).assign(value="good"), "column of values holds 'good'"),
        (lambda R: frame(R)[["user"]], "columns user, item and value"),
        (lambda R: with_missing(R, np.nan), "user ids has missing"),
        (lambda R: with_missing(R, None), "user ids has missing"),
        (lambda R: with_missing(R, pd.NA), "user ids has missing"),
        (lambda R: with_missing(R, pd.NA, "string"), "user ids has missing"),
        (lambda R: with_missing(R, np.nan, "category"), "user ids has missing"),
        (lambda R: frame(R).assign(user=pd.array([pd.NA, *R.row[1:]], dtype="Int64")), "user ids has missing"),
        (days, "user ids has missing"),
        (lambda R: with_missing(R, 3), "cannot be ordered"),
        (tuples, "user ids are sequences"),
        (lambda R: frame(R).set_axis(["user", "user", "value"], axis=1), "2 columns 'user'"),
        (lambda R: frame(R)[:0], "no rating"),
        (lambda R: pd.DataFrame(columns=["user", "item", "value"]), "no rating"),
        (lambda R: R * 1e-300, "largest rating is .*scale the ratings"),
        (lambda R: (R * 1e30).astype(np.float32), "largest rating is .*scale the ratings"),
    ],
)
def test_bad_ratings_are_refused(R, data, match):
    with pytest.raises(ValueError, match=match):
        MatrixFactorization(2).fit(data(R))


def rank_rows(R, cuts, cluster, **params):
    mine = R.tocsr()[cuts[cluster.rank] : cuts[cluster.rank + 1]]
    return MatrixFactorization(4, cluster=cluster, random_state=0, max_iter=30, **params).fit(mine)


@pytest.mark.parametrize("solver", ["sgd", "als"])
def test_ranks_hold_their_users_and_all_items(R, solver, tmp_path):
    models = Cluster._threads(3, partial(rank_rows, R, [0, 40, 40, 120], solver=solver))
    for model in models:
        np.testing.assert_array_equal(model.item_factors_, models[0].item_factors_)
    assert [len(model.users_) for model in models] == [40, 0, 80]
    np.testing.assert_array_equal(models[2].users_, np.arange(40, 120))
    W = np.concatenate([model.user_factors_ for model in models])
    bu = np.concatenate([model.user_bias_ for model in models])
    first = models[0]
    expected = oracle.objective(R, W, first.item_factors_, bu, first.item_bias_, first.mean_, 0.05)
    assert first.history_["objective"][-1] == pytest.approx(expected)


def test_ids_are_unified_over_ranks(R):
    table = frame(R)

    def work(cluster):
        mine = table[(table.user < "u050") == (cluster.rank == 0)]
        model = MatrixFactorization(3, cluster=cluster, max_iter=3, random_state=0).fit(mine)
        assert set(model.users_) == set(mine.user)
        np.testing.assert_array_equal(model.items_, np.unique(table.item))
        items, _ = model.recommend(model.users_[:3], 2, exclude=mine)
        return model.partial_fit(mine).n_iter_, items.shape

    assert Cluster._threads(2, work) == [(4, (3, 2))] * 2


def test_a_user_on_two_ranks_is_refused(R):
    with pytest.raises(ValueError, match="several ranks"):
        Cluster._threads(2, lambda cluster: MatrixFactorization(3, cluster=cluster).fit(frame(R)[cluster.rank :: 2]))


def on_two_ranks(work, match):
    """Every rank must meet the same ValueError."""

    def guarded(cluster):
        with pytest.raises(ValueError, match=match):
            work(cluster)

    Cluster._threads(2, guarded, timeout=20)


def halves(R):
    table = frame(R)
    return [table[table.user < "u050"], table[table.user >= "u050"]]


def test_ranks_pass_one_kind_and_one_dtype(R):
    parts, csr = halves(R), R.tocsr()
    singles = [parts[0], parts[1].astype({"value": np.float32})]
    mixed = [parts[0], csr]
    model = MatrixFactorization(3, max_iter=2)
    for data, match in ((singles, "dtypes differ between ranks"), (mixed, "X: the ranks hold .*DataFrame on rank 0")):
        on_two_ranks(lambda cluster, data=data: clone(model).set_params(cluster=cluster).fit(data[cluster.rank]), match)

    def more(cluster, data):
        mine = clone(model).set_params(cluster=cluster).fit(parts[cluster.rank])
        mine.partial_fit(data[cluster.rank])

    for data, match in ((singles, "dtypes differ"), (mixed, "DataFrame on rank 0")):
        on_two_ranks(partial(more, data=data), match)


@pytest.mark.parametrize("empty", ["rows", "columns"])
def test_a_rank_may_have_an_empty_table(R, empty):
    table = frame(R.astype(np.float32))
    alone = MatrixFactorization(3, max_iter=3, random_state=0).fit(table)

    def work(cluster):
        mine = table if cluster.rank == 1 else table[:0] if empty == "rows" else pd.DataFrame(columns=["user", "item"])
        model = MatrixFactorization(3, cluster=cluster, max_iter=3, random_state=0).fit(mine)
        assert model.item_factors_.dtype == np.float32
        return model.partial_fit(mine)

    first, second = Cluster._threads(2, work, timeout=20)
    assert (len(first.users_), len(second.users_)) == (0, len(alone.users_))
    np.testing.assert_array_equal(first.items_, alone.items_)


def test_no_rank_with_a_rating_is_refused(R):
    on_two_ranks(lambda cluster: MatrixFactorization(3, cluster=cluster).fit(frame(R)[:0]), "no rating")


def test_a_warm_start_that_fits_on_one_rank_only_is_refused_on_all(R):
    csr = R.tocsr()

    def work(cluster):
        model = MatrixFactorization(3, cluster=cluster, max_iter=2, warm_start=True)
        model.fit(csr[60 * cluster.rank : 60 * cluster.rank + 60])
        model.fit(csr[60 * cluster.rank : 60 * cluster.rank + 60 - 5 * cluster.rank])

    on_two_ranks(work, "warm_start: the last fit had 60 users")


def test_ids_of_two_kinds_on_two_ranks_are_refused(R):
    parts = halves(R)
    parts[1] = parts[1].assign(user=R.row[: len(parts[1])])
    on_two_ranks(lambda cluster: MatrixFactorization(3, cluster=cluster).fit(parts[cluster.rank]), "different kinds")


def test_signed_and_unsigned_ids_on_two_ranks_are_one_kind(R):
    parts = halves(R)
    items = [pd.Series([int(i[1:]) for i in part.item], part.index) for part in parts]
    parts = [parts[0].assign(item=items[0].astype(np.int64)), parts[1].assign(item=items[1].astype(np.uint64))]
    models = Cluster._threads(
        2, lambda cluster: MatrixFactorization(3, cluster=cluster, max_iter=2).fit(parts[cluster.rank])
    )
    assert models[0].items_.dtype == np.uint64
