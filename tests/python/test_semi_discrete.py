"""SemiDiscreteOT against linear programs, closed forms and finite differences, and the invariances of its dual."""

import sys
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from sklearn.exceptions import ConvergenceWarning

from steppe.ot import SemiDiscreteOT, assign_cells
from steppe.parallel import Cluster

sys.path.insert(0, str(Path(__file__).parents[1] / "reference"))
import semi_discrete as oracle

COSTS = ["sqeuclidean", "euclidean"]


def problem(n, m, d=3, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)).astype(dtype), (rng.normal(size=(m, d)) + 0.5).astype(dtype)


def fit(X, sites, weights=None, *, tol=1e-7, max_iter=60, sample_weight=None, measures=None, shares=None, **params):
    """To the optimum: a tolerance that data need not be able to meet."""
    model = SemiDiscreteOT(sites, weights, tol=tol, max_iter=max_iter, **params)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, sample_weight=sample_weight, measures=measures, measure_weights=shares)


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("shape", [(30, 7), (60, 12), (40, 40), (10, 25), (200, 20), (9, 1), (1, 6), (1, 1)])
def test_reaches_the_linear_program_and_never_exceeds_it(shape, cost, device):
    X, sites = problem(*shape, seed=sum(shape))
    rng = np.random.default_rng(1)
    for p in (np.full(shape[1], 1 / shape[1]), rng.dirichlet(np.full(shape[1], 3.0))):
        C = oracle.cost_matrix(X, sites, cost)
        value = oracle.transport_value(C, p)
        visited = []
        model = fit(
            X,
            sites,
            p,
            cost=cost,
            callbacks=lambda info, seen=visited: seen.append(-info.objective) and None,
            device=device,
        )
        rounding = 1e-12 * max(1, value)
        assert model.cost_ == pytest.approx(value, rel=1e-8)
        assert max([*visited, model.cost_]) <= value + rounding
        assert model.cost_ + model.dual_gap_ >= value - rounding
        assert oracle.dual(C, p, model.potential_) == pytest.approx(model.cost_, rel=1e-12)
        assert p @ model.potential_ == pytest.approx(0, abs=1e-9)
        np.testing.assert_allclose(model.votes_, np.bincount(model.predict(X), minlength=shape[1]) / shape[0])
        assert model.mass_error_ == pytest.approx(abs(model.votes_ - p).sum() / 2, abs=1e-12)


@pytest.mark.parametrize("cost", COSTS)
def test_assignment_problem(cost, device):
    X, sites = problem(50, 50, seed=3)
    C = oracle.cost_matrix(X, sites, cost)
    rows, columns = linear_sum_assignment(C)
    model = fit(X, sites, cost=cost, device=device)
    assert model.cost_ == pytest.approx(C[rows, columns].mean(), rel=1e-9)
    assert model.mass_error_ == 0
    np.testing.assert_array_equal(model.predict(X)[rows], columns)
    np.testing.assert_array_equal(model.transform(X)[rows], sites[columns])


@pytest.mark.parametrize("cost", COSTS)
def test_one_dimension_is_sorting(cost, device):
    rng = np.random.default_rng(0)
    X, sites = rng.normal(size=(120, 1)), rng.exponential(size=(24, 1))
    apart = np.abs(np.sort(X[:, 0]) - np.repeat(np.sort(sites[:, 0]), 5))
    expected = (apart**2).mean() if cost == "sqeuclidean" else apart.mean()
    assert fit(X, sites, cost=cost, device=device).cost_ == pytest.approx(expected, rel=1e-9)


def test_translation(device):
    X, _ = problem(64, 1, d=5)
    shift = np.array([3.0, -1, 0.5, 0, 2])
    model = fit(X, X + shift, device=device)
    assert model.cost_ == pytest.approx(shift @ shift, rel=1e-10)
    np.testing.assert_array_equal(model.predict(X), np.arange(64))
    assert fit(X, X + shift, cost="euclidean", device=device).cost_ <= np.linalg.norm(shift) * (1 + 1e-12)


def test_gaussians(device):
    """W2^2 between normal distributions on the line is (mean difference)^2 + (deviation difference)^2."""
    from scipy.stats import norm

    X = norm.ppf((np.arange(20000) + 0.5) / 20000)[:, None]
    sites = 2 + 0.5 * norm.ppf((np.arange(200) + 0.5) / 200)[:, None]
    model = SemiDiscreteOT(sites, tol=1e-3, device=device).fit(X)
    assert model.cost_ == pytest.approx(4 + 0.25, rel=5e-3)
    boundaries = norm.ppf(np.arange(1, 200) / 200)
    cells = model.predict(np.sort(X, 0))
    np.testing.assert_allclose(np.sort(X[:, 0])[np.flatnonzero(np.diff(cells))], boundaries, atol=0.05)


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("reg", [0.0, 0.2])
def test_gradient_by_the_sites(cost, reg, device):
    X, sites = problem(24, 6, d=2, seed=5)
    model = fit(X, sites, cost=cost, reg=reg, device=device)
    p = np.full(6, 1 / 6)

    def value(places):
        if reg == 0:
            return oracle.transport_value(oracle.cost_matrix(X, places, cost), p)
        return fit(X, places, cost=cost, reg=reg, device=device).cost_

    for j, k in ((0, 0), (3, 1), (5, 0)):
        step = np.zeros_like(sites)
        step[j, k] = 1e-5
        slope = (value(sites + step) - value(sites - step)) / 2e-5
        assert model.gradient_[j, k] == pytest.approx(slope, abs=2e-6)


@pytest.mark.parametrize("cost", COSTS)
def test_entropic_optimum(cost, device):
    X, sites = problem(80, 9)
    rng = np.random.default_rng(2)
    p, a = rng.dirichlet(np.full(9, 4.0)), rng.uniform(0.2, 2, size=80)
    C = oracle.cost_matrix(X, sites, cost)
    for reg in (2.0, 0.3, 0.05):
        model = fit(X, sites, p, cost=cost, reg=reg, sample_weight=a, device=device)
        value, plan = oracle.entropic_dual(C, p, model.potential_, reg, a)
        assert model.cost_ == pytest.approx(value, rel=1e-11)
        np.testing.assert_allclose(np.average(plan, axis=0, weights=a), p, atol=3e-6)
        assert model.mass_error_ < 3e-6
        primal = np.average((plan * (C + reg * np.log(plan / p))).sum(1), weights=a)
        assert model.cost_ == pytest.approx(primal, rel=1e-4)
        assert model.cost_ <= primal + 1e-5
        assert model.cost_ + model.dual_gap_ >= value


def test_weights_of_rows_equal_repetition():
    X, sites = problem(30, 6)
    counts = np.random.default_rng(0).integers(0, 4, size=30)
    weighted = fit(X, sites, sample_weight=counts)
    repeated = fit(np.repeat(X, counts, axis=0), sites)
    assert weighted.cost_ == pytest.approx(repeated.cost_, rel=1e-9)
    C = oracle.cost_matrix(X, sites)
    assert weighted.cost_ == pytest.approx(
        oracle.transport_value(C, np.full(6, 1 / 6), counts / counts.sum()), rel=1e-8
    )


def test_duplicate_sites_and_points_share(device):
    X, sites = problem(40, 5)
    doubled = fit(X, np.concatenate([sites, sites]), device=device)
    assert doubled.cost_ == pytest.approx(fit(X, sites, device=device).cost_, rel=1e-8)
    same = fit(np.zeros((6, 2)), np.zeros((3, 2)), device=device)
    assert same.cost_ == 0
    np.testing.assert_array_equal(same.predict(np.ones((2, 2))), [0, 0])


def test_a_far_site_gets_its_mass(device):
    """Its cell is empty until its potential has risen."""
    X, sites = problem(60, 6)
    sites[2] = 40
    model = fit(X, sites, device=device)
    assert assign_cells(X, sites).tolist().count(2) == 0
    assert model.votes_[2] == pytest.approx(1 / 6)
    assert model.mass_error_ == 0


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("exponent", [-60, 60, -400, 240])
def test_scales(cost, exponent, device):
    X, sites = problem(48, 8)
    factor, power = 2.0**exponent, 2 if cost == "sqeuclidean" else 1
    expected, scaled = (
        fit(X, sites, cost=cost, device=device),
        fit(X * factor, sites * factor, cost=cost, device=device),
    )
    assert scaled.cost_ == pytest.approx(expected.cost_ * factor**power, rel=1e-9)
    np.testing.assert_array_equal(scaled.predict(X * factor), expected.predict(X))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_subnormal_points(dtype, device):
    """Costs that are subnormal numbers are those of whole numbers, to the last digit; so are potentials rounded."""
    tiny = float(np.finfo(dtype).smallest_subnormal)
    X, sites = np.arange(12.0)[:, None], np.array([[1.0], [4.0], [9.0]])
    expected = fit(X, sites, cost="euclidean", device=device)
    model = fit((X * tiny).astype(dtype), (sites * tiny).astype(dtype), cost="euclidean", device=device)
    assert model.cost_ == pytest.approx(expected.cost_ * tiny, rel=1e-5, abs=2 * tiny)


def test_columns_of_zero_variance(device):
    X, sites = problem(40, 8)
    flat = [np.insert(points, 1, 7.3, axis=1) for points in (X, sites)]
    model, expected = fit(*flat, device=device), fit(X, sites, device=device)
    assert model.cost_ == pytest.approx(expected.cost_, rel=1e-9)
    np.testing.assert_allclose(model.gradient_[:, 1], 0, atol=1e-12)


def test_float32(device):
    X, sites = problem(5000, 40, d=8, dtype=np.float32)
    model = SemiDiscreteOT(sites, tol=5e-3, device=device).fit(X)
    double = SemiDiscreteOT(sites.astype(np.float64), tol=5e-3, device=device).fit(X.astype(np.float64))
    assert model.potential_.dtype == model.gradient_.dtype == np.float32
    assert model.mass_error_ <= 5e-3
    assert model.cost_ == pytest.approx(double.cost_, rel=1e-4)


def test_does_not_depend_on_threads():
    X, sites = problem(9000, 50)
    for reg in (0.0, 0.3):
        alone = SemiDiscreteOT(sites, reg=reg).fit(X)
        for n_jobs in (2, 3):
            model = SemiDiscreteOT(sites, reg=reg, n_jobs=n_jobs).fit(X)
            np.testing.assert_array_equal(model.potential_, alone.potential_)
            np.testing.assert_array_equal(model.gradient_, alone.gradient_)
            assert model.cost_ == alone.cost_


@pytest.mark.parametrize("params", [{}, {"reg": 0.3}, {"free_weights": True}], ids=str)
def test_ranks(params):
    """Uneven and empty shares give the model of one process, and the same bits on every rank."""
    X, sites = problem(6000, 30)
    alone = SemiDiscreteOT(sites, tol=1e-3, **params).fit(X)

    def share(cluster, cuts):
        rows = slice(cuts[cluster.rank], cuts[cluster.rank + 1])
        return SemiDiscreteOT(sites, tol=1e-3, cluster=cluster, **params).fit(X[rows])

    for cuts in ([0, 6000], [0, 2500, 6000], [0, 10, 10, 6000]):
        models = Cluster._threads(len(cuts) - 1, partial(share, cuts=cuts))
        for model in models:
            np.testing.assert_array_equal(model.potential_, models[0].potential_)
            assert model.cost_ == models[0].cost_
            assert model.cost_ == pytest.approx(alone.cost_, rel=1e-5)
            assert model.mass_error_ <= 1e-3


def test_free_weights_of_one_measure_are_votes(device):
    X, sites = problem(500, 12)
    model = SemiDiscreteOT(sites, free_weights=True, device=device).fit(X)
    nearest, costs = assign_cells(X, sites, return_cost=True)
    np.testing.assert_allclose(model.weights_, np.bincount(nearest, minlength=12) / 500)
    np.testing.assert_array_equal(model.potential_, 0)
    assert model.cost_ == pytest.approx(costs.mean())
    assert model.dual_gap_ == 0
    assert model.n_iter_ == 1


@pytest.mark.parametrize("cost", COSTS)
def test_barycentre_weights(cost, device):
    """The value of the joint linear program, and weights that reach it."""
    rng = np.random.default_rng(0)
    sites = rng.normal(size=(10, 2))
    parts = [rng.normal(size=(n, 2)) + shift for n, shift in ((15, -1), (20, 0), (25, 1))]
    labels = np.repeat(["b", "c", "a"], [15, 20, 25])
    shares = np.array([0.5, 0.2, 0.3])  # of a, b, c
    order = rng.permutation(60)
    X = np.concatenate(parts)[order]
    model = fit(X, sites, cost=cost, free_weights=True, measures=labels[order], shares=shares, device=device)
    Cs = [oracle.cost_matrix(part, sites, cost) for part in (parts[2], parts[0], parts[1])]
    value, _ = oracle.barycentre_value(Cs, shares)
    assert model.cost_ == pytest.approx(value, rel=1e-6)
    assert model.cost_ <= value * (1 + 1e-12)
    assert model.potential_.shape == (3, 10)
    np.testing.assert_allclose(shares @ model.potential_, 0, atol=1e-9)
    regular = fit(
        X, sites, cost=cost, free_weights=True, measures=labels[order], shares=shares, reg=1e-3, device=device
    )
    p = regular.weights_ / regular.weights_.sum()
    reached = sum(share * oracle.transport_value(C, p) for share, C in zip(shares, Cs, strict=True))
    assert reached == pytest.approx(value, rel=5e-3)


def test_batches_lead_to_the_same_optimum():
    X, sites = problem(4000, 20)
    full = fit(X, sites, batch_size=4000, tol=1e-4)
    for batch_size in (20, 500):
        assert fit(X, sites, batch_size=batch_size, tol=1e-4).cost_ == pytest.approx(full.cost_, rel=1e-6)


def test_warm_start_is_quick():
    X, sites = problem(3000, 30)
    model = SemiDiscreteOT(sites, tol=2e-3, warm_start=True).fit(X)
    updates = model.history_["updates"][-1]
    model.fit(X)
    assert model.history_["updates"][-1] < updates / 2
    assert model.mass_error_ <= 2e-3


def test_sites_are_drawn_from_the_rows():
    X, _ = problem(100, 1)
    model = SemiDiscreteOT(random_state=0).fit(X)
    assert model.sites_.shape == (10, 3)
    assert all((row == X).all(1).any() for row in model.sites_)


@pytest.mark.parametrize(
    ("params", "call", "message"),
    [
        ({"sites": [[1.0, 2.0, 3.0]]}, {}, r"sites: has shape \(1, 3\) and X has shape \(4, 2\)"),
        ({"sites": [[np.nan, 2.0]]}, {}, "sites contains NaN"),
        ({"site_weights": [0.5, 0.3, 0.2]}, {}, r"site_weights: has shape \(3,\), expected \(2,\)"),
        ({"site_weights": [0.5, 0.6]}, {}, "site_weights: sum to 1.1, not 1"),
        ({"site_weights": [1.0, 0.0]}, {}, "site_weights: must be positive and finite; leave out"),
        ({"site_weights": [0.5, 0.5], "free_weights": True}, {}, "site_weights: given with free_weights=True"),
        ({"cost": "cosine"}, {}, "cost"),
        ({"reg": -1.0}, {}, "reg"),
        ({"batch_size": 0}, {}, "batch_size"),
        ({"device": "abacus"}, {}, "The 'device' parameter of SemiDiscreteOT must be"),
        ({"schedule": "nomad"}, {}, "schedule: SemiDiscreteOT does not run on 'nomad'"),
        ({}, {"measures": [0, 0, 1, 1]}, "measures: needs free_weights=True"),
        ({"free_weights": True}, {"measures": [0, 1]}, r"measures: has shape \(2,\), expected \(4,\)"),
        (
            {"free_weights": True},
            {"measures": [0, 0, 1, 1], "measure_weights": [1.0]},
            r"measure_weights: has shape \(1,\), expected \(2,\)",
        ),
        ({"free_weights": True}, {"measures": [0, 0, 1, 1], "sample_weight": [1, 1, 0, 0]}, "have no positive weight"),
        ({}, {"sample_weight": [-1, 1, 1, 1]}, "sample_weight: contains negative weights"),
    ],
)
def test_bad_input(params, call, message):
    model = SemiDiscreteOT(**{"sites": [[0.0, 0.0], [1.0, 1.0]], **params})
    with pytest.raises(ValueError, match=message):
        model.fit(np.arange(8.0).reshape(4, 2), **call)
