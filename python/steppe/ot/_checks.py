"""Checks of arguments that the functions of this package share."""

from __future__ import annotations

from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils import check_array

from steppe import _device
from steppe._plan import resolve_device

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

COSTS = ("sqeuclidean", "euclidean")

DEVICES = ("cpu", "cuda")
"""Where the kernels of this package are."""


def check_device(device: Any, name: str) -> str:
    """The device that the function `name` runs on."""
    if device not in ("cpu", "cuda", "auto"):
        raise ValueError(f"device: got {device!r}; choose 'cpu', 'cuda' or 'auto'")
    return resolve_device(type(name, (), {"device": device, "_devices": DEVICES})())


def check_points(values: Any, name: str, dtype: Any = None) -> NDArray[Any]:
    """A C-ordered matrix of finite numbers with at least one row and column."""
    refuse_device_array(values, name)
    accepted = [np.float64, np.float32] if dtype is None else dtype
    return np.asarray(check_array(values, dtype=accepted, order="C", input_name=name))


def refuse_device_array(values: Any, name: str) -> None:
    """Raise for an array on a GPU where the computation is the CPU's."""
    if _device.is_on_device(values):
        raise ValueError(
            f"{name}: is on a GPU and this runs on the CPU; pass a copy on the host, or device='cuda' where it is taken"
        )


def check_same_width(points: Any, places: Any) -> None:
    if points.shape[1] != places.shape[1]:
        raise ValueError(
            f"sites: has shape {places.shape} and X has shape {points.shape}: give both the same number of columns"
        )


def check_same_columns(x: Any, y: Any, x_name: str, y_name: str) -> None:
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            f"{y_name}: has {y.shape[1]} columns and {x_name} has {x.shape[1]}; both need the same columns"
        )


def check_potential(potential: Any, n_sites: int) -> NDArray[np.float64]:
    """Finite potentials, one for each site; zeros for None."""
    if potential is None:
        return np.zeros(n_sites)
    phi = np.ascontiguousarray(potential, dtype=np.float64)
    if phi.shape != (n_sites,):
        raise ValueError(f"potential: has shape {phi.shape}, expected ({n_sites},): one number for each site")
    if not np.isfinite(phi).all():
        raise ValueError("potential: contains NaN or infinity; give finite numbers")
    return phi


def check_cost(cost: Any) -> None:
    if cost not in COSTS:
        raise ValueError(f"cost: got {cost!r}; choose one of {list(COSTS)}")


def check_order(p: Any) -> None:
    if isinstance(p, bool) or not isinstance(p, Real) or not 1 <= float(p) < np.inf:
        raise ValueError(f"p: got {p!r}; give a finite number of 1 or more")


def check_count(value: Any, name: str, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name}: got {value!r}; give an integer of {least} or more")


def check_rows(rows: ArrayLike, name: str, dtype: Any, min_rows: int = 1) -> NDArray[Any]:
    """A C-ordered matrix of finite numbers with at least `min_rows` rows and one column."""
    refuse_device_array(rows, name)
    try:
        checked: NDArray[Any] = check_array(
            rows, dtype=dtype, order="C", ensure_min_samples=min_rows, ensure_min_features=1, input_name=name
        )
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    return checked


def check_pair(
    X: ArrayLike, Y: ArrayLike, x_name: str, y_name: str, min_rows: int = 1
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both of float32 if they are, else of float64, and with equal numbers of columns."""
    single = all(getattr(rows, "dtype", None) == np.float32 for rows in (X, Y))
    dtype = np.float32 if single else np.float64
    x = check_rows(X, x_name, dtype, min_rows)
    y = check_rows(Y, y_name, dtype, min_rows)
    check_same_columns(x, y, x_name, y_name)
    return x, y
