"""A model small enough to see through: tests the contract of estimators apart from native models."""

from __future__ import annotations

import sys
import time
import types
from dataclasses import dataclass
from numbers import Real
from typing import ClassVar

import numpy as np
import scipy.sparse
from sklearn.base import ClassifierMixin
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from steppe._base import BaseSteppeEstimator
from steppe._validation import check_classification, check_rows


@dataclass
class TinyProgress:
    updates: int
    loss: float
    stopped: bool


def softmax(scores):
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


class TinySession:
    """Softmax regression by accelerated gradient steps; sums over ranks in rank order."""

    def __init__(self, cluster, X, codes, weights, total, n_classes, alpha, step, W, seconds, fail_at):
        self.cluster, self.X, self.codes, self.weights = cluster, X, codes, weights / total
        self.n_classes, self.alpha, self.step, self.seconds, self.fail_at = (
            n_classes,
            alpha,
            step,
            seconds,
            fail_at,
        )
        self.W, self.M, self.round = W, np.zeros_like(W), np.zeros(1, np.int64)

    def parts(self, W):
        scores = self.X @ W[:, :-1].T + W[:, -1]
        p = softmax(scores)
        loss = -float((self.weights * np.log(np.maximum(p[np.arange(len(p)), self.codes], 1e-300))).sum())
        p[np.arange(len(p)), self.codes] -= 1
        p *= self.weights[:, None]
        gradient = np.hstack([(self.X.T @ p).T, p.sum(axis=0)[:, None]]).astype(W.dtype)
        return loss, gradient

    def advance(self, rounds, callback=None):
        assert rounds == 1
        if self.fail_at is not None and self.round[0] + 1 == self.fail_at:
            raise RuntimeError("a visit failed")
        until = time.monotonic() + self.seconds
        stopped = False
        while self.seconds and time.monotonic() < until and not stopped:
            time.sleep(0.01)
            stopped = bool(callback is not None and callback())
        if any(self.cluster.gather(stopped)):
            return TinyProgress(0, 0.0, True)
        for _ in range(10):
            gradient = self.cluster.sum(self.parts(self.W)[1])
            gradient[:, :-1] += self.alpha * self.W[:, :-1]
            self.M = (0.9 * self.M - self.step * gradient).astype(self.W.dtype)
            self.W = self.W + self.M
        self.round += 1
        return TinyProgress(self.X.shape[0], 1.0, False)

    def objective(self, callback=None):
        return self.cluster.sum(self.parts(self.W)[0]) + 0.5 * self.alpha * float((self.W[:, :-1] ** 2).sum())

    def state(self):
        return {"W": self.W, "M": self.M, "round": self.round}

    def restore(self, state):
        self.W, self.M, self.round = state["W"], state["M"], state["round"]

    def result(self):
        return {"W": self.W.copy()}


class TinySoftmax(ClassifierMixin, BaseSteppeEstimator):
    """alpha/2 ||W||^2 + weighted mean cross entropy."""

    _parameter_constraints: ClassVar = {
        **BaseSteppeEstimator._parameter_constraints,
        "alpha": [Interval(Real, 0, None, closed="left")],
        "class_weight": [dict, str, None],
        "seconds": [Real],
        "fail_at": [int, None],
        "learning_rate": [Real],
    }

    def __init__(
        self, alpha=1e-3, *, class_weight=None, learning_rate=1.0, seconds=0.0, fail_at=None, schedule="auto",
        max_iter=100, tol=1e-4, n_jobs=None, cluster=None, device="cpu", random_state=None, warm_start=False,
        checkpoint=None, callbacks=None, verbose=0,
    ):  # fmt: skip
        super().__init__(
            schedule=schedule, max_iter=max_iter, tol=tol, n_jobs=n_jobs, cluster=cluster, device=device,
            random_state=random_state, warm_start=warm_start, checkpoint=checkpoint, callbacks=callbacks,
            verbose=verbose,
        )  # fmt: skip
        self.alpha = alpha
        self.class_weight = class_weight
        self.learning_rate = learning_rate
        self.seconds = seconds
        self.fail_at = fail_at

    def _session(self, plan, data):
        W = (
            np.random.default_rng(plan.seed)
            .normal(0, 1e-3, (len(data.classes), data.X.shape[1] + 1))
            .astype(data.X.dtype)
        )
        if self._starts_warm() and self.coef_.shape == (W.shape[0], W.shape[1] - 1):
            W = np.hstack([self.coef_, self.intercept_[:, None]]).astype(W.dtype)
        squares = data.X.multiply(data.X) if scipy.sparse.issparse(data.X) else data.X**2
        norms = np.asarray(squares.sum(axis=1)).ravel()[data.weights > 0]
        largest = max(plan.cluster.gather(float(norms.max(initial=0))))
        step = self.learning_rate * 0.2 / (1 + largest)
        return TinySession(
            plan.cluster, data.X, data.codes, data.weights, data.total_weight, len(data.classes), self.alpha,
            step, W, self.seconds, self.fail_at,
        )  # fmt: skip

    def fit(self, X, y, sample_weight=None):
        plan = self._plan()
        data = check_classification(self, plan, X, y, sample_weight, class_weight=self.class_weight)
        plan.check_memory(8 * len(data.classes) * data.X.shape[1])
        session = self._session(plan, data)
        plan.fitted["classes_"] = data.classes
        self._run(plan, session, problem={"X": data.X, "y": data.y, "sample_weight": data.weights})
        return self

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        plan = self._plan(more=True)
        first = not hasattr(self, "classes_")
        known = classes if first else self.classes_
        data = check_classification(self, plan, X, y, sample_weight, classes=known, reset=first)
        plan.fitted["classes_"] = data.classes
        warm, self.warm_start = self.warm_start, True
        session = self._session(plan, data)
        self.warm_start = warm
        self._run(plan, session, problem={}, rounds=1)
        return self

    def _attributes(self, result):
        return {"coef_": result["W"][:, :-1], "intercept_": result["W"][:, -1]}

    def decision_function(self, X):
        check_is_fitted(self)
        scores = check_rows(self, X) @ self.coef_.T + self.intercept_
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict_proba(self, X):
        check_is_fitted(self)
        return softmax(check_rows(self, X) @ self.coef_.T + self.intercept_)

    def predict(self, X):
        check_is_fitted(self)
        return self.classes_[np.argmax(self.predict_proba(X), axis=1)]


# Loading refuses classes outside steppe, so the tiny model is put where a model of the library would be.
_home = types.ModuleType("steppe.tiny_model")
_home.TinySoftmax = TinySoftmax
TinySoftmax.__module__ = _home.__name__
sys.modules[_home.__name__] = _home
