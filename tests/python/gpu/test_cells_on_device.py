"""assign_cells on a GPU against the CPU's."""

import numpy as np
import pytest

from steppe.ot import _on_device, assign_cells

COSTS = ["sqeuclidean", "euclidean"]
SHAPES = [(1, 1, 1), (7, 3, 2), (129, 130, 9), (1000, 300, 17), (300, 1000, 64), (5, 20, 700)]


def problem(n, m, d, dtype):
    rng = np.random.default_rng(0)
    X, sites = rng.normal(size=(n, d)).astype(dtype), rng.normal(size=(m, d)).astype(dtype)
    return X, sites, rng.normal(size=m)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_cpu(shape, cost, dtype):
    X, sites, phi = problem(*shape, dtype)
    for potential in (None, phi):
        expected, value = assign_cells(X, sites, potential, cost=cost, return_cost=True)
        labels, costs = _on_device.assign_cells(X, sites, potential, cost=cost, return_cost=True)
        assert labels.dtype == np.int32
        assert costs.dtype == dtype
        if dtype == np.float64:
            np.testing.assert_array_equal(labels, expected)
        rounding = 1e-13 if dtype == np.float64 else 5e-6
        np.testing.assert_allclose(costs, value, rtol=rounding, atol=rounding * shape[2])


def test_arrays_stay_where_they_are(kind):
    make, back = kind
    X, sites, phi = problem(300, 40, 5, np.float32)
    labels, costs = _on_device.assign_cells(make(X), make(sites), make(phi), cost="sqeuclidean", return_cost=True)
    expected, value = assign_cells(X, sites, phi, return_cost=True)
    assert type(labels) is type(make(X))
    np.testing.assert_array_equal(back(labels), expected)
    np.testing.assert_allclose(back(costs), value, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cost", COSTS)
def test_lowest_index_among_equals(cost, dtype):
    grid = np.stack(np.meshgrid(np.arange(20), np.arange(20)), -1).reshape(-1, 2).astype(dtype)
    sites = np.concatenate([grid, grid])
    for X in (grid, grid + dtype(0.5)):
        labels = _on_device.assign_cells(X, sites, cost=cost, return_cost=False)
        np.testing.assert_array_equal(labels, assign_cells(X, sites, cost=cost))
        assert labels.max() < len(grid)


def test_rows_that_do_not_start_on_16_bytes():
    X, sites, _ = problem(300, 40, 8, np.float32)
    from steppe import _device

    wide = np.zeros((300, 9), np.float32)
    wide[:, 1:] = X
    whole = _device.upload(wide)
    part = _device.DeviceArray(whole.pointer + 4, (300, 8), (9, 1), "<f4", whole.device, owner=whole)
    labels = _device.to_host(_on_device.assign_cells(part, sites, cost="sqeuclidean", return_cost=False))
    np.testing.assert_array_equal(labels, assign_cells(X, sites))


@pytest.mark.parametrize("shape", SHAPES)
def test_tf32_is_as_good_as_it_says(shape):
    X, sites, phi = problem(*shape, np.float32)
    labels = _on_device.assign_cells(X, sites, phi, cost="sqeuclidean", return_cost=False, precision="tf32")
    centre = sites.mean(axis=0)
    reach = np.linalg.norm(X - centre, axis=1) * np.linalg.norm(sites - centre, axis=1).max()
    best = assign_cells(X, sites, phi, return_cost=True)[1]
    met = ((X - sites[labels]).astype(np.float64) ** 2).sum(axis=1) - phi[labels]
    assert (met - best <= 2 * 2.0**-9 * (1 + shape[2] * 2.0**-14) * 1.1 * reach + 1e-5 * (1 + abs(best))).all()
    with pytest.raises(ValueError, match="precision"):
        _on_device.assign_cells(X, sites, phi, cost="euclidean", return_cost=False, precision="tf32")


def test_not_finite_is_refused(kind):
    make, _ = kind
    X, sites, _ = problem(300, 40, 5, np.float32)
    X[17, 3] = np.nan
    with pytest.raises(ValueError, match="X: contains NaN"):
        _on_device.assign_cells(make(X), sites, cost="sqeuclidean", return_cost=False)
