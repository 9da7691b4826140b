"""Information-theoretic metric learning."""

from __future__ import annotations

import warnings
from functools import partial
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, StrOptions

from steppe import _core
from steppe.metric._mahalanobis import COMMON_CONSTRAINTS, BaseMahalanobis, blas_threads, check_prior
from steppe.metric._pairs import check_pairs, default_bounds

if TYPE_CHECKING:
    from os import PathLike

    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self

    from steppe._plan import FitPlan
    from steppe.metric._pairs import Pairs
    from steppe.parallel import Cluster


class ITML(BaseMahalanobis):
    r"""Information-theoretic metric learning, exact at the speed of matrix products.

    Minimises, over a positive definite A and targets :math:`\xi`,

    .. math:: \mathrm{tr}(A A_0^{-1}) - \log\det(A A_0^{-1}) - D
        + \gamma \sum_k (\xi_k / t_k - \log(\xi_k / t_k) - 1)

    so that the squared distance :math:`c_k' A c_k` of pair k is at most :math:`\xi_k` if it is similar and at least
    that if not; :math:`t_k` is the bound of its kind. Cyclic coordinate ascent on the dual: ``objective`` in
    `history_` is minus the dual objective, which never rises.

    Parameters
    ----------
    gamma : float, default=0.1
        Price of missing the bounds, for each pair: the more pairs and the more they contradict each other, the less
        it should be. ``numpy.inf`` insists on the bounds. The default is a compromise over many data sets; 1.0 suits
        some better, so it is worth a search.
    preprocessor : array-like or sparse matrix of shape (P, D), or None, default=None
        Points that pairs of indices refer to; on a cluster the same on every rank.
    bounds : (float, float) or None, default=None
        *Squared* distances: at most the first for similar pairs, at least the second for dissimilar ones. None takes
        the 5th and the 95th percentile of the squared distances between points (of 10,000 pairs if there are more).
    prior : {"identity", "covariance"} or array-like of shape (D, D), default="identity"
        A0. "covariance" is the inverse of the covariance of the points. Up to 4,000 features for other than the
        identity.
    solver : {"exact", "parallel"}, default="exact"
        "exact" is the sequential algorithm, to rounding, whatever the number of threads and ranks. "parallel" lets
        all pairs of a block step at once from the same A, damped so that A stays positive definite and the dual does
        not fall: another path to the same optimum.
    n_constraints : int or None, default=None
        Pairs sampled when points with labels are given, half of them similar; None is 2,000, or 40 times the square
        of the number of classes if that is more, at most 10 for each point.
    schedule : {"auto", "serial", "bsp"}, default="auto"
        One thread, or all of them; the result is the same.
    max_iter : int, default=1000
        Largest number of sweeps over all pairs.
    tol : float, default=1e-4
        The fit ends when a sweep changes the dual objective by at most ``tol`` times its size.
    n_jobs : int or None, default=None
        Threads on this process, as in scikit-learn.
    cluster : steppe.parallel.Cluster or None, default=None
        Ranks that fit one metric together; each passes its own rows or pairs. Every rank receives the points that
        pairs are made of; the ranks share the products of features and the rows of the matrix.
    device : {"cpu", "auto"}, default="cpu"
    random_state : int, RandomState instance or None, default=None
        Fixes which pairs are sampled.
    warm_start : bool, default=False
        Start from `dual_` of the last fit, if there are as many pairs.
    checkpoint : path or None, default=None
        Where to keep the progress: a killed job resumes when fit is called again with the same path.
    callbacks : callable, list of callables or None, default=None
        Called after every sweep; one that returns True ends the fit.
    verbose : int, default=0
        1 prints a line a sweep on rank 0.

    Attributes
    ----------
    components_ : ndarray of shape (D, D) or FactoredComponents
        L of A = L'L. Beyond 4,000 features it stays in factors, made of the next three; no D x D matrix exists then.
    basis_ : ndarray of shape (r, D)
        Orthonormal directions in which A differs from the identity; r is less than the number of points.
    eigenvalues_ : ndarray of shape (r,)
        Those of A along `basis_`.
    scale_ : float
        The eigenvalue elsewhere: 1.
    dual_ : ndarray of shape (C,)
        :math:`\lambda_k` of the pairs, in the order passed or sampled; 0 for pairs of length zero. A is the inverse
        of the inverse prior plus the sum of :math:`\pm\lambda_k c_k c_k'`.
    dual_gap_ : float
        Primal less dual objective at the end: how far, at most, the objective is from the optimum. nan if the fit was
        interrupted.
    bounds_ : ndarray of shape (2,)
    n_iter_ : int
    history_ : structured ndarray of shape (n_iter_,)
        Fields ``iteration``, ``seconds``, ``objective`` (nan where not evaluated), ``updates`` (projections), and
        ``gap``, evaluated in sweeps 1, 11, 21, ... and the last.
    n_features_in_ : int
    feature_names_in_ : ndarray of str

    Notes
    -----
    With C pairs of P points a sweep costs the least of 4 D² C (D x D), 2 C³ (products of the pairs) and 4 r² C (the
    span of the differences, r < P) operations; the last two need the Gram matrix once, min(P, C)² D operations. The
    matrix is held in double precision whatever the dtype of the points. A ``ConvergenceWarning`` tells of pairs that
    are left out because A would not stay positive definite.

    References
    ----------
    .. [1] J. Davis, B. Kulis, P. Jain, S. Sra, I. Dhillon, "Information-theoretic metric learning", ICML 2007.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from steppe.metric import ITML
    >>> X, y = load_iris(return_X_y=True)
    >>> ITML(random_state=0).fit(X, y).transform(X).shape
    (150, 4)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **COMMON_CONSTRAINTS,
        "gamma": [Interval(Real, 0, np.inf, closed="right")],
        "bounds": ["array-like", None],
        "solver": [StrOptions({"exact", "parallel"})],
    }

    def __init__(
        self,
        gamma: float = 0.1,
        *,
        preprocessor: Any = None,
        bounds: ArrayLike | None = None,
        prior: Any = "identity",
        solver: str = "exact",
        n_constraints: int | None = None,
        schedule: str = "auto",
        max_iter: int = 1000,
        tol: float = 1e-4,
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
        self.gamma = gamma
        self.preprocessor = preprocessor
        self.bounds = bounds
        self.prior = prior
        self.solver = solver
        self.n_constraints = n_constraints

    def fit(self, X: Any, y: ArrayLike) -> Self:
        """Learn the distance. Collective on a cluster.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, D); array of shape (n, 2, D); or integers of shape (n, 2)
            Points with class labels; pairs; or, with ``preprocessor``, pairs of its rows. float32 or float64;
            anything else is computed in float64.
        y : array-like of shape (n,)
            Class labels of points; +1 (similar) or -1 of pairs.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the data or a parameter does not make sense, or all pairs have length zero.
        MemoryError
            If the fit does not fit.
        """
        plan = self._plan()
        pairs = check_pairs(self, plan, X, y)
        with plan.cluster.agree():
            bounds = default_bounds(pairs, plan) if self.bounds is None else _check_bounds(self.bounds)
            prior = check_prior(self.prior, pairs)
        plan.check_memory(self._bytes(pairs))
        with blas_threads().limit(limits=1, user_api="blas"):
            session = self._session(plan, pairs, bounds, prior)
            plan.fitted["bounds_"] = bounds.astype(pairs.points.dtype)
            problem = {"X": pairs.points, "y": pairs.sign, "pairs": pairs.pairs}
            doubts: dict[str, int] = {}
            self._run(plan, session, problem=problem, attributes=partial(self._attributes_of, pairs, doubts))
            _warn_of_rounding(**doubts)
        return self

    def _session(
        self, plan: FitPlan, pairs: Pairs, bounds: NDArray[np.float64], prior: NDArray[np.float64] | None
    ) -> _core.FitSession:
        start = None
        if self._starts_warm() and len(self.dual_) == pairs.n_passed:
            start = self.dual_[pairs.position].astype(np.float64)
        return _core.itml_session(
            pairs.points,
            pairs.pairs,
            pairs.sign,
            np.where(pairs.sign > 0, bounds[0], bounds[1]),
            start_dual=start,
            prior=None if prior is None else np.linalg.cholesky(prior),
            link=plan.link,
            gamma=float(self.gamma),
            in_parallel=self.solver == "parallel",
            n_threads=plan.n_threads,
        )

    def _form(self, pairs: Pairs) -> str:
        if not (isinstance(self.prior, str) and self.prior == "identity"):
            return "dense"
        n_points, d = pairs.points.shape
        return _core.itml_form(n_points, len(pairs.pairs), d)

    def _attributes_of(self, pairs: Pairs, doubts: dict[str, int], result: dict[str, NDArray[Any]]) -> dict[str, Any]:
        doubts.update({name: int(result[name][0]) for name in ("left_out", "shrunk")})
        return {
            **self._attributes(result),
            "dual_": pairs.in_passed_order(result["dual"]),
            "dual_gap_": float(result["gap"][-1]) if len(result["gap"]) else np.nan,
            "history.gap": result["gap"],
        }


def _warn_of_rounding(left_out: int, shrunk: int) -> None:
    """Say that the metric is not the optimum, where double precision was not enough for it."""
    met = []
    if left_out:
        met.append(f"the last sweep left out {left_out} pairs")
    if shrunk:
        met.append(f"{shrunk} dual variables were made smaller")
    if met:
        warnings.warn(
            f"ITML: {' and '.join(met)}, as the metric would not have stayed positive definite in double precision; it "
            "is not the optimum. Use a smaller gamma or other bounds, or drop pairs that contradict each other or are "
            "much shorter than the bounds.",
            ConvergenceWarning,
            stacklevel=3,  # the caller of fit
        )


def _check_bounds(bounds: Any) -> NDArray[np.float64]:
    values = np.asarray(bounds, dtype=np.float64)
    if values.shape != (2,) or not (np.isfinite(values) & (values > 0)).all():
        raise ValueError(
            f"bounds: got {bounds!r}; give two positive squared distances, for similar and dissimilar pairs"
        )
    return values
