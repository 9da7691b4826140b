"""steppe.ot's sliced Wasserstein distance and what learning by it needs."""

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from steppe import _core
from steppe.ot import separating_directions, sliced_wasserstein_distance, sorted_targets
from steppe.parallel import Cluster

sys.path.insert(0, str(Path(__file__).parent.parent / "reference"))
import sliced_wasserstein as reference


def samples(n=60, m=60, d=5, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)).astype(dtype), (1.5 * rng.normal(size=(m, d)) + 0.3).astype(dtype)


def sphere(d, n, dtype=np.float64, seed=1):
    directions = np.random.default_rng(seed).normal(size=(d, n))
    return (directions / np.linalg.norm(directions, axis=0)).astype(dtype)


def line(x, y, p, **options):
    """The distance of two samples on the line."""
    options = {"projections": [[1.0]], **options}
    return sliced_wasserstein_distance(np.reshape(x, (-1, 1)), np.reshape(y, (-1, 1)), p=p, **options)


@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-5), (np.float64, 1e-12)])
@pytest.mark.parametrize("p", [1, 2, 3, 1.5])
@pytest.mark.parametrize("n, m", [(60, 60), (60, 41), (1, 60), (1, 1), (7, 700)])
def test_value_is_that_of_the_reference(n, m, p, dtype, tolerance, device):
    X, Y = samples(n, m, dtype=dtype)
    P = sphere(5, 13, dtype)
    value, projected = sliced_wasserstein_distance(X, Y, projections=P, p=p, return_projected=True, device=device)
    assert value == pytest.approx(reference.sliced_wasserstein(X, Y, P, p), rel=tolerance)
    np.testing.assert_allclose(projected.distances, reference.distances(X, Y, P, p), rtol=tolerance)
    np.testing.assert_array_equal(projected.projections, P)
    for found, expected in ((projected.X, X @ P), (projected.Y, Y @ P)):
        np.testing.assert_allclose(found, expected, rtol=0, atol=0 if device == "cpu" else tolerance)
    largest = sliced_wasserstein_distance(X, Y, projections=P, p=p, reduce="max", device=device)
    assert largest == projected.distances.max()


@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-5), (np.float64, 1e-12)])
@pytest.mark.parametrize("p", [1, 2, 3])
def test_weights(p, dtype, tolerance):
    rng = np.random.default_rng(4)
    X, Y = samples(50, 70, dtype=dtype)
    X[10:20] = X[0]  # ties
    a, b = rng.random(50), rng.integers(0, 3, size=70).astype(float)
    P = sphere(5, 9, dtype)
    value = sliced_wasserstein_distance(X, Y, projections=P, p=p, X_weights=a, Y_weights=b)
    assert value == pytest.approx(reference.sliced_wasserstein(X, Y, P, p, a, b), rel=tolerance)
    repeated = np.repeat(Y, b.astype(int), axis=0)
    again = sliced_wasserstein_distance(X, repeated, projections=P, p=p, X_weights=1e-200 * a)
    assert value == pytest.approx(again, rel=tolerance)


def test_known_values_on_the_line(device):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=40), rng.normal(size=40)
    assert line(x, y, 1, device=device) == pytest.approx(scipy.stats.wasserstein_distance(x, y))
    assert line(x, y[:23], 1, device=device) == pytest.approx(scipy.stats.wasserstein_distance(x, y[:23]))
    assert line([0, 1, 5], [4, -2, 3], 2, device=device) == pytest.approx(np.sqrt((4 + 4 + 1) / 3))
    assert line([0], [3], 4, device=device) == pytest.approx(3)
    assert line([0, 0], [1], 2, device=device) == pytest.approx(1)


@pytest.mark.parametrize("p", [1, 2, 3])
def test_no_assignment_is_cheaper(p, device):
    rng = np.random.default_rng(p)
    for n in (1, 2, 9, 30):
        x, y = rng.normal(size=n), rng.normal(size=n)
        cost = np.abs(x[:, None] - y[None, :]) ** p
        best = cost[scipy.optimize.linear_sum_assignment(cost)].mean()
        assert line(x, y, p, device=device) == pytest.approx(best ** (1 / p), rel=1e-12)


@pytest.mark.parametrize("p", [1, 2, 5])
def test_translation(p, device):
    X, _ = samples(200)
    shift = np.array([1.0, -2.0, 0.5, 0.0, 3.0])
    P = sphere(5, 40)
    expected = np.mean(np.abs(shift @ P) ** p) ** (1 / p)
    assert sliced_wasserstein_distance(X, X + shift, projections=P, p=p, device=device) == pytest.approx(expected)
    assert sliced_wasserstein_distance(X, X, projections=P, p=p, device=device) == 0


def test_gaussians():
    """W_2 of N(m, s^2) and N(0, t^2) is sqrt(m^2 + (s - t)^2); sliced in D dimensions, the mean shift shrinks by D."""
    rng = np.random.default_rng(0)
    d = 8
    X = 2 * rng.normal(size=(100_000, d)) + 1
    Y = rng.normal(size=(100_000, d))
    value = sliced_wasserstein_distance(X, Y, n_projections=400, random_state=0)
    assert value == pytest.approx(np.sqrt(d / d + 1), rel=0.02)


def test_random_directions_are_uniform_on_the_sphere_and_depend_on_seed_and_column_alone():
    few = _core.random_directions(6, 10, seed=3, single=False, n_threads=1)
    many = _core.random_directions(6, 20_000, seed=3, single=False, n_threads=2)
    np.testing.assert_array_equal(few, many[:, :10])
    np.testing.assert_allclose(np.linalg.norm(many, axis=0), 1)
    np.testing.assert_allclose(many @ many.T / 20_000, np.eye(6) / 6, atol=0.006)
    np.testing.assert_allclose(many.mean(axis=1), 0, atol=0.012)
    assert not np.array_equal(few, _core.random_directions(6, 10, seed=4, single=False, n_threads=1))
    # the first coordinate on the sphere in 3 dimensions is uniform on [-1, 1] (Archimedes)
    flat = _core.random_directions(3, 20_000, seed=0, single=True, n_threads=1)[0]
    assert scipy.stats.kstest(flat, "uniform", (-1, 2)).pvalue > 1e-3


def test_random_state(device):
    X, Y = samples()
    value = sliced_wasserstein_distance(X, Y, random_state=5, device=device)
    assert value == sliced_wasserstein_distance(X, Y, random_state=5, device=device)
    assert value != sliced_wasserstein_distance(X, Y, random_state=6, device=device)
    drawn = sliced_wasserstein_distance(X, Y, random_state=5, return_projected=True, device=device)[1]
    assert drawn.projections.shape == (5, 100)


@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-5), (np.float64, 1e-12)])
@pytest.mark.parametrize("sizes", [(300, 300), (300, 170)])
def test_blocks_and_threads_do_not_matter(sizes, dtype, tolerance):
    X, Y = samples(*sizes, dtype=dtype)
    P = sphere(5, 50, dtype)
    link = _core.LocalLink()
    expected = reference.distances(X, Y, P, 2)
    for block_columns in (0, 1, 7, 50, 1000):
        for n_threads in (1, 2, 3):
            distances = _core.sliced_distances(
                X, Y, None, None, P, p=2.0, block_columns=block_columns, n_threads=n_threads, link=link
            )
            np.testing.assert_allclose(distances, expected, rtol=tolerance)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("p", [1, 2, 7])
def test_huge_and_tiny_scales(p, dtype, device):
    x = np.arange(1.0, 9.0)
    y = np.arange(2.0, 10.0)
    smallest, largest = np.finfo(dtype).smallest_subnormal, np.finfo(dtype).max
    for scale in (smallest, np.finfo(dtype).tiny, 1e-30, 1e30, largest / 16):
        value = line(
            (scale * x).astype(dtype), (scale * y).astype(dtype), p, projections=np.ones((1, 1), dtype), device=device
        )
        assert value == pytest.approx(float(scale), rel=1e-5, abs=0)
    far = {"x": np.array([-largest]), "y": np.array([largest / 2]), "p": p, "projections": np.ones((1, 1), dtype)}
    if dtype == np.float32:
        assert line(**far, device=device) == pytest.approx(1.5 * float(largest), rel=1e-6)
    else:
        with pytest.raises(ValueError, match="overflow float64"):
            line(**far, device=device)


def test_zeros_of_both_signs_and_constant_columns(device):
    X, Y = samples(50)
    X[:, 1], Y[:, 1] = 0.0, -0.0
    X[:, 2] = Y[:, 2] = 3.25
    _, projected = sliced_wasserstein_distance(X, Y, projections=np.eye(5), return_projected=True, device=device)
    assert projected.distances[1] == 0
    assert projected.distances[2] == 0
    Y[:, 2] = 5.0
    assert sliced_wasserstein_distance(X, Y, projections=np.eye(5)[:, 2:3], device=device) == 1.75


def test_overflowing_projections_are_refused(device):
    X = np.full((3, 4), 2e38, dtype=np.float32)
    with pytest.raises(ValueError, match=r"projections overflow float32.*float64"):
        sliced_wasserstein_distance(X, -X, projections=np.ones((4, 1), np.float32), device=device)


def test_inputs_of_other_kinds():
    X, Y = samples(30, 30)
    P = sphere(5, 4)
    expected = sliced_wasserstein_distance(X, Y, projections=P)
    assert sliced_wasserstein_distance(X.tolist(), np.asfortranarray(Y), projections=P[:, ::1]) == expected
    wide = np.zeros((30, 10))
    wide[:, ::2] = X
    assert sliced_wasserstein_distance(wide[:, ::2], Y, projections=P.tolist()) == expected
    mixed = sliced_wasserstein_distance(X.astype(np.float32), Y, projections=P)
    assert mixed == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"X": np.array([[np.nan] * 5])}, "X: .*NaN"),
        ({"Y": np.array([[np.inf] * 5])}, "Y: .*infinity"),
        ({"Y": np.ones((3, 4))}, "Y: has 4 columns and X has 5"),
        ({"X": np.ones((0, 5))}, "X: .*0 sample"),
        ({"X": np.ones(5)}, "X: .*1D"),
        ({"p": 0.5}, "p: got 0.5; give"),
        ({"p": np.inf}, "p: got inf"),
        ({"p": "2"}, "p: got '2'"),
        ({"reduce": "sum"}, "reduce: got 'sum'; choose"),
        ({"n_projections": 0}, "n_projections: got 0; give"),
        ({"projections": np.ones((4, 3))}, r"projections: has shape \(4, 3\), expected \(5, n_projections\)"),
        ({"projections": np.full((5, 3), np.nan)}, "projections: .*NaN"),
        ({"X_weights": np.ones(3)}, r"X_weights: has shape \(3,\), expected \(60,\)"),
        ({"Y_weights": np.zeros(60)}, "Y_weights: all weights are zero"),
        ({"Y_weights": -np.ones(60)}, "Y_weights: contains negative"),
        ({"X_weights": np.full(60, np.nan)}, "X_weights: contains NaN"),
        ({"n_jobs": 0}, "n_jobs: got 0"),
        ({"device": "cuda", "X_weights": np.ones(60)}, "device: 'cuda' is for .* weights are given; use device='cpu'"),
        ({"device": "tpu"}, "device: got 'tpu'"),
    ],
    ids=str,
)
def test_bad_input_is_named(change, message):
    X, Y = samples()
    arguments = {"X": X, "Y": Y, **change}
    with pytest.raises(ValueError, match=message):
        sliced_wasserstein_distance(arguments.pop("X"), arguments.pop("Y"), **arguments)


def test_device_of_weights_and_ranks():
    """What the GPU has no kernels for is computed on the CPU, or refused where the GPU was asked for."""
    X, Y = samples()
    expected = sliced_wasserstein_distance(X, Y, X_weights=np.ones(60), random_state=0)
    assert sliced_wasserstein_distance(X, Y, X_weights=np.ones(60), random_state=0, device="auto") == expected

    def work(cluster):
        with pytest.raises(ValueError, match=r"device: 'cuda' is for one rank .* 2 ranks; use"):
            sliced_wasserstein_distance(X, Y, cluster=cluster, device="cuda")
        return sliced_wasserstein_distance(X[cluster.rank :: 2], Y, random_state=0, cluster=cluster, device="auto")

    assert len(set(Cluster._threads(2, work))) == 1


# --- targets ---


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("b, p", [(1, 1), (17, 40), (400, 33)])
def test_targets_are_those_of_the_reference(b, p, n_jobs, dtype):
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(b, p)).astype(dtype), rng.normal(size=(b, p)).astype(dtype)
    X[:, 0] = 1  # a column of ties
    X[: b // 2, -1] = np.where(rng.random(b // 2) < 0.5, 0.0, -0.0)
    targets = sorted_targets(X, Y, n_jobs=n_jobs)
    assert targets.dtype == dtype
    np.testing.assert_array_equal(targets, reference.sorted_targets(X, Y))
    np.testing.assert_array_equal(np.sort(targets, axis=0), np.sort(Y, axis=0))  # a permutation
    np.testing.assert_array_equal(sorted_targets(X, X), X)


@pytest.mark.parametrize("b, m", [(30, 45), (45, 30), (10, 1), (1, 10)])
def test_targets_of_unequal_sizes_are_means_over_quantiles(b, m):
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(b, 3)), rng.normal(size=(m, 3))
    targets = sorted_targets(X, Y)
    np.testing.assert_allclose(targets, reference.sorted_targets(X, Y), rtol=1e-12)
    np.testing.assert_allclose(targets.mean(axis=0), Y.mean(axis=0))


@pytest.mark.parametrize("b, m", [(12, 12), (12, 18)])
def test_targets_give_the_gradient(b, m):
    rng = np.random.default_rng(3)
    X, Y = rng.normal(size=(b, 3)), rng.normal(size=(m, 3))
    P = sphere(3, 6)

    def loss(points):
        return sliced_wasserstein_distance(points, Y, projections=P) ** 2

    gradient = 2 / b * (X @ P - sorted_targets(X @ P, Y @ P)) @ P.T / P.shape[1]
    for i, k in [(0, 0), (3, 2), (b - 1, 1)]:
        step = np.zeros_like(X)
        step[i, k] = 1e-6
        assert (loss(X + step) - loss(X - step)) / 2e-6 == pytest.approx(gradient[i, k], abs=1e-7)


def test_bad_targets_are_named():
    with pytest.raises(ValueError, match="Y_proj: has 3 columns and X_proj has 2"):
        sorted_targets(np.ones((4, 2)), np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"X_proj: .*NaN"):
        sorted_targets([[np.nan]], [[1.0]])


# --- directions ---


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_separating_directions_are_differences_of_rows(dtype):
    X, Y = samples(6, 7, dtype=dtype)
    directions = separating_directions(X, Y, 300, random_state=0, n_jobs=2)
    assert directions.dtype == dtype and directions.shape == (5, 300)
    differences = (X[:, None] - Y[None]).reshape(-1, 5).astype(float)
    differences /= np.linalg.norm(differences, axis=1, keepdims=True)
    closeness = differences @ directions
    np.testing.assert_allclose(closeness.max(axis=0), 1, rtol=1e-5)
    assert len(set(closeness.argmax(axis=0).tolist())) == 42  # every pair was drawn
    np.testing.assert_array_equal(directions[:, :9], separating_directions(X, Y, 9, random_state=0))


def test_the_best_of_the_previous_directions_are_kept():
    X, Y = samples()
    previous = sphere(5, 6)
    kept = separating_directions(
        X, Y, 4, previous=previous, previous_distances=[1, 5, 2, 5, 0, 3], n_reused=3, random_state=0
    )
    np.testing.assert_array_equal(kept[:, :3], previous[:, [1, 3, 5]])
    np.testing.assert_array_equal(kept[:, 3:], separating_directions(X, Y, 1, random_state=0))
    only = separating_directions(X, Y, 2, previous=previous, previous_distances=np.arange(6), n_reused=2)
    np.testing.assert_array_equal(only, previous[:, [5, 4]])


def test_they_separate_better_than_random_ones():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(300, 50)), rng.normal(size=(300, 50))
    Y[:, 0] += 10
    apart = sliced_wasserstein_distance(X, Y, projections=separating_directions(X, Y, 100, random_state=0))
    assert apart > 3 * sliced_wasserstein_distance(X, Y, random_state=0)


@pytest.mark.parametrize("scale", [0.0, 1e-320, 1e308])
def test_equal_tiny_and_huge_differences(scale):
    X = scale * np.array([[1.0, 0.5], [-1.0, -0.5]])
    directions = separating_directions(X, X, 50, random_state=0)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=0), 1)
    if scale:
        np.testing.assert_allclose(np.abs(directions[1] / directions[0]), 0.5, rtol=1e-3)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"n_projections": 0}, "n_projections: got 0"),
        ({"n_reused": -1}, "n_reused: got -1"),
        ({"n_reused": 2}, "n_reused: got 2 without previous"),
        ({"n_reused": 4, "previous": np.ones((5, 6)), "previous_distances": np.ones(6)}, "n_reused: got 4, more than"),
        ({"n_reused": 3, "previous": np.ones((5, 2)), "previous_distances": np.ones(2)}, "previous has 2 columns"),
        (
            {"n_reused": 1, "previous": np.ones((4, 2)), "previous_distances": np.ones(2)},
            r"previous: has shape \(4, 2\)",
        ),
        ({"n_reused": 1, "previous": np.ones((5, 2)), "previous_distances": [1]}, "previous_distances: has shape"),
        ({"n_reused": 1, "previous": np.ones((5, 2)), "previous_distances": [1, np.nan]}, "previous_distances: .*NaN"),
    ],
    ids=str,
)
def test_bad_directions_are_named(options, message):
    X, Y = samples()
    with pytest.raises(ValueError, match=message):
        separating_directions(X, Y, **{"n_projections": 3, **options})


# --- ranks ---


def shares(n, size):
    """Unequal shares, one of them empty where there are three."""
    cuts = {1: [0, n], 2: [0, n // 3, n], 3: [0, n // 4, n // 4, n]}[size]
    return [slice(*pair) for pair in itertools.pairwise(cuts)]


@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-5), (np.float64, 1e-12)])
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_ranks_give_the_distance_of_one_process(size, weighted, dtype, tolerance):
    X, Y = samples(90, 75, dtype=dtype)
    weights = np.random.default_rng(0).random(90) if weighted else None
    alone = sliced_wasserstein_distance(X, Y, n_projections=31, X_weights=weights, random_state=0)

    def work(cluster):
        mine = shares(90, size)[cluster.rank]
        return sliced_wasserstein_distance(
            X[mine],
            Y[shares(75, size)[cluster.size - 1 - cluster.rank]],
            n_projections=31,
            X_weights=None if weights is None else weights[mine],
            random_state=cluster.rank,
            n_jobs=2,
            cluster=cluster,
        )

    values = Cluster._threads(size, work)
    assert values == [values[0]] * size
    assert values[0] == pytest.approx(alone, rel=tolerance)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("m", [90, 40])
def test_ranks_give_the_targets_of_one_process(size, m):
    rng = np.random.default_rng(0)
    X, Y = rng.integers(0, 20, size=(90, 25)).astype(float), rng.normal(size=(m, 25))

    def work(cluster):
        return sorted_targets(X[shares(90, size)[cluster.rank]], Y[shares(m, size)[cluster.rank]], cluster=cluster)

    np.testing.assert_array_equal(np.concatenate(Cluster._threads(size, work)), sorted_targets(X, Y))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"X": np.full((60, 5), np.nan)}, "NaN"),
        ({"X": np.ones((60, 4)), "Y": np.ones((60, 4))}, "columns"),
        ({"X": np.ones((60, 5), np.float32), "Y": np.ones((60, 5), np.float32)}, "dtype"),
        ({"projections": 2 * np.eye(5)}, "projections: differ"),
        ({"X_weights": np.ones(60)}, "X_weights: given on some"),
    ],
    ids=["NaN", "columns", "dtype", "projections", "weights"],
)
def test_bad_input_of_one_rank_is_that_of_all(change, message):
    X, Y = samples()

    def work(cluster):
        arguments = {"X": X, "Y": Y, "projections": np.eye(5)}
        if message == "columns":
            arguments["projections"] = None
        if cluster.rank == 1:
            arguments |= change
        with pytest.raises(ValueError, match=message):
            sliced_wasserstein_distance(arguments.pop("X"), arguments.pop("Y"), cluster=cluster, **arguments)

    Cluster._threads(2, work)


def test_no_rank_has_a_row():
    def work(cluster):
        with pytest.raises(ValueError, match="Y: no rank has a row"):
            sliced_wasserstein_distance(np.ones((2, 3)), np.ones((0, 3)), cluster=cluster)

    Cluster._threads(2, work)
