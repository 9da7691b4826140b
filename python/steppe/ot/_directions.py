"""The directions that samples are projected on."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from steppe import _core
from steppe._device import DeviceArray, upload
from steppe._plan import make_seed, resolve_n_jobs
from steppe.ot import _on_device
from steppe.ot._checks import check_count, check_pair, check_rows

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from steppe.parallel import Cluster


def separating_directions(
    X: ArrayLike,
    Y: ArrayLike,
    n_projections: int,
    *,
    previous: ArrayLike | None = None,
    previous_distances: ArrayLike | None = None,
    n_reused: int = 0,
    random_state: Any = None,
    n_jobs: int | None = None,
) -> NDArray[Any]:
    """Directions from points of one sample to points of another, and the best of earlier ones.

    Such directions separate the samples better than random ones. A mean over them is not the sliced Wasserstein
    distance any more, and is larger.

    Parameters
    ----------
    X : array-like of shape (n, D)
        First sample.
    Y : array-like of shape (m, D)
        Second sample.
    n_projections : int
        Number of directions.
    previous : array-like of shape (D, q) or None, default=None
        Earlier directions.
    previous_distances : array-like of shape (q,) or None, default=None
        The Wasserstein distance along each of them, such as ``Projected.distances``.
    n_reused : int, default=0
        How many of `previous` to keep: those with the largest distances, of equal ones the first.
    random_state : int, RandomState or None, default=None
        Seed. Column j depends on the seed, the samples and j alone.
    n_jobs : int or None, default=None
        Threads, with scikit-learn's meaning.

    Returns
    -------
    directions : ndarray of shape (D, n_projections)
        The kept ones first, by falling distance and as they were; then ``(x_i - y_j) / |x_i - y_j|`` of random rows.
        Pairs of equal rows are drawn again, and after 32 of them the direction is uniform on the sphere.

    Raises
    ------
    ValueError
        If an argument is out of its range, NaN, infinite or of another shape.

    References
    ----------
    .. [1] J. Lezama, W. Chen and Q. Qiu, "Run-Sort-ReRun: escaping batch size limitations in sliced Wasserstein
       generative models", ICML 2021.

    Examples
    --------
    >>> from steppe.ot import separating_directions
    >>> separating_directions([[3.0, 4.0]], [[0.0, 0.0]], 1)
    array([[0.6],
           [0.8]])
    """
    n_threads = resolve_n_jobs(n_jobs)
    x, y = check_pair(X, Y, "X", "Y")
    check_count(n_projections, "n_projections", 1)
    check_count(n_reused, "n_reused", 0)
    kept = _best_of(previous, previous_distances, int(n_reused), x)
    if n_reused > n_projections:
        raise ValueError(f"n_reused: got {n_reused}, more than n_projections={n_projections}; give at most that many")
    new = _core.pair_directions(
        x, y, int(n_projections) - kept.shape[1], seed=make_seed(random_state), n_threads=n_threads
    )
    return np.ascontiguousarray(np.hstack([kept, new]))


def directions_of(
    projections: ArrayLike | None,
    n_projections: int,
    x: Any,
    random_state: Any,
    n_threads: int,
    cluster: Cluster,
) -> Any:
    """Collective. The directions in columns, of the dtype of x and where x is."""
    n_features = x.shape[1]
    if projections is not None:
        with cluster.agree():
            given = _check_directions(projections, "projections", x)
        if cluster.size > 1 and len(set(cluster.gather(hashlib.sha256(given.tobytes()).digest()))) > 1:
            raise ValueError("projections: differ between ranks; pass the same on every rank")
        return given
    with cluster.agree():
        check_count(n_projections, "n_projections", 1)
        seed = make_seed(random_state)
    drawn = _core.random_directions(
        n_features,
        int(n_projections),
        seed=cluster.broadcast(seed),
        single=x.dtype == np.float32,
        n_threads=n_threads,
    )
    return upload(drawn) if isinstance(x, DeviceArray) else drawn


def _check_directions(directions: Any, name: str, x: Any) -> Any:
    check = _on_device.matrix if isinstance(x, DeviceArray) else check_rows
    checked = check(directions, name, x.dtype)
    if checked.shape[0] != x.shape[1]:
        raise ValueError(
            f"{name}: has shape {checked.shape}, expected ({x.shape[1]}, n_projections): one direction in each column"
        )
    return checked


def _best_of(previous: Any, previous_distances: Any, n_reused: int, x: NDArray[Any]) -> NDArray[Any]:
    """The n_reused columns with the largest distances, by falling distance."""
    if n_reused == 0:
        return np.empty((x.shape[1], 0), dtype=x.dtype)
    if previous is None or previous_distances is None:
        raise ValueError(f"n_reused: got {n_reused} without previous and previous_distances; give both, or n_reused=0")
    directions = _check_directions(previous, "previous", x)
    distances = np.asarray(previous_distances, dtype=np.float64)
    if distances.shape != (directions.shape[1],):
        raise ValueError(
            f"previous_distances: has shape {distances.shape}, expected ({directions.shape[1]},): one for each column"
        )
    if not np.isfinite(distances).all():
        raise ValueError("previous_distances: contains NaN or infinity; give finite distances")
    if n_reused > directions.shape[1]:
        raise ValueError(f"n_reused: got {n_reused} and previous has {directions.shape[1]} columns; give at most those")
    return np.asarray(directions[:, np.argsort(-distances, kind="stable")[:n_reused]])
