"""The one loop of all fits: train, evaluate, remember, report, save, stop."""

from __future__ import annotations

import functools
import signal
import threading
import time
import warnings
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from steppe._callbacks import Callbacks, FitInfo
from steppe._history import History

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from steppe._checkpoint import Checkpoint
    from steppe._plan import FitPlan
    from steppe.parallel import Cluster


_UNWATCHED = 10  # iterations between two evaluations that nobody waits for


class Progress(Protocol):
    """What `Session.advance` returns."""

    @property
    def updates(self) -> int: ...
    @property
    def loss(self) -> float: ...
    @property
    def stopped(self) -> bool: ...


class Session(Protocol):
    """One fit in progress; `_core.FitSession` is one. All but `restore` are collective over the ranks of the link.

    `advance` and `objective` look after signals every 20 ms and call `callback` as often; if it returns True
    they stop: the parameters are then whole and usable, but not resumable, and the objective is nan.
    """

    def advance(self, rounds: int, callback: Callable[[], bool] | None = None) -> Progress: ...
    def objective(self, callback: Callable[[], bool] | None = None) -> float: ...
    def state(self) -> dict[str, NDArray[Any]]: ...
    def restore(self, state: dict[str, NDArray[Any]]) -> None: ...
    def result(self) -> dict[str, NDArray[Any]]: ...


class FitLoop:
    """Runs a session to its end and leaves the fitted attributes in the estimator, however the fit ended.

    Every decision (stop, evaluate, save) is made from what all ranks know, so all ranks take it.

    Parameters
    ----------
    estimator : BaseSteppeEstimator
    plan : FitPlan
    session : Session
    attributes : callable
        Arrays of `Session.result` -> fitted attributes.
    max_iter : int
        The loop ends when the history has that many rows.
    tol : float
        See `History.within`.
    history : History
        Of the iterations that came before.
    checkpoint : Checkpoint or None
    """

    def __init__(
        self,
        estimator: Any,
        plan: FitPlan,
        session: Session,
        attributes: Callable[[dict[str, NDArray[Any]]], Mapping[str, Any]],
        *,
        max_iter: int,
        tol: float,
        history: History,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self._estimator = estimator
        self._plan = plan
        self._cluster = plan.cluster
        self._session = session
        self._attributes = attributes
        self._max_iter = max_iter
        self._tol = tol
        self._history = history
        self._checkpoint = checkpoint
        with self._cluster.agree():
            self._callbacks = Callbacks(estimator, estimator.callbacks)
        # A fit that nobody watches is still evaluated now and then, so that its history can be drawn.
        watched = any(self._cluster.gather(bool(plan.verbose or self._callbacks)))
        self._tolerance_every = estimator._evaluate_every
        self._evaluate_every = 1 if watched else self._tolerance_every if tol else _UNWATCHED
        self._interrupts = _Interrupts(self._cluster)
        self._stopped = False
        self._usable = False  # whether the parameters are those of a drain, so that result() may be called
        self._saved_at = -np.inf

    def run(self, X: Any = None, y: Any = None) -> None:
        """Iterate until the tolerance, `max_iter`, a callback, an exception or Ctrl-C ends the fit."""
        with self._interrupts.deferred(), ExitStack() as callbacks:
            with self._cluster.agree():
                callbacks.enter_context(self._callbacks.fitting(self._max_iter, X, y))
            try:
                self._resume()
                while not self._finished():
                    self._iterate()
            except KeyboardInterrupt:
                self._publish_later()
                raise
            except BaseException:
                if self._usable:
                    self._publish()
                raise
            self._publish()
        self._warn_if_not_converged()

    def _resume(self) -> None:
        found = None if self._checkpoint is None else self._checkpoint.read()
        if found is None:
            return
        state, self._history = found
        with self._cluster.agree():  # restoring is local
            self._checkpoint.restore(self._session, state)  # type: ignore[union-attr]
        if self._plan.verbose:
            print(f"resumed after iteration {len(self._history)}")

    def _finished(self) -> bool:
        return self._stopped or len(self._history) >= self._max_iter or self._converged()

    def _converged(self) -> bool:
        if self._estimator._tolerance_of is not None:
            return len(self._history) > 0 and bool(self._session.converged)  # type: ignore[attr-defined]
        return self._history.within(self._tol, self._tolerance_every)

    def _iterate(self) -> None:
        task, error = None, None
        try:
            task = self._callbacks.iteration_begins()
        except BaseException as raised:  # noqa: BLE001 - raised again by _agree, when the other ranks know
            error = raised
        loss = self._train()
        self._report()
        if error is None:
            error = self._call_back(task, loss)
        self._agree(error)

    def _train(self) -> float:
        """One iteration and, where it is due, the objective; ends at a drain."""
        iteration = len(self._history) + 1
        started, objective, self._usable = time.perf_counter(), np.nan, False
        progress = self._session.advance(1, self._interrupts.poll)
        if progress.stopped:
            raise KeyboardInterrupt
        if (iteration - 1) % self._evaluate_every == 0 or iteration == self._max_iter:
            objective = self._session.objective(self._interrupts.poll)
            if not np.isfinite(objective):
                if any(self._cluster.gather(self._interrupts.poll())):
                    raise KeyboardInterrupt
                raise ValueError(
                    f"the objective became {objective} in iteration {iteration}: the steps are too large; "
                    "use a smaller learning_rate, more regularisation, or scale the features"
                )
        self._usable = True
        self._history.append(self._history.seconds + time.perf_counter() - started, objective, progress.updates)
        return progress.loss

    def _report(self) -> None:
        if not self._plan.verbose:
            return
        history = self._history
        print(
            f"iteration {len(history):>{len(str(self._max_iter))}}/{self._max_iter}"
            f"  objective {history.objective:.6g}  {history.seconds:.2f} s"
            f"  {history.updates / max(history.seconds, 1e-9):.3g} updates/s",
            flush=True,
        )

    def _call_back(self, task: Any, loss: float) -> BaseException | None:
        history = self._history
        info = FitInfo(
            iteration=len(history),
            max_iter=self._max_iter,
            seconds=history.seconds,
            objective=history.objective,
            loss=loss,
            updates=history.updates,
            estimator=self._estimator,
            _attributes=self._fitted,
        )
        try:
            self._stopped |= self._callbacks.iteration_ended(task, info)
        except BaseException as error:  # noqa: BLE001 - raised again by _agree
            return error
        return None

    def _agree(self, error: BaseException | None) -> None:
        """What one rank met or wants, all ranks do: fail, stop, save."""
        due = time.monotonic() - self._saved_at >= self._estimator._checkpoint_seconds
        votes = self._cluster.gather((error is not None, self._stopped, self._interrupts.poll(), due))
        failed, self._stopped, interrupted, _ = (any(column) for column in zip(*votes, strict=True))
        if interrupted:
            raise KeyboardInterrupt
        if failed:
            self._cluster.agree_on(error)
        if self._checkpoint is not None and (votes[0][3] or self._finished()):
            self._checkpoint.write(self._session.state(), self._history)
            self._saved_at = time.monotonic()

    def _fitted(self) -> dict[str, Any]:
        return _fitted_attributes(
            self._attributes, session=self._session, history=self._history, known_before=self._plan.fitted
        )

    def _publish(self) -> None:
        if fitted := self._fitted():
            self._estimator._set_fitted(fitted)

    def _publish_later(self) -> None:
        """After Ctrl-C: on a cluster at once all the same, as only here all ranks are sure to ask for the result."""
        if self._cluster.size > 1:
            self._publish()
        else:
            # Of this loop, which holds the data, the estimator should not know: it may be kept for long.
            later = functools.partial(
                _fitted_attributes,
                self._attributes,
                session=self._session,
                history=self._history,
                known_before=self._plan.fitted,
            )
            self._estimator._set_fitted_later(later)

    def _warn_if_not_converged(self) -> None:
        if self._tol > 0 and not self._stopped and not self._converged():
            bounded = self._estimator._tolerance_of or "the change of the objective"
            warnings.warn(
                f"{type(self._estimator).__name__} ended after max_iter={self._max_iter} iterations, before "
                f"{bounded} fell below tol={self._tol}: increase max_iter or tol.",
                ConvergenceWarning,
                stacklevel=5,  # the caller of fit
            )


def _fitted_attributes(
    attributes: Callable[[dict[str, NDArray[Any]]], Mapping[str, Any]],
    *,
    session: Session,
    history: History,
    known_before: Mapping[str, Any],
) -> dict[str, Any]:
    result = session.result()
    if not result:  # stopped before there was anything to fit with
        return {}
    found = dict(attributes(result))
    own = [name for name in found if name.startswith("history.")]
    fields = {name.removeprefix("history."): found.pop(name) for name in own}
    lines = history.as_array(fields)
    return {**known_before, **found, "n_iter_": len(lines), "history_": lines}


class _Interrupts:
    """Ctrl-C during a fit.

    Alone, Python's own handler raises at once; on a cluster it becomes a request to stop, so that no rank
    leaves between two collective calls.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._requested = False
        self._several = cluster.size > 1

    def poll(self) -> bool:
        return self._requested

    @contextmanager
    def deferred(self) -> Iterator[None]:
        mine = (
            self._several
            and threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        )
        if not mine:
            yield
            return
        signal.signal(signal.SIGINT, lambda *_: setattr(self, "_requested", True))
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)
