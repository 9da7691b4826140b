"""Sliced Wasserstein distances, and the targets and directions of learning by them."""

from __future__ import annotations

import hashlib
from functools import cache
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.utils.validation import check_array
from threadpoolctl import ThreadpoolController

from steppe import _core
from steppe._plan import make_seed, resolve_n_jobs
from steppe.parallel import cluster_or_alone

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from steppe.parallel import Cluster

__all__ = ["Projected", "separating_directions", "sliced_wasserstein_distance", "sorted_targets"]


class Projected(NamedTuple):
    """What ``return_projected=True`` adds to a sliced Wasserstein distance.

    Attributes
    ----------
    distances : float64 ndarray of shape (p,)
        The Wasserstein distance along each projection, of all ranks' rows.
    projections : ndarray of shape (D, p)
        The directions, in columns.
    X, Y : ndarrays of shape (n, p) and (m, p)
        The projected rows; on a cluster those of this rank.
    """

    distances: NDArray[np.float64]
    projections: NDArray[Any]
    X: NDArray[Any]
    Y: NDArray[Any]


def sliced_wasserstein_distance(
    X: ArrayLike,
    Y: ArrayLike,
    *,
    n_projections: int = 100,
    projections: ArrayLike | None = None,
    p: float = 2,
    X_weights: ArrayLike | None = None,
    Y_weights: ArrayLike | None = None,
    reduce: str = "mean",
    random_state: Any = None,
    n_jobs: int | None = None,
    cluster: Cluster | None = None,
    device: str = "cpu",
    return_projected: bool = False,
) -> float | tuple[float, Projected]:
    r"""Sliced Wasserstein distance of order p between two samples.

    .. math:: \left(\frac{1}{|\Omega|} \sum_{\omega \in \Omega} W_p^p(X\omega, Y\omega)\right)^{1/p}

    where the Wasserstein distance of the projected samples couples equal quantiles, which is exact for any sizes and
    weights. Nothing larger than a block of projected columns is kept in memory.

    Parameters
    ----------
    X : array-like of shape (n, D)
        First sample. float32 is computed in float32 if Y is float32 too, anything else in float64.
    Y : array-like of shape (m, D)
        Second sample; m need not be n.
    n_projections : int, default=100
        Number of directions drawn uniformly on the sphere, where `projections` is None. Direction j depends on the
        seed and on j alone.
    projections : array-like of shape (D, n_projections) or None, default=None
        Directions in columns, used as they are: of any length. On a cluster the same on every rank.
    p : float, default=2
        Order of the distance, 1 or more. 1 and 2 are fastest.
    X_weights, Y_weights : array-like of shape (n,) and (m,) or None, default=None
        Weights of the rows, 0 or more; scaled to sum to 1. None weighs all rows equally.
    reduce : {"mean", "max"}, default="mean"
        "max" is the largest of the distances along the projections: max-sliced over the given or drawn directions.
    random_state : int, RandomState or None, default=None
        Seed of the directions.
    n_jobs : int or None, default=None
        Threads, with scikit-learn's meaning: None is 1, -1 all cores.
    cluster : steppe.parallel.Cluster or None, default=None
        Each rank passes its own rows (and their weights) of both samples; all get the same distance.
    device : {"cpu", "auto"}, default="cpu"
        There is no CUDA kernel of this function; "cuda" raises.
    return_projected : bool, default=False
        Whether to return the projected samples too.

    Returns
    -------
    distance : float
        The distance, not its p-th power.
    projected : Projected
        Only if `return_projected`: fields distances, projections, X, Y.

    Raises
    ------
    ValueError
        If an argument is out of its range, NaN, infinite or of another shape, or if a projection overflows.

    See Also
    --------
    sorted_targets : The value of Y that each projected row of X is matched to.
    separating_directions : Directions that tell the samples apart better than random ones.

    Notes
    -----
    O((n + m) D) multiplications, at the speed of BLAS, and O(n log n + m log m) comparisons for each projection. The
    number of threads and the size of blocks can change the last digits of a projection, as they do in any BLAS; so can
    ranks.

    References
    ----------
    .. [1] J. Rabin, G. Peyre, J. Delon and M. Bernot, "Wasserstein barycenter and its application to texture mixing",
       SSVM 2011.
    .. [2] I. Deshpande et al., "Max-sliced Wasserstein distance and its use for GANs", CVPR 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from steppe.ot import sliced_wasserstein_distance
    >>> X = np.random.default_rng(0).normal(size=(500, 3))
    >>> round(sliced_wasserstein_distance(X, X + [3, 0, 4], projections=np.eye(3), p=1), 6)
    2.333333
    """
    cluster = cluster_or_alone(cluster)
    with cluster.agree():
        n_threads = resolve_n_jobs(n_jobs)
        _check_device(device)
        _check_order(p)
        if reduce not in ("mean", "max"):
            raise ValueError(f"reduce: got {reduce!r}; choose 'mean' or 'max'")
        x, y = _check_pair(X, Y, "X", "Y", cluster)
        x_weights = _check_weights(X_weights, len(x), "X_weights")
        y_weights = _check_weights(Y_weights, len(y), "Y_weights")
    _check_ranks(x, y, "X", "Y", cluster)
    x_weights = _unify_weights(x_weights, len(x), "X_weights", cluster)
    y_weights = _unify_weights(y_weights, len(y), "Y_weights", cluster)
    directions = _directions(projections, n_projections, x, random_state, n_threads, cluster)
    with _blas().limit(limits=1, user_api="blas"):
        distances = _core.sliced_distances(
            x, y, x_weights, y_weights, directions, p=float(p), n_threads=n_threads, link=cluster.link
        )
    if not np.isfinite(distances).all():
        raise ValueError(
            f"X, Y: their projections overflow {x.dtype.name}; divide the samples by a constant"
            + (" or pass float64" if x.dtype == np.float32 else "")
        )
    distance = float(distances.max()) if reduce == "max" else _core.power_mean(distances, float(p))
    if not return_projected:
        return distance
    return distance, Projected(distances, directions, x @ directions, y @ directions)


def sorted_targets(
    X_proj: ArrayLike, Y_proj: ArrayLike, *, n_jobs: int | None = None, cluster: Cluster | None = None
) -> NDArray[Any]:
    """For each column, the value of Y matched to each value of X by rank.

    Pulling each projected row of X towards its target lowers the sliced Wasserstein distance: the gradient of
    W_2^2 of column j with respect to ``X_proj[i, j]`` is ``2 * (X_proj[i, j] - targets[i, j]) / b``.

    Parameters
    ----------
    X_proj : array-like of shape (b, p)
        Projected rows of X, one projection in each column.
    Y_proj : array-like of shape (m, p)
        Projected rows of Y.
    n_jobs : int or None, default=None
        Threads, with scikit-learn's meaning.
    cluster : steppe.parallel.Cluster or None, default=None
        Each rank passes its own rows of both and gets the targets of its rows, the same as in one process.

    Returns
    -------
    targets : ndarray of shape (b, p)
        ``targets[i, j]`` is the value in ``Y_proj[:, j]`` whose rank is that of ``X_proj[i, j]`` in its column. Equal
        values of X are ranked in the order of their rows. For m different from b it is the mean over that value's share
        of the quantiles of Y.

    Raises
    ------
    ValueError
        If the arrays are empty, hold NaN or infinity, or differ in their number of columns.

    Notes
    -----
    O(b log b + m log m) for each column.

    References
    ----------
    .. [1] J. Lezama, W. Chen and Q. Qiu, "Run-Sort-ReRun: escaping batch size limitations in sliced Wasserstein
       generative models", ICML 2021.

    Examples
    --------
    >>> from steppe.ot import sorted_targets
    >>> sorted_targets([[3.0], [1.0], [2.0]], [[10.0], [30.0], [20.0]])
    array([[30.],
           [10.],
           [20.]])
    """
    cluster = cluster_or_alone(cluster)
    with cluster.agree():
        n_threads = resolve_n_jobs(n_jobs)
        x, y = _check_pair(X_proj, Y_proj, "X_proj", "Y_proj", cluster)
    _check_ranks(x, y, "X_proj", "Y_proj", cluster)
    return _core.sorted_targets(x, y, n_threads=n_threads, link=cluster.link)


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
    x, y = _check_pair(X, Y, "X", "Y", None)
    _check_count(n_projections, "n_projections", 1)
    _check_count(n_reused, "n_reused", 0)
    kept = _best_of(previous, previous_distances, int(n_reused), x)
    if n_reused > n_projections:
        raise ValueError(f"n_reused: got {n_reused}, more than n_projections={n_projections}; give at most that many")
    new = _core.pair_directions(
        x, y, int(n_projections) - kept.shape[1], seed=make_seed(random_state), n_threads=n_threads
    )
    return np.ascontiguousarray(np.hstack([kept, new]))


@cache
def _blas() -> ThreadpoolController:
    """The BLAS of this process: it is called from threads of ours, and limited to one of its own meanwhile."""
    return ThreadpoolController()


def _check_device(device: str) -> None:
    if device not in ("cpu", "cuda", "auto"):
        raise ValueError(f"device: got {device!r}; choose 'cpu' or 'auto'")
    if device == "cuda":
        raise ValueError(
            "device: 'cuda' was asked for, but sliced_wasserstein_distance has no CUDA kernels; "
            "use device='cpu' or device='auto'"
        )


def _check_order(p: float) -> None:
    if isinstance(p, bool) or not isinstance(p, Real) or not 1 <= p < np.inf:
        raise ValueError(f"p: got {p!r}; give a finite number of 1 or more")


def _check_count(value: int, name: str, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name}: got {value!r}; give an integer of {least} or more")


def _check_rows(rows: ArrayLike, name: str, dtype: Any, cluster: Cluster | None) -> NDArray[Any]:
    min_rows = 1 if cluster is None or cluster.size == 1 else 0  # on a cluster the ranks count together
    try:
        checked: NDArray[Any] = check_array(
            rows, dtype=dtype, order="C", ensure_min_samples=min_rows, ensure_min_features=1, input_name=name
        )
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    return checked


def _check_pair(
    X: ArrayLike, Y: ArrayLike, x_name: str, y_name: str, cluster: Cluster | None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both of float32 if they are, else of float64, and with equal numbers of columns."""
    single = all(getattr(rows, "dtype", None) == np.float32 for rows in (X, Y))
    dtype = np.float32 if single else np.float64
    x = _check_rows(X, x_name, dtype, cluster)
    y = _check_rows(Y, y_name, dtype, cluster)
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            f"{y_name}: has {y.shape[1]} columns and {x_name} has {x.shape[1]}; both need the same columns"
        )
    return x, y


def _check_ranks(x: NDArray[Any], y: NDArray[Any], x_name: str, y_name: str, cluster: Cluster) -> None:
    """Collective. The same columns and dtype on all ranks, and a row of each sample on some rank."""
    if cluster.size == 1:
        return
    told = cluster.gather((x.shape, y.shape, x.dtype.str))
    if len({(shape[1], dtype) for shape, _, dtype in told}) > 1:
        raise ValueError(f"{x_name}: the ranks hold {told}; pass the same columns and dtype on every rank")
    for name, shapes in ((x_name, [row[0] for row in told]), (y_name, [row[1] for row in told])):
        if sum(n_rows for n_rows, _ in shapes) == 0:
            raise ValueError(f"{name}: no rank has a row; pass at least one row on one rank")


def _check_weights(weights: ArrayLike | None, n_rows: int, name: str) -> NDArray[np.float64] | None:
    if weights is None:
        return None
    values = np.asarray(weights, dtype=np.float64)
    if values.shape != (n_rows,):
        raise ValueError(f"{name}: has shape {values.shape}, expected ({n_rows},): one weight for each row")
    if not np.isfinite(values).all():
        raise ValueError(f"{name}: contains NaN or infinity; give finite weights")
    if (values < 0).any():
        raise ValueError(f"{name}: contains negative weights; give weights of 0 or more")
    return values


def _unify_weights(
    weights: NDArray[np.float64] | None, n_rows: int, name: str, cluster: Cluster
) -> NDArray[np.float64] | None:
    """Collective. The weights of all ranks' rows in rank order, the largest 1; None if no rank has any."""
    parts = cluster.gather(weights)
    if all(part is None for part in parts):
        return None
    with cluster.agree():
        if any(part is None for part in parts):
            raise ValueError(f"{name}: given on some ranks and not on others; give them on all or on none")
    values = np.concatenate([part for part in parts if part is not None])
    if not values.any():
        raise ValueError(f"{name}: all weights are zero; give at least one row a positive weight")
    scaled: NDArray[np.float64] = values / values.max()
    return scaled


def _directions(
    projections: ArrayLike | None,
    n_projections: int,
    x: NDArray[Any],
    random_state: Any,
    n_threads: int,
    cluster: Cluster,
) -> NDArray[Any]:
    """Collective. The directions in columns, of the dtype of x."""
    n_features = x.shape[1]
    if projections is not None:
        with cluster.agree():
            given = _check_directions(projections, "projections", x)
        if len(set(cluster.gather(hashlib.sha256(given.tobytes()).digest() if cluster.size > 1 else b""))) > 1:
            raise ValueError("projections: differ between ranks; pass the same on every rank")
        return given
    with cluster.agree():
        _check_count(n_projections, "n_projections", 1)
        seed = make_seed(random_state)
    return _core.random_directions(
        n_features,
        int(n_projections),
        seed=cluster.broadcast(seed),
        single=x.dtype == np.float32,
        n_threads=n_threads,
    )


def _check_directions(directions: ArrayLike, name: str, x: NDArray[Any]) -> NDArray[Any]:
    checked = _check_rows(directions, name, x.dtype, None)
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
    return directions[:, np.argsort(-distances, kind="stable")[:n_reused]]
