"""ITML and GMML: oracles, limits, bad input. The contract's own tests are in test_base_common.py."""

import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler

import steppe
from steppe import _core
from steppe.metric import GMML, ITML
from steppe.metric._mahalanobis import FactoredComponents
from steppe.metric._pairs import sample_pairs
from steppe.parallel import Cluster

sys.path.insert(0, str(Path(__file__).parents[1]))
from reference import gmml as gmml_reference
from reference import itml as reference

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def pairs_problem(n=60, d=6, n_pairs=80, seed=0, dtype=np.float64):
    """Pairs, signs (similar first), and bounds."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)).astype(dtype)
    y = np.arange(n) % 3
    X[:, 0] += y
    indices, sign = sample_pairs(y, n_pairs, rng)
    pairs = X[indices]
    squared = ((pairs[:, 0] - pairs[:, 1]) ** 2).sum(axis=1)
    return pairs, sign, np.percentile(squared, (5, 95))


def differences(pairs):
    return np.asarray(pairs[:, 0] - pairs[:, 1], dtype=np.float64)


def targets(sign, bounds):
    return np.where(sign > 0, *bounds)


@pytest.mark.parametrize("gamma", [0.1, 1.0, 10.0, np.inf])
def test_exact_equals_the_sequential_algorithm(gamma):
    pairs, sign, bounds = pairs_problem(n_pairs=8 if np.isinf(gamma) else 80)  # without slack only few are feasible
    A, dual = reference.itml(differences(pairs), sign, targets(sign, bounds), gamma, 12)
    model = ITML(gamma, bounds=bounds, max_iter=12, tol=0).fit(pairs, sign)
    assert np.linalg.norm(model.get_mahalanobis_matrix() - A) < 1e-8 * np.linalg.norm(A)
    np.testing.assert_allclose(model.dual_, dual, rtol=1e-7, atol=1e-9 * dual.max())


@pytest.mark.parametrize("gamma", [0.1, 1.0, 10.0])
def test_one_violated_pair(gamma):
    pair = np.array([[[3.0, 0.0], [0.0, 0.0]]])
    model = ITML(gamma, bounds=(4.0, 100.0), max_iter=3, tol=0).fit(pair, [1])
    dual = gamma / (gamma + 1) * (1 / 4 - 1 / 9)
    np.testing.assert_allclose(model.dual_, [dual], rtol=1e-12)
    np.testing.assert_allclose(model.pair_distance(pair) ** 2, 1 / (1 / 9 + dual), rtol=1e-12)


@pytest.mark.parametrize("prior", ["identity", "covariance", "array"])
def test_metric_is_the_inverse_of_prior_and_duals(prior):
    pairs, sign, _ = pairs_problem()
    points = pairs.reshape(-1, pairs.shape[2])
    A0 = {
        "identity": np.eye(6),
        "covariance": np.linalg.inv(np.cov(points, rowvar=False)),
        "array": np.diag(np.arange(1.0, 7)),
    }
    model = ITML(1.0, prior=A0[prior] if prior == "array" else prior, max_iter=30, tol=0).fit(pairs, sign)
    C = differences(pairs)
    inverse = np.linalg.inv(A0[prior]) + (C * (sign * model.dual_)[:, None]).T @ C
    np.testing.assert_allclose(model.get_mahalanobis_matrix() @ inverse, np.eye(6), atol=1e-9)
    A, _ = reference.itml(C, sign, targets(sign, model.bounds_), 1.0, 30, A0[prior])
    np.testing.assert_allclose(model.get_mahalanobis_matrix(), A, rtol=1e-8, atol=1e-10)


def test_history_reports_the_dual_and_the_gap():
    pairs, sign, bounds = pairs_problem()
    model = ITML(1.0, bounds=bounds, max_iter=35, tol=0).fit(pairs, sign)
    gap = model.history_["gap"]
    assert (np.flatnonzero(~np.isnan(gap)) == [0, 10, 20, 30, 34]).all()
    assert model.dual_gap_ == gap[-1]
    assert gap[0] > gap[-1] >= 0
    C = differences(pairs)
    dual = reference.dual_objective(model.dual_, C, sign, targets(sign, bounds), 1.0)
    np.testing.assert_allclose(-model.history_["objective"][-1], dual, rtol=1e-10)


def test_three_ways_of_passing_the_same_pairs():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(40, 5))
    indices = np.stack([rng.permutation(40), np.roll(np.arange(40), 1)], axis=1)
    indices = indices[indices[:, 0] != indices[:, 1]]
    sign = np.where(rng.random(len(indices)) < 0.5, 1, -1)
    common = {"bounds": (1.0, 9.0), "max_iter": 8, "tol": 0}
    direct = ITML(**common).fit(X[indices], sign)
    for points in (X, scipy.sparse.csr_array(X), X.tolist()):
        other = ITML(preprocessor=points, **common).fit(indices, sign)
        np.testing.assert_allclose(other.components_, direct.components_, rtol=1e-12)
        np.testing.assert_allclose(other.dual_, direct.dual_, rtol=1e-12)
        np.testing.assert_allclose(other.pair_distance(indices), direct.pair_distance(X[indices]), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_pairs_in_nested_lists_are_pairs(dtype):
    pairs, sign, bounds = pairs_problem(dtype=dtype)
    common = {"bounds": bounds, "max_iter": 5, "tol": 0}
    from_array = ITML(**common).fit(pairs.astype(np.float64), sign)
    from_lists = ITML(**common).fit(pairs.tolist(), sign.tolist())
    np.testing.assert_array_equal(from_lists.components_, from_array.components_)
    assert from_lists.n_features_in_ == 6
    np.testing.assert_array_equal(from_lists.pair_distance(pairs.tolist()), from_array.pair_distance(pairs.tolist()))


def test_rows_in_nested_lists_are_rows():
    rows, labels = load_wine(return_X_y=True)
    np.testing.assert_array_equal(
        GMML(random_state=0).fit(rows[:, :2].tolist(), labels.tolist()).components_,
        GMML(random_state=0).fit(rows[:, :2], labels).components_,
    )


def test_verbs_agree():
    rng = np.random.default_rng(2)
    X = rng.normal(size=(50, 4))
    model = ITML(random_state=0).fit(X, np.arange(50) % 2)
    Z, pairs = model.transform(X), np.stack([X[:20], X[20:40]], axis=1)
    expected = np.linalg.norm(Z[:20] - Z[20:40], axis=1)
    np.testing.assert_allclose(model.pair_distance(pairs), expected)
    np.testing.assert_allclose(model.pair_score(pairs), -expected)
    metric = model.get_metric()
    np.testing.assert_allclose([metric(u, v) for u, v in pairs], expected)
    delta = X[:20] - X[20:40]
    squares = np.einsum("ij,jk,ik->i", delta, model.get_mahalanobis_matrix(), delta)
    np.testing.assert_allclose(squares, expected**2)


@pytest.fixture(scope="module")
def wide():
    """More features than a matrix may have: 12 points of 5,000."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(12, 5000))
    indices = np.stack(np.triu_indices(12, 1), axis=1)
    indices = indices[np.argsort(indices[:, 0] % 3 != indices[:, 1] % 3, kind="stable")]  # similar pairs first
    sign = np.where(indices[:, 0] % 3 == indices[:, 1] % 3, 1, -1)
    return X, indices, sign


@pytest.mark.parametrize("dtype,tolerance", [(np.float64, 1e-9), (np.float32, 2e-3)])
def test_many_features_in_factors(wide, dtype, tolerance):
    X, indices, sign = wide
    model = ITML(1.0, preprocessor=X.astype(dtype), max_iter=20, tol=0).fit(indices, sign)
    assert isinstance(model.components_, FactoredComponents)
    assert model.components_.shape == (5000, 5000)
    assert model.basis_.shape[0] <= 11
    C = X[indices[:, 0]] - X[indices[:, 1]]
    Q = np.linalg.qr((X - X.mean(axis=0)).T)[0][:, :11]
    A, dual = reference.itml(C @ Q, sign, targets(sign, model.bounds_.astype(float)), 1.0, 20)
    np.testing.assert_allclose(model.dual_, dual, rtol=10 * tolerance, atol=tolerance * dual.max())
    new = np.random.default_rng(4).normal(size=(5, 2, 5000)).astype(dtype)
    delta = (new[:, 0] - new[:, 1]).astype(float)
    inside = delta @ Q
    expected = np.sqrt((delta**2).sum(axis=1) + np.einsum("ij,jk,ik->i", inside, A - np.eye(11), inside))
    np.testing.assert_allclose(model.pair_distance(new), expected, rtol=tolerance)
    mapped = model.transform(new.reshape(10, 5000)).reshape(5, 2, 5000)
    assert mapped.dtype == dtype
    np.testing.assert_allclose(np.linalg.norm(mapped[:, 0] - mapped[:, 1], axis=1), expected, rtol=tolerance)
    np.testing.assert_allclose(new[:, 0] @ model.components_.T, mapped[:, 0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(model.components_ @ new[0, 0], mapped[0, 0], rtol=1e-4, atol=1e-6)


def test_factors_are_saved(wide, tmp_path):
    X, indices, sign = wide
    model = ITML(preprocessor=X, max_iter=3, tol=0).fit(indices, sign)
    model.save(tmp_path / "model")
    other = steppe.load(tmp_path / "model")
    np.testing.assert_array_equal(other.transform(X), model.transform(X))
    assert np.array_equal(other.history_["gap"], model.history_["gap"], equal_nan=True)


def test_a_matrix_too_large_is_refused():
    X = np.random.default_rng(0).normal(size=(6, 20_000)).astype(np.float32)
    model = ITML(preprocessor=X, max_iter=2, tol=0).fit([[0, 1], [2, 3], [4, 5]], [1, -1, 1])
    X64 = model.set_params(preprocessor=X.astype(np.float64)).fit([[0, 1], [2, 3], [4, 5]], [1, -1, 1])
    with pytest.raises(ValueError, match=r"20000 x 20000 matrix would take 3\.2 GB; use transform"):
        X64.get_mahalanobis_matrix()


def test_fits_of_few_and_many_features_reset_each_other(wide):
    X, indices, sign = wide
    model = ITML(preprocessor=X, max_iter=2, tol=0).fit(indices, sign)
    model.set_params(preprocessor=X[:, :7]).fit(indices, sign)
    assert isinstance(model.components_, np.ndarray)
    assert not hasattr(model, "basis_")
    model.set_params(preprocessor=X).fit(indices, sign)
    assert isinstance(model.components_, FactoredComponents)


@pytest.mark.parametrize("solver", ["exact", "parallel"])
def test_threads_and_ranks_do_not_change_a_bit(solver):
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(90, 6)), rng.integers(0, 3, 90)
    common = {"random_state": 0, "max_iter": 5, "tol": 0, "solver": solver}
    alone = ITML(**common).fit(X, y)
    for n_jobs in (2, 3):
        np.testing.assert_array_equal(ITML(**common, n_jobs=n_jobs).fit(X, y).components_, alone.components_)

    def fit(cluster, size):
        cuts = {1: [0, 90], 2: [0, 0, 90], 3: [0, 10, 70, 90]}[size]
        mine = slice(cuts[cluster.rank], cuts[cluster.rank + 1])
        return ITML(**common, n_jobs=size, cluster=cluster).fit(X[mine], y[mine])

    for size in (1, 2, 3):
        for model in Cluster._threads(size, lambda cluster, size=size: fit(cluster, size)):
            np.testing.assert_array_equal(model.components_, alone.components_)
            np.testing.assert_array_equal(model.dual_, alone.dual_)


def test_fits_in_another_process(tmp_path):
    """The BLAS that `_core` takes from SciPy is there in a child, too."""
    script = """
        import multiprocessing
        import numpy as np
        from steppe.metric import GMML, ITML

        def fit(make):
            rng = np.random.default_rng(0)
            return make(random_state=0, n_jobs=2).fit(rng.normal(size=(40, 5)), np.arange(40) % 2).components_

        if __name__ == "__main__":
            before = [fit(make) for make in (ITML, GMML)]
            with multiprocessing.get_context("spawn").Pool(2) as pool:
                for ours, theirs in zip(before, pool.map(fit, (ITML, GMML)), strict=True):
                    np.testing.assert_array_equal(ours, theirs)
            print("same")
    """
    path = tmp_path / "fit.py"
    path.write_text(textwrap.dedent(script))
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=60)
    assert done.stdout == "same\n", done.stderr


def test_ranks_pass_pairs_of_their_own():
    pairs, sign, bounds = pairs_problem()
    alone = ITML(bounds=bounds, max_iter=5, tol=0).fit(pairs, sign)

    def fit(cluster):
        mine = slice(0, 30) if cluster.rank == 0 else slice(30, None)
        return ITML(bounds=bounds, max_iter=5, tol=0, cluster=cluster).fit(pairs[mine], sign[mine])

    for model in Cluster._threads(2, fit):
        np.testing.assert_array_equal(model.components_, alone.components_)


def test_ranks_may_hold_no_pairs_but_not_rows_instead():
    pairs, sign, bounds = pairs_problem()
    alone = ITML(bounds=bounds, max_iter=5, tol=0).fit(pairs, sign)

    def fit(cluster, without):
        X, y = (pairs, sign) if cluster.rank == 0 else (without, sign[:0])
        return ITML(bounds=bounds, max_iter=5, tol=0, cluster=cluster).fit(X, y)

    for model in Cluster._threads(2, lambda cluster: fit(cluster, pairs[:0])):
        np.testing.assert_array_equal(model.components_, alone.components_)
    for without in (pairs[:0, 0], []):
        met = []

        def fit_and_note(cluster, without=without, met=met):
            with pytest.raises(ValueError, match="some ranks hold pairs") as error:
                fit(cluster, without)
            met.append(str(error.value))

        Cluster._threads(2, fit_and_note, timeout=5)
        assert len(met) == 2


@pytest.mark.parametrize("t", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("prior", ["identity", "covariance"])
def test_gmml_equals_the_oracle(t, prior):
    pairs, sign, _ = pairs_problem()
    points = pairs.reshape(-1, 6)
    A0 = None if prior == "identity" else np.linalg.inv(np.cov(points, rowvar=False))
    M, S, D = gmml_reference.gmml(differences(pairs), sign, t, 0.1, A0)
    model = GMML(t, reg=0.1, prior=prior).fit(pairs, sign)
    ours = model.get_mahalanobis_matrix()
    np.testing.assert_allclose(ours, M, rtol=1e-8, atol=1e-10)
    limits = {0.0: (ours @ S, np.eye(6)), 0.5: (ours @ S @ ours, D), 1.0: (ours, D)}
    if t in limits:
        np.testing.assert_allclose(*limits[t], rtol=1e-8, atol=1e-9)
    inverse = np.linalg.inv(S)
    objective = (1 - t) * gmml_reference.riemannian(ours, inverse) + t * gmml_reference.riemannian(ours, D)
    np.testing.assert_allclose(model.history_["objective"], [objective], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("t", [0.3, 0.5, 0.8])
def test_gmml_of_many_features(wide, t):
    X, indices, sign = wide
    model = GMML(t, reg=0.2, preprocessor=X).fit(indices, sign)
    Q = np.linalg.qr((X - X.mean(axis=0)).T)[0][:, :11]
    M, _, _ = gmml_reference.gmml((X[indices[:, 0]] - X[indices[:, 1]]) @ Q, sign, t, 0.2)
    delta = np.random.default_rng(1).normal(size=(4, 5000))
    inside = delta @ Q
    scale = 0.2 ** (2 * t - 1)
    expected = scale * ((delta**2).sum(axis=1) - (inside**2).sum(axis=1)) + np.einsum("ij,jk,ik->i", inside, M, inside)
    pairs = np.stack([delta, np.zeros_like(delta)], axis=1)
    np.testing.assert_allclose(model.pair_distance(pairs) ** 2, expected, rtol=1e-8)
    Z = model.transform(delta)
    np.testing.assert_allclose((Z**2).sum(axis=1), expected, rtol=1e-8)


def test_gmml_is_one_iteration(tmp_path):
    """What test_base_common.py leaves out for a closed form."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(50, 5)).astype(np.float32), rng.integers(0, 3, 50)
    seen = []
    common = {"random_state": 0, "checkpoint": tmp_path / "fit"}
    model = GMML(**common, max_iter=7, callbacks=seen.append).fit(X, y)
    assert model.n_iter_ == len(seen) == 1
    np.testing.assert_array_equal(model.history_["objective"], [seen[0]["objective"]])
    assert np.isfinite(model.history_["objective"]).all()
    again = GMML(**common).fit(X, y)  # resumes at the end
    np.testing.assert_array_equal(again.components_, model.components_)
    with pytest.raises(ValueError, match="belongs to another fit"):
        GMML(**common).fit(X[1:], y[1:])
    twice = GMML(random_state=0, warm_start=True).fit(X, y).fit(X, y)
    np.testing.assert_array_equal(twice.components_, model.components_)


@pytest.mark.parametrize("Estimator", [ITML, GMML])
def test_prior_in_fortran_order(Estimator):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 40)), np.arange(200) % 3
    prior = np.cov(rng.normal(size=(40, 90)))
    model = Estimator(prior=prior, random_state=0).fit(X, y)
    other = Estimator(prior=np.asfortranarray(prior), random_state=0).fit(X, y)
    np.testing.assert_array_equal(other.components_, model.components_)


@pytest.mark.parametrize("power", [-40, -20, 20, 40])
def test_the_unit_of_the_points_does_not_matter(power):
    """Squared distances and their bounds have the same unit, so the metric has none. Powers of two are exact."""
    X, y = load_wine(return_X_y=True)
    X, unit = StandardScaler().fit_transform(X), 2.0**power
    common = {"random_state": 0, "max_iter": 20, "tol": 0}
    plain, scaled = ITML(**common).fit(X, y), ITML(**common).fit(X * unit, y)
    np.testing.assert_allclose(scaled.bounds_, plain.bounds_ * unit**2, rtol=1e-12)
    np.testing.assert_allclose(scaled.dual_ * unit**2, plain.dual_, rtol=1e-9, atol=1e-9 * plain.dual_.max())
    np.testing.assert_allclose(scaled.get_mahalanobis_matrix(), plain.get_mahalanobis_matrix(), rtol=1e-9, atol=1e-9)


def test_bounds_of_points_that_are_nearly_all_alike():
    pairs = np.zeros((50_000, 2, 2))
    pairs[0, 0] = 3, 4
    model = ITML(random_state=0, max_iter=2).fit(pairs, np.ones(len(pairs)))
    np.testing.assert_array_equal(model.bounds_, [25, 25])


@pytest.mark.parametrize("make", [lambda **p: ITML(**p), lambda **p: GMML(**p)], ids=["ITML", "GMML"])
class TestBadInput:
    def test_strange_signs(self, make):
        pairs, sign, _ = pairs_problem()
        with pytest.raises(ValueError, match=r"y: met 2.*\+1 for a similar"):
            make().fit(pairs, np.where(sign > 0, 2, -1))

    def test_wrong_length(self, make):
        pairs, sign, _ = pairs_problem()
        with pytest.raises(ValueError, match=r"y: has shape \(3,\), expected"):
            make().fit(pairs, sign[:3])

    def test_index_outside(self, make):
        with pytest.raises(ValueError, match="outside of the 4 rows"):
            make(preprocessor=np.eye(4)).fit([[0, 4]], [1])

    def test_index_outside_in_a_query(self, make):
        points = np.random.default_rng(0).normal(size=(4, 3))
        model = make(preprocessor=points).fit([[0, 1], [2, 3]], [1, -1])
        for strange in ([[0, 4]], [[0, -1]]):
            with pytest.raises(ValueError, match="pairs: met a row number outside of the 4 rows"):
                model.pair_distance(strange)
        with pytest.raises(ValueError, match=r"pairs: has shape .* and dtype float64"):
            model.pair_distance([[0.0, 1.0]])

    def test_index_of_floats(self, make):
        with pytest.raises(ValueError, match=r"with preprocessor= give integers of shape \(n, 2\)"):
            make(preprocessor=np.eye(4)).fit([[0.5, 1.0]], [1])

    @pytest.mark.parametrize("shape", [(5, 3, 4), (5, 1, 4), (2, 4, 2)])
    @pytest.mark.parametrize("convert", [np.asarray, np.ndarray.tolist])
    def test_three_axes_that_are_no_pairs(self, make, shape, convert):
        with pytest.raises(
            ValueError, match=rf"X: has shape \({shape[0]}, {shape[1]}.*give pairs of shape \(n, 2, D\)"
        ):
            make().fit(convert(np.random.default_rng(0).normal(size=shape)), np.ones(shape[0]))

    def test_lists_of_different_lengths(self, make):
        with pytest.raises(ValueError, match=r"inhomogeneous|setting an array element"):
            make().fit([[[1.0, 2.0], [3.0]], [[1.0, 2.0], [3.0, 4.0]]], [1, -1])

    def test_nan_in_pairs(self, make):
        pairs, sign, _ = pairs_problem()
        pairs[3, 0, 1] = np.nan
        with pytest.raises(ValueError, match="NaN"):
            make().fit(pairs, sign)

    def test_pairs_of_length_zero(self, make):
        with pytest.raises(ValueError, match="all 3 pairs have length zero"):
            make().fit(np.ones((3, 2, 4)), [1, -1, 1])

    def test_every_class_with_one_member(self, make):
        with pytest.raises(ValueError, match="every class has one member"):
            make().fit(np.eye(4), np.arange(4))

    def test_singular_covariance_as_prior(self, make):
        X = np.random.default_rng(0).normal(size=(30, 4))
        X[:, 2] = 7
        with pytest.raises(ValueError, match=r"prior: .*features \[2\] are constant"):
            make(prior="covariance").fit(X, np.arange(30) % 2)
        X[:, 2] = X[:, 0] + X[:, 1]
        with pytest.raises(ValueError, match=r"prior: .*depend linearly"):
            make(prior="covariance").fit(X, np.arange(30) % 2)

    def test_bad_prior(self, make):
        X, y = np.random.default_rng(0).normal(size=(30, 3)), np.arange(30) % 2
        with pytest.raises(ValueError, match="not positive definite"):
            make(prior=np.diag([1.0, 1, -1])).fit(X, y)
        with pytest.raises(ValueError, match=r"prior: has shape \(2, 2\)"):
            make(prior=np.eye(2)).fit(X, y)

    def test_prior_of_too_many_features(self, make):
        with pytest.raises(ValueError, match="only prior='identity'"):
            make(prior="covariance").fit(np.random.default_rng(0).normal(size=(8, 4001)), np.arange(8) % 2)

    def test_strange_pairs_to_measure(self, make):
        X, y = np.random.default_rng(0).normal(size=(30, 3)), np.arange(30) % 2
        with pytest.raises(ValueError, match=r"pairs: has shape \(4, 2, 5\), expected \(n, 2, 3\)"):
            make().fit(X, y).pair_distance(np.ones((4, 2, 5)))

    def test_pairs_that_are_dropped(self, make):
        pairs, sign, _ = pairs_problem()
        padded = np.concatenate([pairs[:5], np.ones((2, 2, 6)), pairs[5:]])
        signs = np.concatenate([sign[:5], [1, -1], sign[5:]])
        params = {"bounds": (1.0, 9.0)} if isinstance(make(), ITML) else {}
        np.testing.assert_array_equal(
            make(**params).fit(padded, signs).components_, make(**params).fit(pairs, sign).components_
        )

    def test_constant_and_dependent_features_and_a_lone_class(self, make):
        X = np.random.default_rng(0).normal(size=(31, 5))
        X[:, 2], X[:, 3] = 7, X[:, 0] + X[:, 1]
        y = np.append(np.arange(30) % 2, 5)
        model = make(random_state=0).fit(X, y)
        assert np.isfinite(model.transform(X)).all()


def test_gmml_needs_both_kinds_and_a_regulariser():
    pairs, sign, _ = pairs_problem()
    with pytest.raises(ValueError, match="no dissimilar pair"):
        GMML().fit(pairs, np.ones(len(sign)))
    with pytest.raises(ValueError, match=r"reg: must be positive with more features"):
        GMML(reg=0).fit(pairs[:3], sign[[0, 0, -1]])
    dependent, constant = pairs.copy(), pairs.copy()
    dependent[:, :, 4] = dependent[:, :, 1] + dependent[:, :, 2]
    constant[:, :, 4] = 7
    with pytest.raises(ValueError, match=r"reg: must be positive, as the features \[4\] are constant"):
        GMML(reg=0).fit(constant, sign)
    with pytest.raises(ValueError, match=r"reg: the (dis)?similar pairs leave some direction"):
        GMML(reg=0).fit(dependent, sign)


def test_bad_bounds():
    pairs, sign, _ = pairs_problem()
    for bounds in [(1.0,), (0.0, 1.0), (1.0, np.nan)]:
        with pytest.raises(ValueError, match=r"bounds: got .*two positive squared distances"):
            ITML(bounds=bounds).fit(pairs, sign)


def test_sampled_pairs():
    codes = np.array([0, 0, 0, 1, 1, 2] * 4)
    pairs, sign = sample_pairs(codes, 60, np.random.default_rng(0))
    similar = codes[pairs[:, 0]] == codes[pairs[:, 1]]
    np.testing.assert_array_equal(similar, sign > 0)
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert len(np.unique(np.sort(pairs, axis=1), axis=0)) == len(pairs)


def test_the_form_is_chosen_by_operations():
    assert _core.itml_form(2000, 1000, 500) == "dense"
    assert _core.itml_form(50, 1225, 51456) == "span"
    assert _core.itml_form(5000, 2500, 100000) == "products"


@pytest.mark.parametrize("model", [ITML, GMML])
def test_ranks_agree_on_arrays(model):
    rng = np.random.default_rng(0)
    points, labels = rng.normal(size=(40, 3)), rng.integers(0, 3, 40)
    sign = np.where(np.arange(20) % 2, 1, -1)

    def refused(cluster, params, data, match):
        with pytest.raises(ValueError, match=match):
            model(cluster=cluster, **params[cluster.rank]).fit(*data[cluster.rank])

    indices = rng.permutation(40).reshape(20, 2)
    other = points + np.eye(40, 3)
    for params, data, match in (
        ([{"preprocessor": points}, {"preprocessor": other}], [(indices, sign)] * 2, "preprocessor: the ranks hold"),
        ([{"prior": np.eye(3)}, {"prior": 2 * np.eye(3)}], [(points, labels)] * 2, "prior: the ranks hold"),
    ):
        Cluster._threads(2, partial(refused, params=params, data=data, match=match), timeout=20)
