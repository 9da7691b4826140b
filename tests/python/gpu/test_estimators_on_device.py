"""The public functions and estimators with device="cuda" against device="cpu"."""

import numpy as np
import pytest

from steppe.ot import SemiDiscreteOT, assign_cells


def problem(dtype):
    rng = np.random.default_rng(3)
    return rng.normal(size=(3000, 4)).astype(dtype), rng.normal(size=(40, 4)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cost", ["sqeuclidean", "euclidean"])
@pytest.mark.parametrize("reg", [0.0, 0.3])
def test_semi_discrete_transport(reg, cost, dtype):
    X, sites = problem(dtype)
    cpu, cuda = (SemiDiscreteOT(sites, cost=cost, reg=reg, device=device).fit(X) for device in ("cpu", "cuda"))
    close = 1e-3 if dtype == np.float32 else 1e-8
    assert cuda.cost_ == pytest.approx(cpu.cost_, rel=close)
    assert cuda.mass_error_ <= 1e-2 or cuda.dual_gap_ <= 1e-4 * cuda.cost_
    np.testing.assert_array_equal(cuda.predict(X), assign_cells(X, sites, cuda.potential_, cost=cost))


def test_free_weights_are_the_votes():
    X, sites = problem(np.float64)
    weight = np.random.default_rng(4).random(len(X))
    cpu, cuda = (
        SemiDiscreteOT(sites, free_weights=True, device=device).fit(X, sample_weight=weight)
        for device in ("cpu", "cuda")
    )
    np.testing.assert_allclose(cuda.votes_, cpu.votes_, rtol=1e-10)


def test_rows_on_the_gpu(kind):
    make, back = kind
    X, sites = problem(np.float64)
    expected = SemiDiscreteOT(sites, device="cuda").fit(X)
    model = SemiDiscreteOT(sites, device="cuda").fit(make(X), sample_weight=make(np.ones(len(X))))
    np.testing.assert_array_equal(model.potential_, expected.potential_)
    for found, wanted in (
        (model.predict(make(X)), expected.predict(X)),
        (model.transform(make(X)), expected.transform(X)),
    ):
        assert type(found) is type(make(X))
        np.testing.assert_array_equal(back(found), wanted)


def test_assign_cells(kind):
    make, back = kind
    X, sites = problem(np.float64)
    np.testing.assert_array_equal(back(assign_cells(make(X), make(sites), device="cuda")), assign_cells(X, sites))
