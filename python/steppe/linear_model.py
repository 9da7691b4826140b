"""Linear classifiers."""

from __future__ import annotations

from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import scipy.sparse
from scipy.special import log_softmax, softmax
from sklearn.base import ClassifierMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from steppe import _core
from steppe._base import BaseSteppeEstimator
from steppe._plan import resolve_n_jobs
from steppe._validation import Examples, check_classification, check_rows, native_rows

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self

    from steppe._plan import FitPlan
    from steppe.parallel import Cluster

__all__ = ["MultinomialLogisticRegression"]

_SWEEPS_OF_A_BATCH = 3


class MultinomialLogisticRegression(ClassifierMixin, BaseSteppeEstimator):  # type: ignore[misc]
    r"""Multinomial logistic regression for many classes, examples and features.

    Minimises

    .. math:: \frac{\alpha}{2} \lVert W \rVert^2 + \frac{1}{\sum_i s_i} \sum_i s_i
        \Bigl(\log \sum_k e^{w_k \cdot x_i + c_k} - w_{y_i} \cdot x_i - c_{y_i}\Bigr)

    where :math:`s_i` is the sample weight times the class weight: a weight of 2 equals the row twice. The intercept
    is not penalised. In scikit-learn's words ``C = 1 / (alpha * sum of weights)``.

    Parameters
    ----------
    alpha : float, default=1e-4
        Strength of the L2 penalty. ``solver="ds_mlr"`` needs a positive one.
    solver : {"ds_mlr", "softmax"}, default="ds_mlr"
        "ds_mlr" is doubly separable: blocks of classes travel between shards of rows, and each meeting is a sweep of
        dual coordinate ascent. There is no step size to choose, few iterations suffice for sparse or scaled features,
        and memory is one W and one number for each example and class.
        "softmax" is L-BFGS on the exact objective, in parallel over rows: for features of very different scale, for
        high accuracy with little regularisation, and for ``alpha=0``. Its memory is about 17 W; the schedule
        does not matter to it.
    fit_intercept : bool, default=True
        Whether to fit :math:`c_k`.
    learning_rate : float in (0, 1] or None, default=None
        The part of each step of "ds_mlr" that is made; None is the whole. A smaller part steadies early iterations
        on badly scaled features.
    class_weight : dict, "balanced" or None, default=None
        Weight of each class; "balanced" makes all classes weigh the same.
    schedule : {"auto", "serial", "bsp", "nomad", "hogwild"}, default="auto"
        How the work is spread. "auto" is serial for one worker, else bsp. serial and bsp are deterministic, bsp for a
        given number of workers. "hogwild" needs one process; its atomic additions make it the slowest.
    max_iter : int, default=100
        Largest number of iterations.
    tol : float, default=1e-4
        The fit ends when an iteration changes the objective by at most ``tol`` times its size. 0 runs all of
        ``max_iter`` and saves the evaluations.
    n_jobs : int or None, default=None
        Threads on this process, as in scikit-learn.
    cluster : steppe.parallel.Cluster or None, default=None
        Ranks that fit one model together; each passes its own rows.
    device : {"cpu", "auto"}, default="cpu"
        There are no CUDA kernels.
    random_state : int, RandomState instance or None, default=None
        Fixes the order in which rows are visited.
    warm_start : bool, default=False
        Start from the last fit. For "ds_mlr" this keeps the dual variables (n x K numbers) in the estimator and
        applies if the next fit has as many rows, features and classes; any change of the data or of alpha is allowed.
    checkpoint : path or None, default=None
        Where to keep the progress: a killed job resumes when fit is called again with the same path.
    callbacks : callable, list of callables or None, default=None
        Called after every iteration; one that returns True ends the fit.
    verbose : int, default=0
        1 prints a line an iteration on rank 0.

    Attributes
    ----------
    coef_ : ndarray of shape (K, D)
        W, of X's dtype. Also for two classes; in Fortran order.
    intercept_ : ndarray of shape (K,)
        c; zeros without intercept.
    classes_ : ndarray of shape (K,)
    weight_seen_ : float
        Sum of the weights of all rows that the model was fitted to, which partial_fit goes on from.
    n_iter_ : int
    history_ : structured ndarray of shape (n_iter_,)
        Fields ``iteration``, ``seconds``, ``objective`` (nan where not evaluated), ``updates`` (pairs of example and
        class).
    n_features_in_ : int
    feature_names_in_ : ndarray of str

    Notes
    -----
    An iteration costs O(nnz K) operations. The decomposition is that of [1]_; its stochastic steps are replaced by the
    exact coordinate steps of [2]_, made in random order.

    References
    ----------
    .. [1] P. Raman, S. Srinivasan, S. Matsushima, X. Zhang, H. Yun, S. V. N. Vishwanathan, "Scaling multinomial
       logistic regression via hybrid parallelism", KDD 2019.
    .. [2] S. Shalev-Shwartz, T. Zhang, "Stochastic dual coordinate ascent methods for regularized loss minimization",
       Journal of Machine Learning Research 14, 2013.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from steppe.linear_model import MultinomialLogisticRegression
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MultinomialLogisticRegression(alpha=1e-2, random_state=0).fit(X, y)
    >>> model.coef_.shape
    (3, 4)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseSteppeEstimator._parameter_constraints,
        "alpha": [Interval(Real, 0, None, closed="left")],
        "solver": [StrOptions({"ds_mlr", "softmax"})],
        "fit_intercept": ["boolean"],
        "learning_rate": [Interval(Real, 0, 1, closed="right"), None],
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }
    _auto_schedule: ClassVar[str] = "bsp"

    def __init__(
        self,
        alpha: float = 1e-4,
        *,
        solver: str = "ds_mlr",
        fit_intercept: bool = True,
        learning_rate: float | None = None,
        class_weight: Mapping[Any, float] | str | None = None,
        schedule: str = "auto",
        max_iter: int = 100,
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
        self.alpha = alpha
        self.solver = solver
        self.fit_intercept = fit_intercept
        self.learning_rate = learning_rate
        self.class_weight = class_weight

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the model. Collective on a cluster: each rank passes its rows, of which it may have none.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, D)
            float32 or float64; anything else is computed in float64.
        y : array-like of shape (n,)
            Labels of any type.
        sample_weight : array-like of shape (n,), float or None, default=None

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the data or a parameter does not make sense, or if there are fewer than two classes.
        MemoryError
            If the fit does not fit.
        """
        plan = self._plan()
        data = check_classification(self, plan, X, y, sample_weight, class_weight=self.class_weight)
        plan.check_memory(self._bytes(data), self._coef_bytes(data))
        session = self._session(plan, data, **self._start(plan, data))
        plan.fitted.update(classes_=data.classes, weight_seen_=data.total_weight)
        self._run(plan, session, problem={"X": data.X, "y": data.y, "sample_weight": data.weights})
        return self

    def partial_fit(
        self, X: Any, y: ArrayLike, classes: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """One iteration, of three sweeps, over a batch of rows, on top of all batches before. Collective on a cluster.

        The earlier batches keep the dual variables that they ended with, so one pass over a stream of batches is worth
        some iterations over all rows; a row that is passed twice counts twice. ``solver`` is "ds_mlr" here.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, D)
        y : array-like of shape (n,)
        classes : array-like of shape (K,) or None, default=None
            All classes; needed in the first call unless `y` holds them all.
        sample_weight : array-like of shape (n,), float or None, default=None

        Returns
        -------
        self

        Raises
        ------
        ValueError
            Also if a label is not among the classes of the first call.
        """
        plan = self._plan(more=True)
        first = not hasattr(self, "classes_")
        known = classes if first else self.classes_
        data = check_classification(
            self, plan, X, y, sample_weight, class_weight=self.class_weight, classes=known, reset=first
        )
        plan.check_memory(self._bytes(data), self._coef_bytes(data))
        before = 0.0 if first else self.weight_seen_
        total = before + data.total_weight
        start = {}
        if before > 0:
            # W is a sum over rows of weights relative to the total, which has grown.
            start = self._weights_to_start_from(data, scale=before / total)
        session = self._session(
            plan, data, solver="ds_mlr", total_weight=total, prior_weight=before, n_sweeps=_SWEEPS_OF_A_BATCH, **start
        )
        plan.fitted.update(classes_=data.classes, weight_seen_=total)
        self._run(plan, session, problem={}, rounds=1)
        return self

    def decision_function(self, X: Any) -> NDArray[Any]:
        r"""Scores of the classes.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, D)

        Returns
        -------
        ndarray of shape (n, K), or (n,) for two classes
            :math:`w_k \cdot x_i + c_k`; for two classes the second's score less the first's.
        """
        scores = self._scores(X)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable class of each row.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, D)

        Returns
        -------
        ndarray of shape (n,)
        """
        labels, _ = self.predict_topk(X, 1)
        return labels[:, 0]

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Probabilities of the classes.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, D)

        Returns
        -------
        ndarray of shape (n, K)
        """
        return np.asarray(softmax(self._scores(X), axis=1))

    def predict_log_proba(self, X: Any) -> NDArray[Any]:
        """Logarithms of the probabilities of the classes.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, D)

        Returns
        -------
        ndarray of shape (n, K)
        """
        return np.asarray(log_softmax(self._scores(X), axis=1))

    def predict_topk(self, X: Any, k: int) -> tuple[NDArray[Any], NDArray[Any]]:
        r"""The `k` most probable classes of each row; never holds n x K scores.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, D)
        k : int
            At most the number of classes.

        Returns
        -------
        labels : ndarray of shape (n, k)
            Most probable first; among equals the first of `classes_`.
        scores : ndarray of shape (n, k)
            Their :math:`w_k \cdot x_i + c_k`.

        Raises
        ------
        ValueError
            If `k` is not between 1 and the number of classes.
        """
        check_is_fitted(self)
        if not isinstance(k, Integral) or not 1 <= k <= len(self.classes_):
            raise ValueError(f"k: got {k!r}; give an integer from 1 to the number of classes, {len(self.classes_)}")
        codes, scores = _core.linear_topk(*self._for_scores(X), k, resolve_n_jobs(self.n_jobs))
        return self.classes_[codes], scores

    def _scores(self, X: Any) -> NDArray[Any]:
        check_is_fitted(self)
        rows, weights, intercept = self._for_scores(X)
        if isinstance(rows, np.ndarray):
            return np.asarray(rows @ weights + intercept)
        return _core.linear_scores(rows, weights, intercept, resolve_n_jobs(self.n_jobs))

    def _for_scores(self, X: Any) -> tuple[Any, NDArray[Any], NDArray[Any]]:
        """The rows, the weights by feature and the intercept, all of the model's dtype."""
        rows = check_rows(self, X)
        if scipy.sparse.issparse(rows) or rows.dtype != self.coef_.dtype:
            rows = rows.astype(self.coef_.dtype, copy=False)
        return native_rows(rows), np.ascontiguousarray(self.coef_.T), np.ascontiguousarray(self.intercept_)

    def _session(self, plan: FitPlan, data: Examples, **options: Any) -> _core.FitSession:
        return _core.multinomial_logistic_session(
            native_rows(data.X),
            data.codes,
            data.weights,
            link=plan.link,
            **{
                "alpha": float(self.alpha),
                "solver": self.solver,
                "fit_intercept": bool(self.fit_intercept),
                "damping": 1.0 if self.learning_rate is None else float(self.learning_rate),
                "n_classes": len(data.classes),
                "schedule": plan.schedule,
                "n_threads": plan.n_threads,
                "seed": plan.seed,
                "total_weight": data.total_weight,
                "keep_dual": bool(self.warm_start) and self.solver == "ds_mlr",
                **options,
            },
        )

    def _start(self, plan: FitPlan, data: Examples) -> dict[str, Any]:
        """Collective. What this fit starts from, as arguments of the session: on all ranks the same kind."""
        if not self._starts_warm() or self.coef_.shape != (len(data.classes), data.X.shape[1]):
            return {}
        if self.solver == "softmax":
            return self._weights_to_start_from(data)
        dual = getattr(self, "_dual", None)
        fits = dual is not None and dual.shape == (data.X.shape[0], len(data.classes))
        fits = all(plan.cluster.gather(fits))
        if dual is None or not fits:
            return {}
        return {
            "start_dual": dual.astype(data.X.dtype, copy=False),
            "start_intercept": self.intercept_.astype(data.X.dtype, copy=False),
        }

    def _weights_to_start_from(self, data: Examples, scale: float = 1.0) -> dict[str, Any]:
        weights = np.ascontiguousarray(self.coef_.T, dtype=data.X.dtype)
        return {
            "start_weights": weights if scale == 1 else weights * weights.dtype.type(scale),
            "start_intercept": np.ascontiguousarray(self.intercept_, dtype=data.X.dtype),
        }

    def _coef_bytes(self, data: Examples) -> int:
        return len(data.classes) * int(data.X.shape[1]) * int(data.X.dtype.itemsize)

    def _bytes(self, data: Examples) -> int:
        itemsize = int(data.X.dtype.itemsize)
        weights = self._coef_bytes(data)
        if self.solver == "softmax":
            return 17 * weights
        return 2 * weights + len(data.classes) * int(data.X.shape[0]) * itemsize

    def _attributes(self, result: dict[str, NDArray[Any]]) -> Mapping[str, Any]:
        return {
            "coef_": result["weights"].T,
            "intercept_": result["intercept"],
            **({"_dual": result["dual"]} if "dual" in result else {}),
        }
