"""Sorted projections on a GPU against NumPy."""

import numpy as np
import pytest

from steppe import _device
from steppe.ot import sliced_wasserstein_distance, sorted_targets


def samples(n, m, d, dtype, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)).astype(dtype), (1 + 2 * rng.normal(size=(m, d))).astype(dtype)


def matched_by_rank(x, y):
    """For equal numbers of rows."""
    ranks = np.argsort(np.argsort(x, axis=0, kind="stable"), axis=0)
    return np.take_along_axis(np.sort(y, axis=0), ranks, axis=0)


def targets_of(x, y):
    """Of arrays of the host, by way of the GPU."""
    return _device.to_host(sorted_targets(_device.upload(x), _device.upload(y)))


def along_each(x, y, directions, p):
    options = {"projections": directions, "p": p, "device": "cuda", "return_projected": True}
    return sliced_wasserstein_distance(x, y, **options)[1].distances


def distances(x, y, p):
    """Both repeated to a common number of rows, which changes no distribution."""
    size = np.lcm(len(x), len(y))
    x, y = (np.repeat(np.sort(z.astype(np.float64), axis=0), size // len(z), axis=0) for z in (x, y))
    return (np.abs(x - y) ** p).mean(axis=0) ** (1 / p)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1), (33, 5), (1000, 70), (20000, 3), (300, 1000)])
def test_targets(shape, dtype):
    x, y = samples(shape[0], shape[0], shape[1], dtype)
    x[:, 0] = np.round(x[:, 0])
    np.testing.assert_array_equal(targets_of(x, y), matched_by_rank(x, y))


@pytest.mark.parametrize(("n", "m"), [(6, 4), (100, 300), (300, 100), (17, 23), (1, 9)])
def test_targets_of_unequal_sizes(n, m):
    x, y = samples(n, m, 3, np.float64)
    size = np.lcm(n, m)
    ranks = np.argsort(np.argsort(x, axis=0, kind="stable"), axis=0)
    means = np.repeat(np.sort(y, axis=0), size // m, axis=0).reshape(n, size // n, 3).mean(axis=1)
    np.testing.assert_allclose(targets_of(x, y), np.take_along_axis(means, ranks, axis=0), rtol=1e-12, atol=1e-12)


def test_targets_are_of_the_kind_of_the_argument(kind):
    make, back = kind
    x, y = samples(200, 200, 7, np.float32)
    targets = sorted_targets(make(x), make(y))
    assert type(targets) is type(make(x))
    np.testing.assert_array_equal(back(targets), matched_by_rank(x, y))


@pytest.fixture(scope="module")
def directions():
    try:
        _device.load().cublas_path()
    except RuntimeError as error:
        pytest.skip(str(error))
    made = np.random.default_rng(1).normal(size=(6, 50))
    return made / np.linalg.norm(made, axis=0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("p", [1, 2, 3.5, 60])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (500, 500), (300, 200), (20, 700)])
def test_distances(directions, n, m, p, dtype):
    x, y = samples(n, m, 6, dtype)
    along = directions.astype(dtype)
    found = along_each(x, y, along, p)
    rounding = 1e-4 if dtype == np.float32 else 1e-11
    np.testing.assert_allclose(found, distances(x @ along, y @ along, p), rtol=rounding, atol=rounding)
    assert along_each(x, x, along, p).max() == 0


def test_what_was_projected_is_of_the_kind_of_the_argument(directions, kind):
    make, back = kind
    x, y = samples(300, 200, 6, np.float64)
    expected = sliced_wasserstein_distance(x, y, projections=directions)
    for given in (directions, make(directions)):
        found, projected = sliced_wasserstein_distance(
            make(x), make(y), projections=given, device="cuda", return_projected=True
        )
        assert found == pytest.approx(expected, rel=1e-12)
        assert all(type(array) is type(make(x)) for array in projected[1:])
        for array, wanted in zip(projected[1:], (directions, x @ directions, y @ directions), strict=True):
            np.testing.assert_allclose(back(array), wanted, rtol=1e-12, atol=1e-12)


def test_many_columns_take_many_blocks(directions):
    """More columns than are sorted at a time, on both streams."""
    x, y = samples(70, 90, 6, np.float64)
    along = np.repeat(directions, 60, axis=1)
    found = along_each(x, y, along, 2)
    np.testing.assert_allclose(found, np.repeat(found[::60], 60), rtol=1e-12)
    np.testing.assert_allclose(found[::60], distances(x @ directions, y @ directions, 2), rtol=1e-11)


def test_scales(directions):
    x, y = samples(200, 200, 6, np.float64)
    expected = along_each(x, y, directions, 60)
    for factor in (2.0**-300, 2.0**300):
        found = along_each(x * factor, y * factor, directions, 60)
        np.testing.assert_allclose(found, expected * factor, rtol=1e-12)
    large, zeros = np.full((3, 6), 3e38, np.float32), np.zeros((3, 6), np.float32)
    with pytest.raises(ValueError, match="overflow float32"):
        along_each(large, zeros, np.ones((6, 2), np.float32), 2)
