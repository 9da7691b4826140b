"""Transport from points to weighted sites."""

from __future__ import annotations

from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import scipy.sparse
from sklearn.base import OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import check_array
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from steppe import _core
from steppe._base import BaseSteppeEstimator
from steppe._device import is_on_device, to_host, view
from steppe._plan import resolve_device, resolve_n_jobs
from steppe._validation import check_points, check_rows
from steppe.ot import _on_device
from steppe.ot._checks import COSTS, DEVICES, refuse_device_array

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self

    from steppe._plan import FitPlan
    from steppe.parallel import Cluster

_WEIGHTS_SUM = 1e-6  # how far from 1 the sum of site_weights may be before it is an error rather than rounding


class SemiDiscreteOT(OneToOneFeatureMixin, TransformerMixin, BaseSteppeEstimator):  # type: ignore[misc]
    r"""Optimal transport from points to weighted sites, or the best weights of given sites.

    Maximises the concave dual of the transport problem over one potential for each site,

    .. math:: F(\phi) = \sum_j p_j \phi_j + \frac{1}{\sum_i s_i} \sum_i s_i \min_j \bigl(c(x_i, y_j) - \phi_j\bigr)

    whose derivative by :math:`\phi_j` is the weight that the site should have less the mass of its cell. F never
    exceeds the cost of transport, and equals it at the optimum. With ``reg > 0`` the minimum is the soft one,
    :math:`-\epsilon \log \sum_j p_j \exp((\phi_j - c_{ij})/\epsilon)`: entropic transport.

    Parameters
    ----------
    sites : array-like of shape (m, d) or None, default=None
        :math:`y_j`. None draws :math:`\lceil \sqrt n \rceil` of the rows of X.
    site_weights : array-like of shape (m,) or None, default=None
        :math:`p_j > 0`, of sum 1. None makes all equal.
    cost : {"sqeuclidean", "euclidean"}, default="sqeuclidean"
        :math:`c(x, y) = \lVert x - y \rVert^2` or :math:`\lVert x - y \rVert`.
    reg : float, default=0.0
        Strength :math:`\epsilon` of the entropic regularisation, in units of the cost; 0 is exact transport.
    free_weights : bool, default=False
        Fit the weights as well. For one measure they are then the votes of nearest sites, and the potential is zero;
        for several (``measures`` of :meth:`fit`) they are the weights of the Wasserstein barycentre on these sites:
        each measure has a potential of its own, and the weighted sum of these is zero.
    batch_size : int or None, default=None
        Rows, over all ranks, that the first stage looks at; each stage doubles them until all are in. None is 16 for
        each site, at least 4096.
    schedule : {"auto", "serial", "bsp"}, default="auto"
        serial and bsp compute the same; serial uses one thread.
    max_iter : int, default=100
        Largest number of stages.
    tol : float, default=1e-2
        The fit ends when the mass error is at most `tol`, or the duality gap at most :math:`tol^2` times the dual (the
        gap is of second order in the error). 0 runs all of `max_iter`.
    n_jobs : int or None, default=None
        Threads on this process, as in scikit-learn. The result does not depend on it.
    cluster : steppe.parallel.Cluster or None, default=None
        Ranks that fit together; each passes its own rows. One sum of the masses travels for each evaluation.
    device : {"cpu", "cuda", "auto"}, default="cpu"
        Where to compute; "auto" falls back to the CPU.
    random_state : int, RandomState instance or None, default=None
        Fixes the rows drawn as sites; nothing else is random.
    warm_start : bool, default=False
        Start from the potential of the last fit, if it has the same number of sites.
    checkpoint : path or None, default=None
        Where to keep the progress: a killed job resumes when fit is called again with the same path.
    callbacks : callable, list of callables or None, default=None
        Called after every stage; one that returns True ends the fit.
    verbose : int, default=0
        1 prints a line a stage on rank 0.

    Attributes
    ----------
    potential_ : ndarray of shape (m,), or (K, m) for the barycentre of K measures
        :math:`\phi`, with :math:`\sum_j p_j \phi_j = 0` where the weights are fixed.
    cost_ : float
        F, a lower bound of the cost of transport.
    votes_ : ndarray of shape (m,)
        Mass of each cell; the mean over the measures.
    weights_ : ndarray of shape (m,)
        :math:`p`: the given weights, or the fitted ones, which are the votes.
    gradient_ : ndarray of shape (m, d)
        Derivative of F by the sites, by the envelope theorem.
    mass_error_ : float
        Half the sum of absolute differences of the votes and the weights.
    dual_gap_ : float
        A plan costs at most this more than F; inf until a stage has looked at all rows.
    sites_ : ndarray of shape (m, d)
        In X's dtype.
    n_iter_ : int
    history_ : structured ndarray of shape (n_iter_,)
        Fields ``iteration``, ``seconds``, ``objective`` (-F) and ``updates`` (pairs of point and site).
    n_features_in_ : int
    feature_names_in_ : ndarray of str

    Notes
    -----
    A stage is a few steps of limited-memory BFGS on the entropic dual, whose curvature is known well enough to scale
    each site by its weight; from stage to stage the regularisation falls by a factor of 8 and the rows double. Each
    step is O(n m d) operations, fused like :func:`assign_cells`: memory is O(m d) and one tile of rows for each
    thread. On data with n points each cell's mass is a multiple of 1/n, so the mass error need not reach zero where
    the gap does.

    float32 rows are compared as :func:`assign_cells` says; potentials and masses are summed in float64.

    References
    ----------
    .. [1] Q. Merigot, "A multiscale approach to optimal transport", Computer Graphics Forum 30, 2011.
    .. [2] A. Genevay, M. Cuturi, G. Peyre, F. Bach, "Stochastic optimization for large-scale optimal transport",
       NeurIPS 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from steppe.ot import SemiDiscreteOT
    >>> X = np.arange(8.0).reshape(-1, 1)
    >>> model = SemiDiscreteOT([[0.0], [1.0]]).fit(X)
    >>> model.predict(X)
    array([0, 0, 0, 0, 1, 1, 1, 1], dtype=int32)
    >>> float(round(model.cost_, 9))
    12.5
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseSteppeEstimator._parameter_constraints,
        "sites": ["array-like", None],
        "site_weights": ["array-like", None],
        "cost": [StrOptions(set(COSTS))],
        "reg": [Interval(Real, 0, None, closed="left")],
        "free_weights": ["boolean"],
        "batch_size": [Interval(Integral, 1, None, closed="left"), None],
    }
    _auto_schedule: ClassVar[str] = "bsp"
    _schedules: ClassVar[tuple[str, ...]] = ("serial", "bsp")
    _devices: ClassVar[tuple[str, ...]] = DEVICES
    _tolerance_of: ClassVar[str | None] = "the mass error"

    def __init__(
        self,
        sites: ArrayLike | None = None,
        site_weights: ArrayLike | None = None,
        *,
        cost: str = "sqeuclidean",
        reg: float = 0.0,
        free_weights: bool = False,
        batch_size: int | None = None,
        schedule: str = "auto",
        max_iter: int = 100,
        tol: float = 1e-2,
        n_jobs: int | None = None,
        cluster: Cluster | None = None,
        device: str = "cpu",
        random_state: Any = None,
        warm_start: bool = False,
        checkpoint: str | PathLike[str] | None = None,
        callbacks: Any = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(
            schedule=schedule,
            max_iter=max_iter,
            tol=tol,
            n_jobs=n_jobs,
            cluster=cluster,
            device=device,
            random_state=random_state,
            warm_start=warm_start,
            checkpoint=checkpoint,
            callbacks=callbacks,
            verbose=verbose,
        )
        self.sites = sites
        self.site_weights = site_weights
        self.cost = cost
        self.reg = reg
        self.free_weights = free_weights
        self.batch_size = batch_size

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: ArrayLike | None = None,
        *,
        measures: ArrayLike | None = None,
        measure_weights: ArrayLike | None = None,
    ) -> Self:
        """Fit the potential. Collective on a cluster: each rank passes its rows, of which it may have none.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, d)
            The points, float32 or float64; anything else is computed in float64. Sparse rows are made dense. With
            ``device="cuda"`` an array on the GPU, too, of which the host keeps a copy during the fit: starts and the
            gradient are computed there.
        y : None
            Ignored.
        sample_weight : array-like of shape (n,), float or None, default=None
            A weight of 2 equals the point twice.
        measures : array-like of shape (n,) or None, default=None
            With ``free_weights=True``: which measure each point belongs to, of any type that sorts. None is one.
        measure_weights : array-like of shape (K,) or None, default=None
            Weight of each measure in the barycentre, in sorted order of the measures; None makes all equal.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the data or a parameter does not make sense.
        """
        plan = self._plan()
        with plan.cluster.agree():
            X, sample_weight = (_copy_on_host(self, *given) for given in ((X, "X"), (sample_weight, "sample_weight")))
        rows, row_weights = check_points(self, plan, X, sample_weight)
        points = rows.toarray() if scipy.sparse.issparse(rows) else rows
        sites = self._sites_of(plan, points)
        with plan.cluster.agree():
            p = self._site_weights_of(len(sites))
            labels = self._measures_of(measures, len(points))
        known = plan.cluster.unify(labels)
        with plan.cluster.agree():
            shares = _check_measure_weights(measure_weights, len(known))
        codes = np.searchsorted(known, labels)
        totals = plan.cluster.sum(np.bincount(codes, weights=row_weights, minlength=len(known)))
        with plan.cluster.agree():
            if (totals <= 0).any():
                raise ValueError(f"sample_weight: the measures {known[totals <= 0].tolist()} have no positive weight")
        plan.check_memory(self._bytes(plan, len(sites), points))
        weights = None if sample_weight is None else row_weights
        if len(known) > 1:
            order = np.argsort(codes, kind="stable")
            points, weights = points[order], None if weights is None else weights[order]
        start, start_reg = self._start(len(known), len(sites))
        session = _core.semi_discrete_session(
            points,
            weights,
            sites,
            link=plan.link,
            ends=np.cumsum(np.bincount(codes, minlength=len(known))).tolist(),
            measure_weights=shares.tolist(),
            site_weights=p,
            start=start,
            start_reg=start_reg,
            squared=self.cost == "sqeuclidean",
            reg=float(self.reg),
            tol=float(self.tol),
            batch_rows=0 if self.batch_size is None else int(self.batch_size),
            n_threads=plan.n_threads,
            on_device=plan.device == "cuda",
        )
        plan.fitted["sites_"] = sites
        if p is not None:
            plan.fitted["weights_"] = p.astype(points.dtype)
        problem = {"X": points, "sites": sites, "sample_weight": row_weights, "measures": labels}
        self._run(plan, session, problem={**problem, "measure_weights": shares})
        return self

    def predict(self, X: Any) -> Any:
        """The cell of each point; for a barycentre of several measures the nearest site.

        With ``device="cuda"`` X may be an array on the GPU; labels are then of its kind.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, d)

        Returns
        -------
        int32 ndarray of shape (n,)
        """
        check_is_fitted(self)
        potential = self.potential_ if self.potential_.ndim == 1 else np.zeros(len(self.sites_))
        if resolve_device(self) == "cuda":
            rows = X if is_on_device(X) else self._dense_rows(X)
            return _on_device.assign_cells(rows, self.sites_, potential, cost=self.cost, return_cost=False)
        refuse_device_array(X, "X")
        labels, _ = _core.assign_cells(
            self._dense_rows(X),
            np.ascontiguousarray(self.sites_),
            np.ascontiguousarray(potential, dtype=np.float64),
            squared=self.cost == "sqeuclidean",
            with_costs=False,
            n_threads=resolve_n_jobs(self.n_jobs),
        )
        return np.asarray(labels)

    def transform(self, X: Any) -> Any:
        """The site that each point is sent to, of the kind of X.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, d)

        Returns
        -------
        ndarray of shape (n, d), the sites' dtype
        """
        labels = self.predict(X)
        if is_on_device(X):
            return _on_device.take_rows(self.sites_, labels, like=X)
        return np.asarray(self.sites_[labels])

    def _dense_rows(self, X: Any) -> NDArray[Any]:
        """Checked rows in C order and the sites' dtype."""
        rows = check_rows(self, X)
        rows = rows.toarray() if scipy.sparse.issparse(rows) else rows
        return np.ascontiguousarray(rows, dtype=self.sites_.dtype)

    def _sites_of(self, plan: FitPlan, points: NDArray[Any]) -> NDArray[Any]:
        """Collective. The sites, equal on all ranks, in the dtype of the points."""
        sites = self.sites
        if sites is None:
            sizes = plan.cluster.gather(len(points))
            n, first = sum(sizes), sum(sizes[: plan.cluster.rank])
            chosen = np.random.default_rng(plan.seed).choice(n, size=int(np.ceil(np.sqrt(n))), replace=False)
            mine = chosen[(chosen >= first) & (chosen < first + len(points))]
            parts = plan.cluster.gather(points[np.sort(mine) - first])
            return np.ascontiguousarray(np.concatenate(parts))
        with plan.cluster.agree():
            places = np.asarray(check_array(sites, dtype=points.dtype, order="C", input_name="sites"))
            if places.shape[1] != points.shape[1]:
                raise ValueError(
                    f"sites: has shape {places.shape} and X has shape {points.shape}: "
                    "give both the same number of columns"
                )
        return plan.cluster.broadcast(places)

    def _site_weights_of(self, n_sites: int) -> NDArray[np.float64] | None:
        """Checked weights of sum 1, or None where they are free."""
        if self.free_weights:
            if self.site_weights is not None:
                raise ValueError("site_weights: given with free_weights=True, which fits them; give one of both")
            return None
        if self.site_weights is None:
            return np.full(n_sites, 1.0 / n_sites)
        weights = np.asarray(self.site_weights, dtype=np.float64)
        if weights.shape != (n_sites,):
            raise ValueError(f"site_weights: has shape {weights.shape}, expected ({n_sites},): one for each site")
        if not (np.isfinite(weights).all() and (weights > 0).all()):
            raise ValueError("site_weights: must be positive and finite; leave out sites of weight 0")
        if abs(weights.sum() - 1) > _WEIGHTS_SUM:
            raise ValueError(f"site_weights: sum to {weights.sum()}, not 1; divide them by their sum")
        return np.ascontiguousarray(weights / weights.sum())

    def _measures_of(self, measures: Any, n_rows: int) -> NDArray[Any]:
        if measures is None:
            return np.zeros(n_rows, dtype=np.int64)
        if not self.free_weights:
            raise ValueError(
                "measures: needs free_weights=True; with fixed weights all points form one measure, leave it out"
            )
        labels = np.asarray(measures)
        if labels.shape != (n_rows,):
            raise ValueError(f"measures: has shape {labels.shape}, expected ({n_rows},): one for each row of X")
        return labels

    def _start(self, n_measures: int, n_sites: int) -> tuple[NDArray[np.float64] | None, float]:
        if not self._starts_warm() or self.potential_.size != n_measures * n_sites:
            return None, 0.0
        return np.ascontiguousarray(self.potential_, dtype=np.float64).reshape(-1), getattr(self, "_annealed_to", 0.0)

    def _bytes(self, plan: FitPlan, n_sites: int, points: NDArray[Any]) -> int:
        pieces, tile = 64, 48
        threads = n_sites * tile * points.dtype.itemsize * plan.n_threads
        copies = int(points.nbytes) if self.free_weights else 0
        return 8 * n_sites * (pieces + int(points.shape[1]) + 30) + threads + copies

    def _attributes(self, result: dict[str, NDArray[Any]]) -> Mapping[str, Any]:
        potential, votes = result["potential"], result["votes"]
        return {
            "potential_": potential[0] if len(potential) == 1 else potential,
            "cost_": float(result["cost"][0]),
            "votes_": votes,
            **({"weights_": votes} if self.free_weights else {}),
            "gradient_": result["gradient"],
            "mass_error_": float(result["mass_error"][0]),
            "dual_gap_": float(result["dual_gap"][0]),
            "_annealed_to": float(result["annealed_to"][0]),
        }


def _copy_on_host(model: SemiDiscreteOT, values: Any, name: str) -> Any:
    """`values`, or a copy of them where they are on a GPU that the model uses."""
    if not is_on_device(values):
        return values
    if resolve_device(model) != "cuda":
        refuse_device_array(values, name)
    return to_host(view(values, name))


def _check_measure_weights(weights: Any, n_measures: int) -> NDArray[np.float64]:
    if weights is None:
        return np.full(n_measures, 1.0 / n_measures)
    shares = np.asarray(weights, dtype=np.float64)
    if shares.shape != (n_measures,):
        raise ValueError(f"measure_weights: has shape {shares.shape}, expected ({n_measures},): one for each measure")
    if not (np.isfinite(shares).all() and (shares > 0).all()):
        raise ValueError("measure_weights: must be positive and finite; leave out measures of weight 0")
    return np.asarray(shares / shares.sum())
