"""The cells that sites cut space into."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from steppe import _core
from steppe._plan import resolve_n_jobs
from steppe.ot import _on_device
from steppe.ot._checks import check_cost, check_device, check_points, check_potential, check_same_width

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def assign_cells(
    X: ArrayLike,
    sites: ArrayLike,
    potential: ArrayLike | None = None,
    *,
    cost: str = "sqeuclidean",
    return_cost: bool = False,
    n_jobs: int | None = None,
    device: str = "cpu",
) -> Any:
    r"""The cell of each point: :math:`\arg\min_j c(x_i, y_j) - \phi_j`, the lowest index among equals.

    With potentials these are the Laguerre cells (power diagram), without them the Voronoi cells of the sites, that
    is, each point's nearest site.

    Parameters
    ----------
    X : array-like of shape (n, d)
        The points. float32 or float64; anything else is computed in float64.
    sites : array-like of shape (m, d)
        :math:`y_j`; taken in the dtype of `X`.
    potential : array-like of shape (m,) or None, default=None
        :math:`\phi_j`; None is zero. A constant added to all of them changes nothing.
    cost : {"sqeuclidean", "euclidean"}, default="sqeuclidean"
        :math:`\lVert x - y \rVert^2` or :math:`\lVert x - y \rVert`.
    return_cost : bool, default=False
        Whether to return :math:`\min_j c(x_i, y_j) - \phi_j`, too.
    n_jobs : int or None, default=None
        Threads, as in scikit-learn. The result does not depend on it.
    device : {"cpu", "cuda", "auto"}, default="cpu"
        Where to compute; "auto" falls back to the CPU.

    Returns
    -------
    labels : int32 ndarray of shape (n,)
    costs : ndarray of shape (n,), X's dtype
        Only with ``return_cost=True``. Summed in float64 from the points and their sites.

    Raises
    ------
    ValueError
        If an array is empty, holds NaN or infinity or does not fit the others, or if there is no such cost.

    Notes
    -----
    O(n m d) operations, and never n x m numbers in memory. The squared cost, and both costs without potentials, are
    compared by inner products of points and sites moved to the sites' mean. Two sites are told apart where their costs
    differ by more than about :math:`d\, \epsilon R_x R_y`, where :math:`\epsilon` is the machine epsilon of the dtype
    (1.2e-7 for float32) and R the largest distances from that mean; on small integers the comparison is exact.
    Euclidean costs with potentials are summed from differences, at about half the rate, and are good to
    :math:`\sqrt{d}\, \epsilon` relatively.

    Examples
    --------
    >>> from steppe.ot import assign_cells
    >>> assign_cells([[0.0], [1.0], [4.0]], [[0.0], [3.0]])
    array([0, 0, 1], dtype=int32)
    >>> assign_cells([[0.0], [1.0], [4.0]], [[0.0], [3.0]], [0.0, 4.0])
    array([0, 1, 1], dtype=int32)
    """
    check_cost(cost)
    if check_device(device, "assign_cells") == "cuda":
        return _on_device.assign_cells(X, sites, potential, cost=cost, return_cost=return_cost)
    points = check_points(X, "X")
    places = check_points(sites, "sites", points.dtype)
    check_same_width(points, places)
    phi = check_potential(potential, len(places))
    labels, costs = _core.assign_cells(
        points,
        places,
        phi,
        squared=cost == "sqeuclidean",
        with_costs=bool(return_cost),
        n_threads=resolve_n_jobs(n_jobs),
    )
    return (labels, costs) if return_cost else labels
