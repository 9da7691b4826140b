"""BayesianGaussianMixture against its oracle, closed forms and scikit-learn."""

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy.special import gammaln
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import BayesianGaussianMixture as TheirMixture

import steppe
from steppe.mixture import BayesianGaussianMixture

sys.path.insert(0, str(Path(__file__).parents[1] / "reference"))
import mixture as oracle

TYPES = ("diag", "full")
QUICK = {"random_state": 0, "tol": 0}


def planted(n=240, k=3, d=3, *, spread=5.0, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    means = spread * rng.normal(size=(k, d))
    return (means[rng.integers(k, size=n)] + rng.normal(size=(n, d))).astype(dtype)


def prior_of(model):
    return oracle.Prior(
        model.weight_concentration_prior_,
        model.mean_precision_prior_,
        np.float64(model.mean_prior_),
        model.degrees_of_freedom_prior_,
        np.float64(model.covariance_prior_),
        model.reg_covar,
    )


def posterior_of(model):
    nu = np.float64(model.degrees_of_freedom_)
    V = np.float64(model.covariances_) * nu.reshape((-1,) + (1,) * (model.covariances_.ndim - 1))
    parts = (model.weight_concentration_, model.mean_precision_, model.means_)
    alpha, beta, means = (np.float64(part) for part in parts)
    return oracle.Posterior(alpha, beta, means, nu, V)


def assert_same_posterior(model, q, rtol=1e-9):
    ours = posterior_of(model)
    for name in ("alpha", "beta", "mean", "nu", "V"):
        expected = getattr(q, name)
        np.testing.assert_allclose(getattr(ours, name), expected, rtol, rtol * np.abs(expected).max(), err_msg=name)


@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("schedule,n_jobs", [("serial", 1), ("batch", 2)])
def test_batch_inference_is_the_oracle_s(covariance_type, weighted, schedule, n_jobs):
    X = planted()
    s = np.random.default_rng(1).uniform(0, 2, len(X)) if weighted else None
    common = {"n_components": 5, "covariance_type": covariance_type, "reg_covar": 1e-2, **QUICK}
    start = BayesianGaussianMixture(**common, max_iter=1).fit(X, sample_weight=s)
    model = BayesianGaussianMixture(**common, max_iter=8, schedule=schedule, n_jobs=n_jobs).fit(X, sample_weight=s)
    prior = prior_of(start)
    Z = oracle.responsibilities(X, posterior_of(start), prior)
    q, _, bounds = oracle.batch(X, Z, prior, 6, s)
    assert_same_posterior(model, q)
    assert model.lower_bound_ == pytest.approx(bounds[-1], rel=1e-10)
    assert model.history_["objective"][-1] == pytest.approx(-bounds[-1], rel=1e-10)


@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize("schedule", ["bsp", "nomad"])
def test_extreme_inference_ends_where_batch_inference_ends(covariance_type, schedule):
    X = planted(300, 4)
    common = {"n_components": 4, "covariance_type": covariance_type, "max_iter": 600, **QUICK}
    batch = BayesianGaussianMixture(**common).fit(X)
    model = BayesianGaussianMixture(**common, schedule=schedule, n_jobs=2).fit(X)
    assert model.lower_bound_ == pytest.approx(batch.lower_bound_, rel=1e-9)
    np.testing.assert_allclose(model.means_, batch.means_, atol=1e-4)
    q, _, bounds = oracle.extreme(X, batch.predict_proba(X), prior_of(batch), 3, 2, np.random.default_rng(0))
    assert bounds[-1] == pytest.approx(model.lower_bound_, rel=1e-9)
    assert_same_posterior(model, q, 1e-4)


@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize("schedule", ["serial", "batch", "bsp", "nomad"])
def test_the_bound_never_falls(covariance_type, schedule):
    X = planted(400, 4, spread=1.5)
    bounds = []
    BayesianGaussianMixture(
        12,
        covariance_type=covariance_type,
        init_params="random",
        schedule=schedule,
        n_jobs=2,
        max_iter=60,
        callbacks=lambda info: bounds.append(-info.objective),
        **QUICK,
    ).fit(X)
    assert (np.diff(bounds) >= -1e-9 * np.abs(bounds[-1])).all()


@pytest.mark.parametrize("covariance_type", TYPES)
def test_stochastic_inference_nears_batch_inference(covariance_type):
    X = planted(4000, 3)
    common = {"n_components": 3, "covariance_type": covariance_type, **QUICK}
    batch = BayesianGaussianMixture(**common, max_iter=100).fit(X)
    model = BayesianGaussianMixture(**common, schedule="svi", batch_size=200, max_iter=30).fit(X)
    assert model.lower_bound_ <= batch.lower_bound_
    assert model.lower_bound_ == pytest.approx(batch.lower_bound_, rel=1e-3)
    np.testing.assert_allclose(model.means_, batch.means_, atol=0.05)
    assert model.weight_concentration_.sum() == pytest.approx(4001)
    # The bound is that of these parameters: of the oracle with the best responsibilities for them.
    prior, q = prior_of(model), posterior_of(model)
    Z = oracle.responsibilities(X, q, prior)
    assert oracle.bound(X, Z, oracle.posterior(X, Z, prior), prior) >= model.lower_bound_


def their_constant(model, n):
    """What scikit-learn's lower bound leaves out: all that does not change in a fit."""
    k, d = model.means_.shape
    nu, beta, alpha = (
        model.degrees_of_freedom_prior_,
        model.mean_precision_prior_,
        model.weight_concentration_prior_,
    )
    log_det = np.linalg.slogdet(model.covariance_prior_)[1]
    wishart = nu / 2 * log_det - nu * d / 2 * np.log(2) - gammaln((nu - np.arange(d)) / 2).sum() + d / 2 * np.log(beta)
    dirichlet = gammaln(k * alpha) - k * gammaln(alpha)
    return k * wishart + dirichlet - n * d / 2 * np.log(2 * np.pi)


def test_bound_and_responsibilities_are_scikit_learns_on_the_same_parameters():
    """Full covariances: their parameters come from ours by name, and one E and M step of theirs must give our bound.

    Theirs is compared without reg_covar, which they add to each component's covariance only, and with the constants
    that they leave out. Their "diag" is left aside: it takes the expected log determinant of a Wishart matrix for that
    of independent Gamma precisions, which is no bound of this model.
    """
    X = planted(300, 4, d=4)
    priors = {
        "mean_precision_prior": 0.7,
        "mean_prior": X.mean(0) + 0.1,
        "degrees_of_freedom_prior": 6.0,
        "covariance_prior": np.cov(X.T),
        "reg_covar": 0.0,
    }
    model = BayesianGaussianMixture(6, weight_concentration_prior=0.3, max_iter=12, **priors, **QUICK).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        theirs = TheirMixture(
            n_components=6,
            weight_concentration_prior_type="dirichlet_distribution",
            weight_concentration_prior=0.3,
            max_iter=1,
            random_state=0,
            **priors,
        ).fit(X)
    for name in ("weight_concentration_", "mean_precision_", "means_", "degrees_of_freedom_"):
        setattr(theirs, name, getattr(model, name))
    for name in ("covariances_", "precisions_cholesky_", "precisions_", "weights_"):
        assert getattr(theirs, name).shape == getattr(model, name).shape
        setattr(theirs, name, getattr(model, name))
    np.testing.assert_allclose(model.predict_proba(X), theirs.predict_proba(X), atol=1e-12)
    np.testing.assert_allclose(model.score_samples(X), theirs.score_samples(X), rtol=1e-11)
    np.testing.assert_array_equal(model.predict(X), theirs.predict(X))
    upper = model.precisions_cholesky_
    np.testing.assert_allclose(upper, np.triu(upper), atol=0)
    np.testing.assert_allclose(upper @ np.swapaxes(upper, 1, 2), model.precisions_, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(model.precisions_ @ model.covariances_, np.tile(np.eye(4), (6, 1, 1)), atol=1e-9)

    again = BayesianGaussianMixture(6, weight_concentration_prior=0.3, max_iter=13, **priors, **QUICK).fit(X)
    log_prob_norm, log_resp = theirs._e_step(X)
    theirs._m_step(X, log_resp)
    bound = theirs._compute_lower_bound(log_resp, log_prob_norm) + their_constant(again, len(X))
    assert again.lower_bound_ == pytest.approx(bound, rel=1e-10)
    np.testing.assert_allclose(again.means_, theirs.means_, rtol=1e-9)
    np.testing.assert_allclose(again.covariances_, theirs.covariances_, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_one_component_in_closed_form(covariance_type):
    X = planted(50, 2, dtype=np.float32).astype(np.float64)
    model = BayesianGaussianMixture(1, covariance_type=covariance_type, max_iter=1, **QUICK).fit(X)
    q = oracle.posterior(X, np.ones((50, 1)), prior_of(model))
    assert_same_posterior(model, q, 1e-12)
    assert model.lower_bound_ == pytest.approx(oracle.bound(X, np.ones((50, 1)), q, prior_of(model)), rel=1e-12)
    np.testing.assert_allclose(model.weights_, 1)
    np.testing.assert_allclose(model.predict_proba(X), 1)


@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize("schedule", ["serial", "bsp", "batch"])
def test_weights_are_repetitions_and_zero_is_absence(covariance_type, schedule):
    X = planted(200, 3)
    s = np.random.default_rng(2).integers(0, 4, len(X))
    model = BayesianGaussianMixture(
        4, covariance_type=covariance_type, schedule=schedule, max_iter=40 if schedule == "bsp" else 10, **QUICK
    )
    weighted = model.fit(X, sample_weight=s)
    bound, means = weighted.lower_bound_, weighted.means_
    repeated = model.fit(np.repeat(X, s, axis=0))
    exact = schedule != "bsp"  # rows are dealt to other shards
    assert repeated.lower_bound_ == pytest.approx(bound, rel=1e-10 if exact else 1e-4)
    if exact:
        np.testing.assert_allclose(repeated.means_, means, rtol=1e-9)
        without = model.fit(X[s > 0], sample_weight=s[s > 0])
        np.testing.assert_allclose(without.means_, means, rtol=1e-12)
        assert without.lower_bound_ == pytest.approx(bound, rel=1e-12)


@pytest.mark.parametrize("schedule", ["serial", "bsp", "nomad", "batch", "svi"])
@pytest.mark.parametrize("covariance_type", TYPES)
def test_duplicates_constants_and_too_many_components(covariance_type, schedule):
    X = np.repeat([[0.0, 1, 5], [2, 1, 5], [4, 1, 5]], [5, 1, 3], axis=0)
    model = BayesianGaussianMixture(
        8, covariance_type=covariance_type, schedule=schedule, n_jobs=2, max_iter=20, **QUICK
    )
    with pytest.warns(
        UserWarning, match=r"n_components=8 is more than the 3 distinct rows: the components \[3, 4, 5, 6, 7\]"
    ):
        model.fit(X)
    for name in ("weights_", "means_", "covariances_", "precisions_", "lower_bound_"):
        assert np.isfinite(getattr(model, name)).all(), name
    np.testing.assert_allclose(
        model.means_[model.weights_ > 0.1][:, 1:], np.tile([1, 5], ((model.weights_ > 0.1).sum(), 1))
    )
    assert len(set(model.predict(X[:5]))) == 1


def test_components_that_lose_their_rows_are_reseeded_with_a_warning(monkeypatch):
    """Two seeds on one place: the second has no row, until it is moved to the farthest."""
    X = np.concatenate([planted(50, 1, seed=1), planted(50, 1, seed=2) + 100])

    def seeds(points, n, **_):
        return np.concatenate([points[:1], points[:1], points[-1:]])[:n], None

    monkeypatch.setattr("steppe.mixture._start.kmeans_plusplus", seeds)
    with pytest.warns(UserWarning, match=r"the components \[1\] had lost all of their rows and were reseeded"):
        model = BayesianGaussianMixture(3, max_iter=2, **QUICK).fit(X)
    assert model.weights_[1] > 0.1


@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize("schedule,n_jobs", [("serial", 1), ("bsp", 2), ("batch", 2)])
def test_float32_far_from_the_origin(covariance_type, schedule, n_jobs):
    """Rows that float32 holds exactly, shifted by a million: the same fit as at the origin, in float64, to rounding."""
    X = np.round(planted(2000, 4, spread=20) * 4) / 4
    s = np.random.default_rng(3).uniform(0.5, 2, len(X)).astype(np.float32)
    model = BayesianGaussianMixture(
        4, covariance_type=covariance_type, schedule=schedule, n_jobs=n_jobs, max_iter=30, **QUICK
    )
    near = model.fit(X, sample_weight=s.astype(np.float64))
    means, covariances, labels, bound = near.means_, near.covariances_, near.predict(X), near.lower_bound_
    shift = np.float32(2**20)
    far = (X + shift).astype(np.float32)
    np.testing.assert_array_equal(far - shift, X)
    model.fit(far, sample_weight=s)
    assert model.means_.dtype == np.float32
    np.testing.assert_allclose(model.means_ - np.float64(shift), means, atol=0.07)
    np.testing.assert_allclose(model.covariances_, covariances, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(model.predict(far), labels)
    assert model.lower_bound_ == pytest.approx(bound, rel=1e-5)


def test_tight_components_far_apart_in_float32():
    """Their width is a thousandth of their distance: squares about a common origin would lose it."""
    rng = np.random.default_rng(0)
    centres = 1000 * rng.normal(size=(4, 5))
    X = (centres[rng.integers(4, size=1000)] + rng.normal(size=(1000, 5))).astype(np.float32)
    for covariance_type in TYPES:
        common = {
            "n_components": 4,
            "covariance_type": covariance_type,
            "covariance_prior": None,
            "max_iter": 5,
            **QUICK,
        }
        common["covariance_prior"] = np.eye(5) if covariance_type == "full" else np.ones(5)
        single = BayesianGaussianMixture(**common).fit(X)
        double = BayesianGaussianMixture(**common).fit(X.astype(np.float64))
        np.testing.assert_allclose(single.covariances_, double.covariances_, rtol=1e-4, atol=1e-4)


def test_thousands_of_components_without_a_dense_matrix():
    """n x K of these would be 1.6 GB in float64; a child process may not have it, and its batch of shares is small."""
    resource = pytest.importorskip("resource")
    X = planted(100_000, 500, 4, spread=20, dtype=np.float32)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for schedule in ("serial", "nomad"):
        model = BayesianGaussianMixture(
            2000, covariance_type="diag", schedule=schedule, n_jobs=2, max_iter=2, **QUICK
        ).fit(X)
        assert len(model.weights_) == 2000
        assert model.predict(X).max() < 2000
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert grown < 400e6


def test_partial_fit_counts_all_batches():
    X = planted(900, 3, spread=20)
    model = BayesianGaussianMixture(3, **QUICK)
    for part in np.array_split(X, 3):
        model.partial_fit(part)
    assert model.n_iter_ == 3
    assert model.weight_concentration_.sum() == pytest.approx(901)
    assert model.mean_precision_.sum() == pytest.approx(903)
    whole = BayesianGaussianMixture(3, max_iter=50, **QUICK).fit(X)
    order = np.argmin(np.abs(model.means_[:, None] - whole.means_).sum(-1), axis=1)
    assert sorted(order) == [0, 1, 2]
    np.testing.assert_allclose(model.means_, whole.means_[order], atol=0.1)
    np.testing.assert_allclose(model.covariances_, whole.covariances_[order], atol=0.4)


def test_partial_fit_is_one_step_from_the_posterior_of_before():
    X, more = planted(200, 3), planted(100, 3, seed=0)[:80]
    for covariance_type in TYPES:
        model = BayesianGaussianMixture(3, covariance_type=covariance_type, max_iter=5, **QUICK).fit(X)
        prior, before = prior_of(model), posterior_of(model)
        model.partial_fit(more)
        Z = oracle.responsibilities(more, before, prior)
        # All earlier posteriors as the prior of each component.
        n = Z.sum(0)
        for k in range(3):
            of_k = oracle.Prior(before.alpha[k], before.beta[k], before.mean[k], before.nu[k], before.V[k], prior.reg)
            q = oracle.posterior(more, Z[:, k : k + 1], of_k)
            np.testing.assert_allclose(model.means_[k], q.mean[0], rtol=1e-9)
            np.testing.assert_allclose(
                model.covariances_[k] * model.degrees_of_freedom_[k], q.V[0], rtol=1e-8, atol=1e-8
            )
            assert model.weight_concentration_[k] == pytest.approx(before.alpha[k] + n[k])


def test_warm_start_goes_on():
    X = planted(300, 4, spread=2)
    model = BayesianGaussianMixture(5, max_iter=7, warm_start=True, **QUICK).fit(X)
    model.set_params(max_iter=4).fit(X)
    at_once = BayesianGaussianMixture(5, max_iter=11, **QUICK).fit(X)
    np.testing.assert_allclose(model.means_, at_once.means_, rtol=1e-8)
    assert model.lower_bound_ == pytest.approx(at_once.lower_bound_, rel=1e-10)
    model.set_params(n_components=4).fit(X)  # another shape starts anew
    assert model.means_.shape == (4, 3)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_verbs(covariance_type, tmp_path):
    X = planted(500, 3)
    model = BayesianGaussianMixture(4, covariance_type=covariance_type, random_state=0).fit(X)
    assert model.converged_
    np.testing.assert_array_equal(model.predict(X), model.predict_proba(X).argmax(1))
    np.testing.assert_array_equal(model.fit_predict(X), model.predict(X))
    assert model.score(X) == pytest.approx(model.score_samples(X).mean())
    drawn, labels = model.sample(20_000)
    assert drawn.shape == (20_000, 3)
    assert (np.diff(labels) >= 0).all()
    for k in np.flatnonzero(model.weights_ > 0.2):
        np.testing.assert_allclose(drawn[labels == k].mean(0), model.means_[k], atol=0.1)
        spread = np.cov(drawn[labels == k].T)
        spread = spread if covariance_type == "full" else np.diag(spread)
        np.testing.assert_allclose(spread, model.covariances_[k], atol=0.15)
    n_parameters = 3 + 12 + 4 * (6 if covariance_type == "full" else 3)
    assert model.aic(X) == pytest.approx(-2 * 500 * model.score(X) + 2 * n_parameters)
    assert model.bic(X) == pytest.approx(-2 * 500 * model.score(X) + np.log(500) * n_parameters)
    model.save(tmp_path / "mixture")
    other = steppe.load(tmp_path / "mixture")
    np.testing.assert_array_equal(other.partial_fit(X[:50]).means_, model.partial_fit(X[:50]).means_)
    with pytest.raises(ValueError, match="n_samples"):
        model.sample(0)


def test_bad_parameters_are_named():
    X = planted(30)
    for name, value, match in (
        ("n_components", 0, "n_components"),
        ("covariance_type", "tied", "covariance_type"),
        ("degrees_of_freedom_prior", 2.0, "degrees_of_freedom_prior: got 2.0; must be greater than 2"),
        ("mean_prior", [0.0, 1], r"mean_prior: has shape \(2,\), expected \(3,\)"),
        ("covariance_prior", np.ones((3, 3)), "covariance_prior: is not positive definite at feature 1"),
        ("covariance_prior", np.triu(np.ones((3, 3))), "covariance_prior: is not symmetric"),
        ("schedule", "hogwild", "does not run on 'hogwild'"),
        ("learning_decay", 2.0, "learning_decay"),
    ):
        with pytest.raises(ValueError, match=match):
            BayesianGaussianMixture(**{name: value}).fit(X)
    X[:, 1] = 7
    with pytest.raises(ValueError, match="at feature 1; is the feature constant"):
        BayesianGaussianMixture(2, reg_covar=0).fit(X)
