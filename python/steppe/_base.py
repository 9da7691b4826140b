"""What every estimator of steppe shares; a model adds its parameters, a native session and its verbs.

How a model uses it, in full::

    class Model(ClassifierMixin, BaseSteppeEstimator):
        _parameter_constraints = {**BaseSteppeEstimator._parameter_constraints, "alpha": [...]}
        _auto_schedule = "nomad"  # what schedule="auto" means with more than one worker

        def __init__(self, alpha=1e-4, *, schedule="auto", max_iter=100, tol=1e-4, ...):  # all, in this order
            super().__init__(schedule=schedule, max_iter=max_iter, tol=tol, ...)
            self.alpha = alpha

        def fit(self, X, y, sample_weight=None):
            plan = self._plan()  # parameters checked; cluster, link, n_threads, schedule, device, seed
            data = check_classification(self, plan, X, y, sample_weight)  # checked, agreed on over the ranks
            plan.check_memory(8 * n_bytes)  # stated (verbose >= 1), refused if it cannot fit
            session = _core.model_session(native_rows(data.X), data.codes, ..., plan.link, plan.n_threads)
            plan.fitted["classes_"] = data.classes  # set when the fit succeeds, with the rest
            self._run(plan, session, problem={"X": data.X, "y": data.y, "sample_weight": data.weights})
            return self

        def _attributes(self, result):  # arrays of FitSession.result() -> fitted attributes
            return {"coef_": result["coef"], "intercept_": result["intercept"]}

        def predict(self, X):
            check_is_fitted(self)
            X = check_rows(self, X)

Helpers: `_plan.FitPlan`, `_validation` (check_classification, check_regression, check_rows, native_rows),
`_loop.Session` (what a native fit offers), `parallel.Cluster` (sum, unify, agree, ...). For partial_fit build
a session that starts from the fitted attributes and call ``self._run(plan, session, problem={}, rounds=1)``;
``_starts_warm()`` says whether fit should start so too. Everything else (history, tolerance, callbacks,
checkpoint, Ctrl-C, save) is here.

A native factory releases the GIL around everything but its views of arrays (other ranks may be threads of
this process), and keeps the link alive: ``py::keep_alive<0, index of link>()``.

The rule on a cluster: validate, then agree, then go. Between two collective calls nothing may raise on one
rank alone, so what may raise goes into ``with plan.cluster.agree(): ...``, which holds no collective call.
"""

from __future__ import annotations

import os
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar

from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from steppe import _persistence
from steppe._callbacks import CallbackSupportMixin
from steppe._checkpoint import Checkpoint, check_path, identity_of, seed_of
from steppe._history import History
from steppe._loop import FitLoop, Session
from steppe._plan import SCHEDULES, TOKEN_SCHEDULES, FitPlan, check_same_parameters, make_plan
from steppe.parallel import Cluster, cluster_or_alone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from os import PathLike
    from typing import Self

    from numpy.typing import NDArray

__all__ = ["BaseSteppeEstimator"]


class BaseSteppeEstimator(CallbackSupportMixin, BaseEstimator):  # type: ignore[misc]
    """Base of all estimators: the parameters that they share, the loop over iterations, saving and loading.

    Parameters
    ----------
    schedule : {"auto", "serial", "bsp", "nomad", "hogwild", "batch", "svi"}, default="auto"
        How the work is spread; each model says which of these it runs on. "auto" is serial for one worker, else what
        measures best for the model. All but nomad and hogwild are deterministic.
    max_iter : int, default=100
        Largest number of iterations; in each, every stored entry of the data is visited once.
    tol : float, default=1e-4
        The fit ends when an iteration changes the objective by at most ``tol`` times its size. 0 runs all of
        ``max_iter``.
    n_jobs : int or None, default=None
        Threads on this process, as in scikit-learn: None is 1 unless in a joblib context, -1 all cores that
        the process may use.
    cluster : steppe.parallel.Cluster or None, default=None
        Ranks that fit one model together; each passes its own rows.
    device : {"cpu", "cuda", "auto"}, default="cpu"
        "cuda" raises where there is none, "auto" falls back to the CPU.
    random_state : int, RandomState instance or None, default=None
        Fixes initial values and order.
    warm_start : bool, default=False
        Start from the parameters of the last fit.
    checkpoint : path or None, default=None
        Where to keep the progress: a killed job resumes when fit is called again with the same path.
    callbacks : callable, list of callables or None, default=None
        Called after every iteration with a :class:`FitInfo`; one that returns True ends the fit. Callbacks of
        ``sklearn.callback`` may stand in the list too.
    verbose : int, default=0
        1 prints a line an iteration on rank 0.

    Attributes
    ----------
    n_iter_ : int
        Iterations run.
    history_ : structured ndarray of shape (n_iter_,)
        Fields ``iteration``, ``seconds`` and ``updates`` (both since the start of the fit) and ``objective``
        (nan where not evaluated: with ``tol=0``, no callback and ``verbose=0`` it is every tenth time).
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only if X had column names.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "schedule": [StrOptions({"auto", *SCHEDULES})],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "n_jobs": [Integral, None],
        "cluster": [Cluster, None],
        "device": [StrOptions({"cpu", "cuda", "auto"})],
        "random_state": ["random_state"],
        "warm_start": ["boolean"],
        "checkpoint": [str, os.PathLike, None],
        "callbacks": "no_validation",
        "verbose": ["verbose"],
    }

    _auto_schedule: ClassVar[str] = "nomad"
    """What schedule="auto" means with more than one worker."""
    _schedules: ClassVar[tuple[str, ...]] = TOKEN_SCHEDULES
    """The schedules that this model runs on."""
    _evaluate_every: ClassVar[int] = 1
    """Iterations between two evaluations for the tolerance: more than 1 where evaluating is dear."""
    _closed_form: ClassVar[bool] = False
    """Whether one iteration is the whole fit, whatever max_iter and tol."""
    _tolerance_of: ClassVar[str | None] = None
    """What the tolerance bounds if the session judges that by itself (`FitSession.converged`)."""
    _row_attributes: ClassVar[tuple[str, ...]] = ()
    """Fitted attributes that on a cluster hold this rank's rows only; load joins them in rank order."""
    _devices: ClassVar[tuple[str, ...]] = ("cpu",)
    """Where this model has kernels."""
    _checkpoint_seconds: ClassVar[float] = 30.0
    """Least time between two checkpoints."""

    def __init__(
        self,
        *,
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
        self.schedule = schedule
        self.max_iter = max_iter
        self.tol = tol
        self.n_jobs = n_jobs
        self.cluster = cluster
        self.device = device
        self.random_state = random_state
        self.warm_start = warm_start
        self.checkpoint = checkpoint
        self.callbacks = callbacks
        self.verbose = verbose

    # What a model calls

    def _plan(self, *, more: bool = False) -> FitPlan:
        """Collective. Check the parameters, on all ranks together, and resolve the common ones for one fit.

        `more` says that the fit goes on from the last one whatever `warm_start` says, as partial_fit does.
        """
        self._settle()
        cluster = cluster_or_alone(self.cluster)
        with cluster.agree():
            self._validate_params()
        check_same_parameters(self, cluster, more=more)
        with cluster.agree():
            if self.checkpoint is not None:
                check_path(self.checkpoint)
        return make_plan(self, cluster, seed_of(self.checkpoint, cluster))

    def _run(
        self,
        plan: FitPlan,
        session: Session,
        *,
        problem: Mapping[str, Any],
        rounds: int | None = None,
        attributes: Callable[[dict[str, NDArray[Any]]], Mapping[str, Any]] | None = None,
    ) -> None:
        """Collective. Run `session` to the end of the fit and set the fitted attributes.

        Parameters
        ----------
        plan : FitPlan
        session : Session
            A native fit at its start.
        problem : mapping of str to array or value
            What is fitted: "X", "y", "sample_weight", ... as passed (checked), by which a checkpoint is told
            from another's.
        rounds : int or None, default=None
            For partial_fit: run that many iterations more and append them to `history_`, without tolerance or
            checkpoint.
        attributes : callable or None, default=None
            In the place of `_attributes`, where that needs the data of this fit.
        """
        attributes = attributes or self._attributes
        if rounds is not None:
            history = History(getattr(self, "history_", None))
            loop = FitLoop(self, plan, session, attributes, max_iter=len(history) + rounds, tol=0, history=history)
            loop.run()
            return
        checkpoint = None
        if self.checkpoint is not None:
            checkpoint = Checkpoint(self.checkpoint, plan.cluster, identity_of(self, plan, problem))
        loop = FitLoop(
            self,
            plan,
            session,
            attributes,
            max_iter=1 if self._closed_form else self.max_iter,
            tol=0 if self._closed_form else self.tol,
            history=History(),
            checkpoint=checkpoint,
        )
        loop.run(problem.get("X"), problem.get("y"))

    def _starts_warm(self) -> bool:
        """Whether this fit should start from the attributes of the last one."""
        return bool(self.warm_start) and hasattr(self, "n_iter_")

    # What a model may override

    def _attributes(self, result: dict[str, NDArray[Any]]) -> Mapping[str, Any]:
        """The fitted attributes that the arrays of `Session.result` mean. Sets nothing.

        One named "history.<field>" becomes a field of `history_`, an entry for each iteration.
        """
        raise NotImplementedError

    def _saved_attributes(self) -> set[str]:
        """Names of the attributes that `save` writes."""
        self._settle()
        return {name for name in vars(self) if name.endswith("_") and not name.startswith("_")}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    # Saving and copying

    def save(self, path: str | PathLike[str]) -> None:
        """Write the fitted estimator to one file, without pickle. Collective if it was fitted on a cluster.

        Parameters
        ----------
        path : path
            Replaced in one step if it exists.

        Raises
        ------
        NotFittedError
        TypeError
            If a parameter or an id is of a type that cannot be saved.
        """
        check_is_fitted(self)
        _persistence.save(self, path)

    @classmethod
    def load(cls, path: str | PathLike[str], *, mmap: bool = False) -> Self:
        """Load what `save` wrote; see :func:`steppe.load`.

        Raises
        ------
        ValueError
            If the file holds another class of estimator.
        """
        estimator = _persistence.load(path, mmap=mmap)
        if not isinstance(estimator, cls):
            raise ValueError(f"{path} holds a {type(estimator).__name__}, not a {cls.__name__}; use steppe.load(path)")
        return estimator

    def __getstate__(self) -> dict[str, Any]:
        self._settle()
        # A copy in another process does not take part in this job.
        return {**super().__getstate__(), "cluster": None}

    # Fitted attributes

    def _set_fitted_later(self, attributes: Callable[[], Mapping[str, Any]]) -> None:
        """Leave the fitted attributes to whoever asks for one first: Ctrl-C has no time to copy a large model."""
        before = {name: vars(self)[name] for name in getattr(self, "_published", ()) if name in vars(self)}
        self._withdraw(())
        self._attributes_later = (attributes, before)

    def _settle(self) -> None:
        """Set the fitted attributes that were left for later; those of the fit before where there is nothing of it."""
        if (later := self.__dict__.pop("_attributes_later", None)) is None:
            return
        attributes, before = later
        try:
            self._set_fitted(attributes() or before)
        except BaseException:
            self._attributes_later = later
            raise

    def __sklearn_is_fitted__(self) -> bool:
        self._settle()
        return any(name.endswith("_") and not name.startswith("__") for name in vars(self))

    if not TYPE_CHECKING:  # to mypy every name would be an attribute

        def __getattr__(self, name: str) -> Any:
            if name.endswith("_") and not name.startswith("__"):
                self._settle()
            return super().__getattribute__(name)  # there now, or the error that it is not

    def _set_fitted(self, attributes: Mapping[str, Any]) -> None:
        """All that a fit leaves, in the place of what the last one left."""
        self._withdraw(attributes)
        for name, value in attributes.items():
            setattr(self, name, value)
        self._published = tuple(attributes)

    def _withdraw(self, keep: Iterable[str]) -> None:
        """Remove what an earlier fit has set, but for `keep`, and what it has left for later."""
        self.__dict__.pop("_attributes_later", None)
        for name in set(self.__dict__.pop("_published", ())) - set(keep):
            if name in vars(self):
                delattr(self, name)
