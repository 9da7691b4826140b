"""Gaussian mixtures by variational inference."""

from __future__ import annotations

from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import scipy.sparse
from sklearn.base import DensityMixin
from sklearn.utils._param_validation import Interval, StrOptions

from steppe import _core
from steppe._base import BaseSteppeEstimator
from steppe._history import History
from steppe._validation import check_points
from steppe.mixture._prior import Moments, Prior, moments_of
from steppe.mixture._queries import MixtureQueries
from steppe.mixture._start import kmeans_labels, random_labels

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self

    from steppe._plan import FitPlan
    from steppe.parallel import Cluster

_BLOCK_ROWS = 512  # that a worker keeps shares of, for all components at once
_SHARES_OF_ROW = 8  # about, where rows remember them


class BayesianGaussianMixture(MixtureQueries, DensityMixin, BaseSteppeEstimator):  # type: ignore[misc]
    r"""A mixture of Gaussians whose parameters have distributions, fitted by variational inference.

    .. math:: \pi \sim \mathrm{Dir}(\alpha_0, \ldots, \alpha_0), \quad
        \Lambda_k \sim \mathcal{W}(\nu_0, V_0^{-1}), \quad
        \mu_k \mid \Lambda_k \sim \mathcal{N}(m_0, (\beta_0 \Lambda_k)^{-1}), \quad
        x_i \mid z_i \sim \mathcal{N}(\mu_{z_i}, \Lambda_{z_i}^{-1}).

    With ``covariance_type="diag"`` each feature's precision has a one-dimensional Wishart (Gamma) distribution of its
    own. Components that the data do not need lose their weight.

    Parameters
    ----------
    n_components : int, default=1
        K, at most; thousands are fine.
    covariance_type : {"full", "diag"}, default="full"
    weight_concentration_prior : float or None, default=None
        :math:`\alpha_0`; None is 1 / K. Small values let weights go to zero.
    mean_precision_prior : float or None, default=None
        :math:`\beta_0`; None is 1.
    mean_prior : array-like of shape (D,) or None, default=None
        :math:`m_0`; None is the mean of X.
    degrees_of_freedom_prior : float or None, default=None
        :math:`\nu_0`; None is D.
    covariance_prior : array-like of shape (D, D) or (D,), or None, default=None
        :math:`V_0`; None is the covariance of X plus `reg_covar` on its diagonal.
    reg_covar : float, default=1e-6
        Each row stands for a little Gaussian of this variance in every direction.
    init_params : {"kmeans", "random"}, default="kmeans"
        Which component each row starts in: the nearest of the centres that k-means finds on some of the rows, or any.
    batch_size : int, default=1024
        Rows of a step of ``schedule="svi"``, over all ranks.
    learning_decay, learning_offset : float, default=0.7, 10.0
        Step t of "svi" has the rate (learning_offset + t) ** -learning_decay.
    schedule : {"auto", "serial", "bsp", "nomad", "batch", "svi"}, default="auto"
        "batch": variational inference by passes over all rows, in parallel over rows; the same on "serial". "bsp" and
        "nomad": extreme stochastic variational inference [1]_, in parallel over rows and components. "svi":
        stochastic variational inference [2]_. "auto" is serial for one worker, else "batch".
    max_iter : int, default=100
        Passes over the rows.
    tol : float, default=1e-5
        The fit ends when an iteration changes the lower bound by at most `tol` times its size. 0 runs all of
        `max_iter`.
    n_jobs, cluster, device, random_state, warm_start, checkpoint, callbacks, verbose
        See :class:`steppe._base.BaseSteppeEstimator`. With ``warm_start=True`` the fit starts from the last one's
        posterior if that has the same shape.

    Attributes
    ----------
    weights_ : ndarray of shape (K,)
        Expected :math:`\pi`.
    means_ : ndarray of shape (K, D)
    covariances_, precisions_, precisions_cholesky_ : ndarray of shape (K, D, D) or (K, D)
        :math:`V_k / \nu_k`, its inverse, and an upper triangular factor P of that, P P'; or the diagonals.
    weight_concentration_, mean_precision_, degrees_of_freedom_ : ndarray of shape (K,)
        :math:`\alpha_k, \beta_k, \nu_k` of the posterior.
    weight_concentration_prior_, mean_precision_prior_, degrees_of_freedom_prior_ : float
    mean_prior_, covariance_prior_ : ndarray
    entropy_ : ndarray of shape (K,)
        :math:`-\sum_i s_i z_{ik} \log z_{ik}`: what of the bound the posterior does not tell.
    lower_bound_ : float
        Of the log evidence of the rows, with all constants; scikit-learn's leaves out those that a fit does not change.
    converged_ : bool
    n_iter_ : int
    history_ : structured ndarray of shape (n_iter_,)
        Fields ``iteration``, ``seconds``, ``objective`` (minus the lower bound), ``updates`` (pairs of row and
        component).
    n_features_in_ : int
    feature_names_in_ : ndarray of str

    Notes
    -----
    A pass is O(n K D) operations (diag) or O(n K D^2) (full), fused, so that nothing of size n x K is in memory. "bsp"
    and "nomad" remember which rows have a share of which component, but only shares that count.

    float32 rows are centred, and moments are taken about each component's own mean and summed in float64: data far from
    the origin lose nothing but what float32 cannot hold.

    References
    ----------
    .. [1] J. Zhang, P. Raman, S. Ji, H.-F. Yu, S. V. N. Vishwanathan, I. S. Dhillon, "Extreme stochastic variational
       inference: distributed and asynchronous", AISTATS 2019.
    .. [2] M. D. Hoffman, D. M. Blei, C. Wang, J. Paisley, "Stochastic variational inference", JMLR 14, 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from steppe.mixture import BayesianGaussianMixture
    >>> X = np.array([[0.0, 0], [1, 0], [0, 1], [9, 9], [8, 9], [9, 8]])
    >>> model = BayesianGaussianMixture(2, random_state=0).fit(X)
    >>> labels = model.predict(X)
    >>> bool((labels[:3] == labels[0]).all() and (labels[3:] == 1 - labels[0]).all())
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseSteppeEstimator._parameter_constraints,
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "covariance_type": [StrOptions({"full", "diag"})],
        "weight_concentration_prior": [Interval(Real, 0, None, closed="neither"), None],
        "mean_precision_prior": [Interval(Real, 0, None, closed="neither"), None],
        "mean_prior": ["array-like", None],
        "degrees_of_freedom_prior": [Interval(Real, 0, None, closed="neither"), None],
        "covariance_prior": ["array-like", None],
        "reg_covar": [Interval(Real, 0, None, closed="left")],
        "init_params": [StrOptions({"kmeans", "random"})],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "learning_decay": [Interval(Real, 0, 1, closed="both")],
        "learning_offset": [Interval(Real, 1, None, closed="left")],
    }
    _auto_schedule: ClassVar[str] = "batch"
    _schedules: ClassVar[tuple[str, ...]] = ("serial", "bsp", "nomad", "batch", "svi")

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        weight_concentration_prior: float | None = None,
        mean_precision_prior: float | None = None,
        mean_prior: ArrayLike | None = None,
        degrees_of_freedom_prior: float | None = None,
        covariance_prior: ArrayLike | None = None,
        reg_covar: float = 1e-6,
        init_params: str = "kmeans",
        batch_size: int = 1024,
        learning_decay: float = 0.7,
        learning_offset: float = 10.0,
        schedule: str = "auto",
        max_iter: int = 100,
        tol: float = 1e-5,
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
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.weight_concentration_prior = weight_concentration_prior
        self.mean_precision_prior = mean_precision_prior
        self.mean_prior = mean_prior
        self.degrees_of_freedom_prior = degrees_of_freedom_prior
        self.covariance_prior = covariance_prior
        self.reg_covar = reg_covar
        self.init_params = init_params
        self.batch_size = batch_size
        self.learning_decay = learning_decay
        self.learning_offset = learning_offset

    # Fitting

    def fit(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the mixture. Collective on a cluster: each rank passes its rows, of which it may have none.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, D)
            float32 or float64; anything else is computed in float64. Sparse rows are made dense.
        y : None
            Ignored.
        sample_weight : array-like of shape (n,), float or None, default=None
            A weight of 2 equals the row twice.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the data or a parameter does not make sense.
        MemoryError
            If the fit does not fit.

        Warns
        -----
        UserWarning
            That names the components which k-means had to reseed, or which start without rows.
        """
        plan = self._plan()
        start = self._last_statistics() if self._starts_warm() else None
        rows, weights = self._check(plan, X, sample_weight, reset=True)
        moments = moments_of(rows, weights, self.covariance_type == "full", plan.cluster)
        with plan.cluster.agree():
            prior = Prior.make(self, moments)
        if start is not None and start[0].covariances_.shape[1:] == prior.covariance.shape:
            statistics = start[1].statistics(start[0], self._centre_of(moments, rows), float(self.reg_covar))
        else:
            statistics = None
        self._fit(plan, rows, weights, sample_weight is not None, moments, prior, statistics, rounds=None)
        return self

    def partial_fit(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> Self:
        """One iteration over a batch of rows, on top of all batches before. Collective on a cluster.

        The rows of earlier batches count as they were shared out then: their statistics are kept, not the rows. The
        first batch fixes the priors. A row that is passed twice counts twice.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, D)
        y : None
            Ignored.
        sample_weight : array-like of shape (n,), float or None, default=None

        Returns
        -------
        self
        """
        plan = self._plan(more=True)
        first = not hasattr(self, "means_")
        rows, weights = self._check(plan, X, sample_weight, reset=first)
        moments = moments_of(rows, weights, self.covariance_type == "full", plan.cluster)
        with plan.cluster.agree():
            prior = Prior.make(self, moments) if first else self._prior_of_fit()
        statistics = None
        if not first:
            statistics = prior.statistics(self, self._centre_of(moments, rows), float(self.reg_covar))
        self._fit(plan, rows, weights, sample_weight is not None, moments, prior, statistics, rounds=1)
        return self

    def fit_predict(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> NDArray[np.int32]:
        """Fit, and the most probable component of each row.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, D)
        y : None
            Ignored.
        sample_weight : array-like of shape (n,), float or None, default=None

        Returns
        -------
        int32 ndarray of shape (n,)
        """
        return self.fit(X, sample_weight=sample_weight)._answers(X, "labels")

    def _check(self, plan: FitPlan, X: Any, sample_weight: Any, *, reset: bool) -> tuple[NDArray[Any], NDArray[Any]]:
        rows, weights = check_points(self, plan, X, sample_weight, reset=reset)
        return (rows.toarray() if scipy.sparse.issparse(rows) else rows), weights

    @staticmethod
    def _centre_of(moments: Moments, rows: NDArray[Any]) -> NDArray[np.float64]:
        """About what native code takes statistics: a number of the rows' type."""
        return moments.mean.astype(rows.dtype).astype(np.float64)

    def _last_statistics(self) -> tuple[Any, Prior] | None:
        """The last fit and its prior, taken before this fit changes anything."""
        if self.means_.shape[0] != self.n_components:
            return None
        return self, self._prior_of_fit()

    def _prior_of_fit(self) -> Prior:
        return Prior(
            float(self.weight_concentration_prior_),
            float(self.mean_precision_prior_),
            float(self.degrees_of_freedom_prior_),
            np.asarray(self.mean_prior_, dtype=np.float64),
            np.asarray(self.covariance_prior_, dtype=np.float64),
        )

    def _fit(
        self,
        plan: FitPlan,
        rows: NDArray[Any],
        weights: NDArray[Any],
        weighted: bool,
        moments: Moments,
        prior: Prior,
        statistics: NDArray[np.float64] | None,
        rounds: int | None,
    ) -> None:
        plan.check_memory(self._bytes(plan, rows), self._model_bytes(rows))
        labels = None
        if statistics is None:
            if self.init_params == "kmeans":
                labels = kmeans_labels(plan, rows, weights, int(self.n_components))
            else:
                labels = random_labels(plan, len(rows), int(self.n_components))
        session = _core.mixture_session(
            rows,
            weights if weighted else None,
            link=plan.link,
            labels=labels,
            start=statistics,
            keep=statistics is not None and rounds is not None,
            centre=moments.mean.astype(rows.dtype),
            mean_prior=prior.mean,
            covariance_prior=prior.covariance,
            n_components=int(self.n_components),
            full=prior.full,
            concentration=prior.concentration,
            mean_precision=prior.mean_precision,
            dof=prior.dof,
            blur=float(self.reg_covar),
            schedule=plan.schedule,
            n_threads=plan.n_threads,
            seed=plan.seed,
            total_weight=moments.weight,
            batch_rows=int(self.batch_size),
            learning_decay=float(self.learning_decay),
            learning_offset=float(self.learning_offset),
        )
        plan.fitted.update(
            weight_concentration_prior_=prior.concentration,
            mean_precision_prior_=prior.mean_precision,
            degrees_of_freedom_prior_=prior.dof,
            mean_prior_=prior.mean.astype(rows.dtype),
            covariance_prior_=prior.covariance.astype(rows.dtype),
            converged_=False,
        )
        problem = {} if rounds is not None else {"X": rows, "sample_weight": weights}
        self._run(plan, session, problem=problem, rounds=rounds)
        self.converged_ = History(self.history_).within(float(self.tol))

    def _model_bytes(self, rows: NDArray[Any]) -> int:
        d = int(rows.shape[1])
        size = d * (d + 1) // 2 if self.covariance_type == "full" else d
        return 8 * int(self.n_components) * (2 + d + size)

    def _bytes(self, plan: FitPlan, rows: NDArray[Any]) -> int:
        k, width = int(self.n_components), int(rows.dtype.itemsize)
        models = (8 + 3 * plan.n_threads) * self._model_bytes(rows)
        shares = plan.n_threads * k * _BLOCK_ROWS * (8 + 2 * width)
        remembered = 0
        if plan.schedule in ("bsp", "nomad"):
            remembered = len(rows) * min(k, _SHARES_OF_ROW) * (4 + width) * 2
        return models + shares + remembered

    def _attributes(self, result: dict[str, NDArray[Any]]) -> Mapping[str, Any]:
        concentration = result["weight_concentration"]
        names = ("means", "covariances", "precisions", "precisions_cholesky", "mean_precision", "degrees_of_freedom")
        return {
            "weights_": concentration / concentration.sum(),
            "weight_concentration_": concentration,
            **{f"{name}_": result[name] for name in names},
            "entropy_": result["entropy"].astype(concentration.dtype),
            "lower_bound_": float(result["lower_bound"][0]),
        }
