"""Callbacks: plain callables, and scikit-learn's protocol where the installed version has it (1.9+)."""

from __future__ import annotations

import copy
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

try:
    from sklearn.callback import CallbackSupportMixin, FitCallback
    from sklearn.callback._callback_support import callback_management_context
except ImportError:
    FitCallback = None

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands in where scikit-learn has no callbacks."""


__all__ = ["CallbackSupportMixin", "Callbacks", "FitInfo"]


@dataclass(frozen=True)
class FitInfo:
    """What a callback is told after an iteration; ``info["objective"]`` reads like ``info.objective``.

    Attributes
    ----------
    iteration, max_iter : int
        This iteration, from 1, and the largest one.
    seconds : float
        Since the start of the fit, without the time that callbacks and checkpoints took.
    objective : float
        As the estimator's docstring defines it.
    loss : float
        Running loss, from parameters that moved meanwhile: to be shown, not to be compared.
    updates : int
        Since the start of the fit.
    estimator : estimator
        The one that is being fitted.
    """

    iteration: int
    max_iter: int
    seconds: float
    objective: float
    loss: float
    updates: int
    estimator: Any
    _attributes: Callable[[], dict[str, Any]] = field(repr=False, compare=False)

    def __getitem__(self, name: str) -> Any:
        try:
            return getattr(self, name)
        except AttributeError:
            raise KeyError(name) from None

    def fitted_estimator(self) -> Any:
        """A copy of the estimator as if the fit had ended here.

        On a cluster collective: all ranks call it or none.
        """
        fitted = copy.copy(self.estimator)
        fitted.cluster = self.estimator.cluster  # which copies to other processes go without
        fitted._set_fitted(self._attributes())
        return fitted


class Callbacks:
    """The callbacks of one fit, plain and scikit-learn's, seen as one."""

    def __init__(self, estimator: Any, callbacks: Any) -> None:
        given = [] if callbacks is None else list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]
        self._estimator = estimator
        self._protocol = [c for c in given if FitCallback is not None and isinstance(c, FitCallback)]
        self._plain = [c for c in given if not any(c is other for other in self._protocol)]
        for callback in self._plain:
            if not callable(callback):
                raise TypeError(
                    f"callbacks: {callback!r} is not callable; give functions of one argument (FitInfo)"
                    + (" or callbacks of sklearn.callback" if FitCallback is not None else "")
                )
        self._root: Any = None
        self._data: dict[str, Any] = {}

    def __bool__(self) -> bool:
        return bool(self._plain or self._protocol or getattr(self._estimator, "_skl_callbacks", []))

    @contextmanager
    def fitting(self, max_iter: int, X: Any, y: Any) -> Iterator[None]:
        """Opens and closes scikit-learn's task of the whole fit around the block."""
        if FitCallback is None:
            yield
            return
        self._data = {"X": X, "y": y}
        set_before = list(getattr(self._estimator, "_skl_callbacks", []))
        self._estimator.set_callbacks(*set_before, *self._protocol)
        try:
            with callback_management_context(self._estimator):
                self._root = self._estimator._init_callback_context(max_subtasks=max_iter)
                self._root.call_on_fit_task_begin(estimator=self._estimator, **self._data)
                yield
                self._root.call_on_fit_task_end(estimator=self._estimator, **self._data)
        finally:
            self._estimator.set_callbacks(*set_before)

    def iteration_begins(self) -> Any:
        """A task of scikit-learn's, to be handed to `iteration_ended`."""
        if self._root is None:
            return None
        task = self._root.subcontext(task_name="iteration")
        return task.call_on_fit_task_begin(estimator=self._estimator, **self._data)

    def iteration_ended(self, task: Any, info: FitInfo) -> bool:
        """Calls all; whether one of them asks for the end of the fit."""
        stop = False
        for callback in self._plain:
            answer = callback(info)
            stop |= isinstance(answer, (bool, np.bool_)) and bool(answer)
        if task is not None:
            stop |= task.call_on_fit_task_end(
                estimator=self._estimator, reconstruction_attributes=info._attributes, **self._data
            )
        return stop
