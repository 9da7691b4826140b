"""assign_cells against its oracle, and where it could go wrong: ties, scales, offsets, layouts, bad input."""

import sys
from pathlib import Path

import numpy as np
import pytest

from steppe.ot import assign_cells

sys.path.insert(0, str(Path(__file__).parents[1] / "reference"))
import semi_discrete as oracle

COSTS = ["sqeuclidean", "euclidean"]


def problem(n, m, d, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    X, sites = rng.normal(size=(n, d)).astype(dtype), rng.normal(size=(m, d)).astype(dtype)
    return X, sites, rng.normal(size=m)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (7, 3, 2), (49, 8, 4), (200, 9, 5), (100, 300, 17), (1000, 33, 64), (5, 20, 700)]
)
def test_equals_the_oracle(shape, cost, dtype, device):
    X, sites, phi = problem(*shape, dtype=dtype)
    for potential in (None, phi):
        expected, value = oracle.cells(X, sites, 0 if potential is None else potential, cost)
        labels, costs = assign_cells(X, sites, potential, cost=cost, return_cost=True, device=device)
        assert labels.dtype == np.int32
        assert costs.dtype == dtype
        if dtype == np.float64:
            np.testing.assert_array_equal(labels, expected)
        rounding = 1e-13 if dtype == np.float64 else 5e-6
        np.testing.assert_allclose(costs, value, rtol=rounding, atol=rounding * shape[2])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("with_potential", [False, True])
def test_lowest_index_among_equals(cost, dtype, with_potential, device):
    grid = np.stack(np.meshgrid(np.arange(6), np.arange(6)), -1).reshape(-1, 2).astype(dtype)
    sites = np.concatenate([grid, grid])
    halfway = grid[:-7] + np.array([0.5, 0], dtype)
    for X in (grid, grid + dtype(0.5), halfway):
        for offset in (0, 1000, -31):
            potential = np.full(len(sites), 3.0) if with_potential else None
            labels = assign_cells(X + dtype(offset), sites + dtype(offset), potential, cost=cost, device=device)
            np.testing.assert_array_equal(labels, oracle.cells(X, sites, 0, cost)[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cost", COSTS)
def test_scales(cost, dtype, device):
    """A power of two that multiplies everything changes nothing, down to subnormals and up to where costs overflow."""
    X, sites, phi = problem(300, 40, 5, dtype=dtype)
    expected = assign_cells(X, sites, phi, cost=cost, device=device)
    nearest = assign_cells(X, sites, cost=cost, device=device)
    limits = np.finfo(dtype)
    power = 2 if cost == "sqeuclidean" else 1
    for exponent in (-40, 40, -limits.maxexp // 2 - 5, limits.maxexp // 2 + 5):
        factor = 2.0**exponent
        scaled = (X * factor).astype(dtype), (sites * factor).astype(dtype)
        np.testing.assert_array_equal(assign_cells(*scaled, cost=cost, device=device), nearest)
        if abs(exponent * power) < 1000:
            np.testing.assert_array_equal(
                assign_cells(*scaled, phi * factor**power, cost=cost, device=device), expected
            )
    tiny = limits.smallest_subnormal
    steps = np.arange(10, dtype=dtype)[:, None] * tiny
    np.testing.assert_array_equal(
        assign_cells(steps, steps[::3], cost=cost, device=device), [0, 0, 1, 1, 1, 2, 2, 2, 3, 3]
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cost", COSTS)
def test_rows_far_beyond_the_sites(cost, dtype):
    """Very far points belong to the site that is furthest in their direction, and disturb no neighbour."""
    X, sites, phi = problem(100, 20, 3, dtype=dtype)
    near = assign_cells(X, sites, phi, cost=cost)
    huge = np.finfo(dtype).max / 8
    far = np.array([[huge, 0, 0], [0, -huge, 0], [0, 0, huge]], dtype)
    mixed = np.concatenate([X[:50], far, X[50:]])
    labels = assign_cells(mixed, sites, phi, cost=cost)
    np.testing.assert_array_equal(np.delete(labels, [50, 51, 52]), near)
    if cost == "sqeuclidean":
        np.testing.assert_array_equal(labels[50:53], [sites[:, 0].argmax(), sites[:, 1].argmin(), sites[:, 2].argmax()])


def test_offsets_do_not_cancel(device):
    X, sites, phi = problem(500, 50, 8)
    for cost in COSTS:
        expected = assign_cells(X, sites, phi, cost=cost, device=device)
        assert (assign_cells(X + 1e7, sites + 1e7, phi, cost=cost, device=device) == expected).mean() > 0.999
        single = assign_cells(
            (X + 1000).astype(np.float32), (sites + 1000).astype(np.float32), phi, cost=cost, device=device
        )
        assert (single == expected).mean() > 0.99


@pytest.mark.parametrize("cost", COSTS)
def test_constant_added_to_potentials(cost, device):
    X, sites, phi = problem(500, 50, 8)
    expected = assign_cells(X, sites, phi, cost=cost, device=device)
    for shift in (1.0, -37.25, 4096.0):
        np.testing.assert_array_equal(assign_cells(X, sites, phi + shift, cost=cost, device=device), expected)


def test_a_potential_that_no_distance_makes_up_for(device):
    X, sites, _ = problem(200, 12, 3, dtype=np.float32)
    for banned in (-1e5, -1e30, -1e300):
        phi = np.zeros(12)
        phi[[0, 5]] = banned
        keep = np.setdiff1d(np.arange(12), [0, 5])
        np.testing.assert_array_equal(
            assign_cells(X, sites, phi, device=device), keep[assign_cells(X, sites[keep], device=device)]
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_does_not_depend_on_threads_or_blocks(dtype):
    X, sites, phi = problem(20011, 137, 9, dtype=dtype)
    for cost in COSTS:
        labels, costs = assign_cells(X, sites, phi, cost=cost, return_cost=True)
        for n_jobs in (2, 3):
            again = assign_cells(X, sites, phi, cost=cost, return_cost=True, n_jobs=n_jobs)
            np.testing.assert_array_equal(again[0], labels)
            np.testing.assert_array_equal(again[1], costs)
        for first, last in ((0, 1), (5, 30), (19990, 20011)):
            np.testing.assert_array_equal(assign_cells(X[first:last], sites, phi, cost=cost), labels[first:last])


def test_zero_variance_columns_and_duplicate_points(device):
    X, sites, phi = problem(100, 10, 3)
    X[:, 1] = sites[:, 1] = 7.3
    expected = oracle.cells(X, sites, phi)[0]
    np.testing.assert_array_equal(assign_cells(X, sites, phi, device=device), expected)
    np.testing.assert_array_equal(assign_cells(np.repeat(X, 3, 0), sites, phi, device=device), np.repeat(expected, 3))
    same = np.repeat(sites[:1], 5, 0)
    np.testing.assert_array_equal(assign_cells(X, same, device=device), np.zeros(100))
    np.testing.assert_array_equal(assign_cells(X, same, [0, 1, 3, 3, 2], device=device), np.full(100, 2))


def test_inputs_of_other_kinds():
    X, sites, phi = problem(30, 6, 4)
    expected = assign_cells(X, sites, phi)
    for other in (np.asfortranarray(X), X.tolist(), X[::-1][::-1]):
        np.testing.assert_array_equal(assign_cells(other, sites.tolist(), phi.tolist()), expected)
    assert assign_cells([[1, 2]], [[3, 4], [1, 1]]).tolist() == [1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": [[np.nan, 0.0]]}, "X contains NaN"),
        ({"sites": [[np.inf, 0.0]]}, "sites contains infinity"),
        ({"X": np.zeros((0, 2))}, "0 sample"),
        ({"sites": np.zeros((0, 2))}, "0 sample"),
        ({"X": [1.0, 2.0]}, "2D array"),
        ({"sites": [[1.0, 2.0, 3.0]]}, r"sites: has shape \(1, 3\) and X has shape \(2, 2\)"),
        ({"potential": [1.0]}, r"potential: has shape \(1,\), expected \(2,\)"),
        ({"potential": [1.0, np.nan]}, "potential: contains NaN or infinity"),
        ({"cost": "cosine"}, "cost: got 'cosine'; choose one of"),
        ({"n_jobs": 0}, "n_jobs: got 0"),
        ({"device": "tpu"}, "device: got 'tpu'"),
    ],
)
def test_bad_input(change, message):
    good = {"X": [[0.0, 1.0], [2.0, 3.0]], "sites": [[0.0, 0.0], [1.0, 1.0]]}
    with pytest.raises(ValueError, match=message):
        assign_cells(**{**good, **change})


def test_device_auto_falls_back():
    assert assign_cells([[0.0]], [[1.0]], device="auto").tolist() == [0]
