"""Geometric mean metric learning."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval

from steppe import _core
from steppe.metric._mahalanobis import (
    COMMON_CONSTRAINTS,
    BaseMahalanobis,
    blas_threads,
    check_prior,
    constant_features,
)
from steppe.metric._pairs import check_pairs

if TYPE_CHECKING:
    from os import PathLike

    from numpy.typing import ArrayLike
    from typing_extensions import Self

    from steppe.metric._pairs import Pairs
    from steppe.parallel import Cluster


class GMML(BaseMahalanobis):
    r"""Geometric mean metric learning: a distance in closed form.

    With S the mean of :math:`c c'` over similar pairs plus ``reg`` times the inverse prior, and D that over
    dissimilar pairs plus ``reg`` times the prior, A is the point at ``t`` on the geodesic from :math:`S^{-1}` to D,

    .. math:: A = S^{-1/2} (S^{1/2} D S^{1/2})^t S^{-1/2},

    which minimises :math:`(1 - t) \delta^2(A, S^{-1}) + t \delta^2(A, D)`, the ``objective`` of `history_`, in the
    Riemannian distance of positive definite matrices.

    Parameters
    ----------
    t : float in [0, 1], default=0.5
        0 heeds the similar pairs alone, 1 the dissimilar ones.
    preprocessor : array-like or sparse matrix of shape (P, D), or None, default=None
        Points that pairs of indices refer to; on a cluster the same on every rank.
    reg : float, default=1e-3
        Weight of the prior, on the scale of the squared features. With linearly dependent features, or more than
        4,000 of them, it must be positive.
    prior : {"identity", "covariance"} or array-like of shape (D, D), default="identity"
        A0. "covariance" is the inverse of the covariance of the points. Up to 4,000 features for other than the
        identity.
    n_constraints : int or None, default=None
        Pairs sampled when points with labels are given, half of them similar; None is 2,000, or 40 times the square
        of the number of classes if that is more, at most 10 for each point.
    schedule : {"auto", "serial", "bsp"}, default="auto"
    max_iter : int, default=1
        The fit is one iteration; this and ``tol`` have no effect.
    tol : float, default=0.0
    n_jobs : int or None, default=None
        Threads on this process, as in scikit-learn.
    cluster : steppe.parallel.Cluster or None, default=None
        Each rank passes its own rows or pairs; every rank receives the points that pairs are made of.
    device : {"cpu", "auto"}, default="cpu"
    random_state : int, RandomState instance or None, default=None
        Fixes which pairs are sampled.
    warm_start : bool, default=False
        There is nothing to start from; no effect.
    checkpoint : path or None, default=None
    callbacks : callable, list of callables or None, default=None
    verbose : int, default=0

    Attributes
    ----------
    components_ : ndarray of shape (D, D) or FactoredComponents
        L of A = L'L. Beyond 4,000 features it stays in factors, made of the next three; no D x D matrix exists then.
    basis_ : ndarray of shape (r, D)
        Orthonormal directions that the differences span.
    eigenvalues_ : ndarray of shape (r,)
        Those of A along `basis_`.
    scale_ : float
        The eigenvalue elsewhere: ``reg ** (2 t - 1)``.
    n_iter_ : int
    history_ : structured ndarray of shape (1,)
    n_features_in_ : int
    feature_names_in_ : ndarray of str

    Notes
    -----
    Costs C D² operations for the two matrices and one eigendecomposition of a D x D matrix; beyond 4,000 features of
    an r x r matrix, r < P points, and min(P, C)² D operations for the Gram matrix.

    References
    ----------
    .. [1] P. Zadeh, R. Hosseini, S. Sra, "Geometric mean metric learning", ICML 2016.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from steppe.metric import GMML
    >>> X, y = load_iris(return_X_y=True)
    >>> GMML(random_state=0).fit(X, y).get_mahalanobis_matrix().shape
    (4, 4)
    """

    _closed_form: ClassVar[bool] = True
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **COMMON_CONSTRAINTS,
        "t": [Interval(Real, 0, 1, closed="both")],
        "reg": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        t: float = 0.5,
        *,
        preprocessor: Any = None,
        reg: float = 1e-3,
        prior: Any = "identity",
        n_constraints: int | None = None,
        schedule: str = "auto",
        max_iter: int = 1,
        tol: float = 0.0,
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
        self.t = t
        self.preprocessor = preprocessor
        self.reg = reg
        self.prior = prior
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
            If the data or a parameter does not make sense, one kind of pair is missing, or a matrix is singular.
        MemoryError
            If the fit does not fit.
        """
        plan = self._plan()
        pairs = check_pairs(self, plan, X, y)
        with plan.cluster.agree():
            _check_both_kinds(pairs, self.reg)
            prior = check_prior(self.prior, pairs)
        plan.check_memory(self._bytes(pairs))
        with blas_threads().limit(limits=1, user_api="blas"):
            session = _core.gmml_session(
                pairs.points,
                pairs.pairs,
                pairs.sign,
                prior=prior,
                prior_inverse=None if prior is None else np.ascontiguousarray(np.linalg.inv(prior)),
                link=plan.link,
                t=float(self.t),
                reg=float(self.reg),
                n_threads=plan.n_threads,
            )
            self._run(plan, session, problem={"X": pairs.points, "y": pairs.sign, "pairs": pairs.pairs})
        return self


def _check_both_kinds(pairs: Pairs, reg: float) -> None:
    for sign, kind in ((1, "similar"), (-1, "dissimilar")):
        if not (pairs.sign == sign).any():
            raise ValueError(f"y: there is no {kind} pair of two different points; GMML needs pairs of both kinds")
    if reg > 0:
        return
    constant = constant_features(pairs.points)
    if constant:
        raise ValueError(f"reg: must be positive, as the features {constant} are constant; or drop them")
    if pairs.points.shape[1] > min(len(pairs.points) - 1, len(pairs.pairs)):
        raise ValueError("reg: must be positive with more features than the pairs span")
