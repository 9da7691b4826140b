"""Optimal transport on a GPU: what the functions of the package call there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from steppe import _device
from steppe._device import DeviceArray
from steppe.ot._checks import check_pair, check_points, check_potential, check_same_columns, check_same_width

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
    points = matrix(X, "X")
    places = matrix(sites, "sites", points.dtype)
    check_same_width(points, places)
    if _device.is_on_device(potential):
        potential = _device.to_host(_device.view(potential, "potential"))
    phi = check_potential(potential, len(places))
    labels = _device.empty((len(points),), np.int32)
    squared, tf32 = cost == "sqeuclidean", precision == "tf32"
    on_host = np.ascontiguousarray(_device.to_host(places))
    cuda.assign_cells(points, on_host, phi, squared=squared, tf32=tf32, labels=labels)
    if not return_cost:
        return _device.same_kind(labels, X)
    costs = _device.empty((len(points),), points.dtype)
    cuda.costs_of_cells(points, places, _device.upload(phi), squared=squared, labels=labels, costs=costs)
    return _device.same_kind(labels, X), _device.same_kind(costs, X)


def take_rows(sites: NDArray[Any], labels: Any, like: Any) -> Any:
    """``sites[labels]`` for labels on the GPU, of the kind of `like`."""
    places, of_rows = _device.upload(sites), _device.view(labels, "labels")
    taken = _device.empty((len(of_rows), places.shape[1]), places.dtype)
    _device.load().take_rows(places, labels=of_rows, taken=taken)
    return _device.same_kind(taken, like)


def sorted_targets(X_proj: Any, Y_proj: Any) -> Any:
    """As :func:`steppe.ot.sorted_targets`; the targets are of the kind of X_proj."""
    x, y = pair(X_proj, Y_proj, "X_proj", "Y_proj")
    targets = _device.empty(x.shape, x.dtype)
    _device.load().sorted_targets(x, y, targets=targets)
    return _device.same_kind(targets, X_proj)


def sliced_distances(x: DeviceArray, y: DeviceArray, directions: DeviceArray, p: float) -> NDArray[np.float64]:
    """The distance along each direction (in columns), in the memory of the host; NaN where projections overflow."""
    distances: NDArray[np.float64] = _device.load().sliced_distances(x, y, directions, p=p)
    return distances


def projected(x: DeviceArray, y: DeviceArray, directions: DeviceArray, like: Any) -> tuple[Any, Any, Any]:
    """The directions and both samples along them, of the kind of `like`."""
    return _device.same_kind(directions, like), _project(x, directions, like), _project(y, directions, like)


def _project(x: DeviceArray, directions: DeviceArray, like: Any) -> Any:
    columns = _device.empty((directions.shape[1], len(x)), x.dtype)
    _device.load().project(x, directions, projected=columns)
    return _device.same_kind(replace(columns, shape=columns.shape[::-1], strides=columns.strides[::-1]), like)


def pair(X: Any, Y: Any, x_name: str, y_name: str) -> tuple[DeviceArray, DeviceArray]:
    """Both samples, checked and on the GPU, in the dtype of one that was there; else as on the CPU."""
    if _device.is_on_device(X):
        x = _device.points(X, x_name)
        y = matrix(Y, y_name, x.dtype)
    elif _device.is_on_device(Y):
        y = _device.points(Y, y_name)
        x = matrix(X, x_name, y.dtype)
    else:
        x, y = (_device.upload(rows) for rows in check_pair(X, Y, x_name, y_name))
    check_same_columns(x, y, x_name, y_name)
    return x, y


def matrix(values: Any, name: str, dtype: Any = None) -> DeviceArray:
    """A checked matrix of finite numbers on the GPU; one of the host is uploaded, in `dtype` or its own."""
    if _device.is_on_device(values):
        return _device.points(values, name, dtype)
    return _device.upload(check_points(values, name, dtype))
