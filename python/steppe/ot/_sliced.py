"""Sliced Wasserstein distances, and the targets of learning by them."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from threadpoolctl import ThreadpoolController

from steppe import _core, _device
from steppe._plan import resolve_n_jobs
from steppe.ot import _on_device
from steppe.ot._checks import check_device, check_order, check_pair
from steppe.ot._directions import directions_of
from steppe.parallel import cluster_or_alone

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from steppe.parallel import Cluster

__all__ = ["Projected", "sliced_wasserstein_distance", "sorted_targets"]


class Projected(NamedTuple):
    """What ``return_projected=True`` adds to a sliced Wasserstein distance.

    With ``device="cuda"`` all but the distances are of the kind of the first sample.

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
    projections: Any
    X: Any
    Y: Any


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
    device : {"cpu", "cuda", "auto"}, default="cpu"
        Where to compute; "auto" falls back to the CPU. On a GPU samples and projections may be its arrays, of float32
        or float64; weights and more than one rank are the CPU's.
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
        on_device = _is_for_device(device, X_weights, Y_weights, cluster)
        check_order(p)
        if reduce not in ("mean", "max"):
            raise ValueError(f"reduce: got {reduce!r}; choose 'mean' or 'max'")
        x: Any
        y: Any
        x, y = _on_device.pair(X, Y, "X", "Y") if on_device else check_pair(X, Y, "X", "Y", _least_rows(cluster))
        x_weights = _check_weights(X_weights, len(x), "X_weights")
        y_weights = _check_weights(Y_weights, len(y), "Y_weights")
    _check_ranks(x, y, "X", "Y", cluster)
    x_weights = _unify_weights(x_weights, len(x), "X_weights", cluster)
    y_weights = _unify_weights(y_weights, len(y), "Y_weights", cluster)
    directions = directions_of(projections, n_projections, x, random_state, n_threads, cluster)
    if on_device:
        distances = _on_device.sliced_distances(x, y, directions, float(p))
    else:
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
    if on_device:
        return distance, Projected(distances, *_on_device.projected(x, y, directions, like=X))
    return distance, Projected(distances, directions, x @ directions, y @ directions)


def sorted_targets(
    X_proj: ArrayLike, Y_proj: ArrayLike, *, n_jobs: int | None = None, cluster: Cluster | None = None
) -> Any:
    """For each column, the value of Y matched to each value of X by rank.

    Pulling each projected row of X towards its target lowers the sliced Wasserstein distance: the gradient of
    W_2^2 of column j with respect to ``X_proj[i, j]`` is ``2 * (X_proj[i, j] - targets[i, j]) / b``. Where X_proj is on
    a GPU, so is the work, and the targets are an array of the same kind.

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
        if _device.is_on_device(X_proj):
            if cluster.size > 1:
                raise ValueError(
                    f"X_proj: is on a GPU and the cluster has {cluster.size} ranks; pass copies on the host"
                )
            return _on_device.sorted_targets(X_proj, Y_proj)
        x, y = check_pair(X_proj, Y_proj, "X_proj", "Y_proj", _least_rows(cluster))
    _check_ranks(x, y, "X_proj", "Y_proj", cluster)
    return _core.sorted_targets(x, y, n_threads=n_threads, link=cluster.link)


@cache
def _blas() -> ThreadpoolController:
    """The BLAS of this process: it is called from threads of ours, and limited to one of its own meanwhile."""
    return ThreadpoolController()


def _is_for_device(device: str, X_weights: Any, Y_weights: Any, cluster: Cluster) -> bool:
    """Whether the distance is computed on a GPU."""
    weighted = X_weights is not None or Y_weights is not None
    why_not = f"the cluster has {cluster.size} ranks" if cluster.size > 1 else "weights are given" if weighted else ""
    if why_not and device == "cuda":
        raise ValueError(f"device: 'cuda' is for one rank and rows of equal weight, and {why_not}; use device='cpu'")
    wanted = "cpu" if why_not and device == "auto" else device
    return check_device(wanted, "sliced_wasserstein_distance") == "cuda"


def _least_rows(cluster: Cluster) -> int:
    return 1 if cluster.size == 1 else 0  # on a cluster the ranks count together


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
