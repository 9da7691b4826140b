"""Optimal transport on a GPU. Arguments of the host have been checked by the functions of the package."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from steppe import _device

if TYPE_CHECKING:
    from numpy.typing import NDArray


def assign_cells(
    X: Any, sites: Any, potential: Any = None, *, cost: str, return_cost: bool, precision: str = "full"
) -> Any:
    """As :func:`steppe.ot.assign_cells`; the labels, and costs, are of the kind of X.

    With ``precision="tf32"``, for float32 and squared costs, inner products are computed by tensor cores. A cost is
    then off by at most about ``2**-9 |x - c| |y - c|``, c being the mean of the sites; those returned are of full
    precision.
    """
    cuda = _device.load()
    points = _to_points(X, "X")
    places = _to_points(sites, "sites", points.dtype)
    if places.shape[1] != points.shape[1]:
        raise ValueError(
            f"sites: has shape {places.shape} and X has shape {points.shape}: give both the same number of columns"
        )
    phi = _to_potential(potential, len(places))
    labels = _device.empty((len(points),), np.int32)
    squared = cost == "sqeuclidean"
    cuda.assign_cells(points, _device.to_host(places), phi, squared=squared, tf32=precision == "tf32", labels=labels)
    if not return_cost:
        return _device.same_kind(labels, X)
    costs = _device.empty((len(points),), points.dtype)
    cuda.costs_of_cells(points, places, _device.upload(phi), squared=squared, labels=labels, costs=costs)
    return _device.same_kind(labels, X), _device.same_kind(costs, X)


def sorted_targets(X_proj: Any, Y_proj: Any) -> Any:
    """As :func:`steppe.ot.sorted_targets`; the targets are of the kind of X_proj."""
    x, y = pair(X_proj, Y_proj, "X_proj", "Y_proj")
    targets = _device.empty(x.shape, x.dtype)
    _device.load().sorted_targets(x, y, targets=targets)
    return _device.same_kind(targets, X_proj)


def sliced_distances(X: Any, Y: Any, directions: NDArray[Any], p: float) -> NDArray[np.float64]:
    """The distance along each direction (in columns), in the memory of the host.

    Raises
    ------
    ValueError
        If the samples do not fit each other or the directions, or if a projection overflows.
    """
    x, y = pair(X, Y, "X", "Y")
    if directions.shape[0] != x.shape[1]:
        raise ValueError(
            f"projections: has shape {directions.shape}, expected ({x.shape[1]}, n_projections): "
            "one direction in each column"
        )
    along = _device.upload(np.asarray(directions, dtype=x.dtype))
    distances: NDArray[np.float64] = _device.load().sliced_distances(x, y, along, p=p)
    if not np.isfinite(distances).all():
        raise ValueError(f"X, Y: their projections overflow {x.dtype.name}; divide the samples by a constant")
    return distances


def project(X: Any, directions: NDArray[Any]) -> Any:
    """``X @ directions``, of the kind of X and in Fortran order."""
    x = _to_points(X, "X")
    along = _device.upload(np.asarray(directions, dtype=x.dtype))
    columns = _device.empty((along.shape[1], len(x)), x.dtype)
    _device.load().project(x, along, projected=columns)
    if not _device.is_on_device(X):
        return _device.to_host(columns).T
    return _device.same_kind(replace(columns, shape=columns.shape[::-1], strides=columns.strides[::-1]), X)


def _to_points(values: Any, name: str, dtype: Any = None) -> _device.DeviceArray:
    if _device.is_on_device(values):
        return _device.points(values, name, dtype)
    host = np.asarray(values)
    accepted = dtype if dtype is not None else host.dtype if host.dtype == np.float32 else np.float64
    return _device.points(_device.upload(np.ascontiguousarray(host, dtype=accepted)), name)


def pair(X: Any, Y: Any, x_name: str, y_name: str) -> tuple[_device.DeviceArray, _device.DeviceArray]:
    """Both samples, checked, on the GPU, in the dtype of the first."""
    x = _to_points(X, x_name)
    y = _to_points(Y, y_name, x.dtype)
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            f"{y_name}: has {y.shape[1]} columns and {x_name} has {x.shape[1]}; both need the same columns"
        )
    return x, y


def _to_potential(potential: Any, n_sites: int) -> NDArray[np.float64]:
    if potential is None:
        return np.zeros(n_sites)
    if _device.is_on_device(potential):
        potential = _device.to_host(_device.view(potential, "potential"))
    phi = np.ascontiguousarray(potential, dtype=np.float64)
    if phi.shape != (n_sites,):
        raise ValueError(f"potential: has shape {phi.shape}, expected ({n_sites},): one number for each site")
    if not np.isfinite(phi).all():
        raise ValueError("potential: contains NaN or infinity; give finite numbers")
    return phi
