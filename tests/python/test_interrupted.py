"""What Ctrl-C leaves of a fit: attributes that are made when one of them is asked for."""

import copy
import gc
import pickle
import weakref

import pytest
from common_cases import labelled
from common_checks import assert_same_fit
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted
from tiny_model import TinySession, TinySoftmax

import steppe

QUICK = {"max_iter": 5, "tol": 0, "random_state": 0}


@pytest.fixture
def interrupted(monkeypatch):
    """A TinySoftmax that Ctrl-C ended in its third iteration, and what its session was asked for since."""
    asked = []

    def advance(self, rounds, callback=None, advance=TinySession.advance):
        if self.round[0] == 2:
            asked.clear()
            raise KeyboardInterrupt
        return advance(self, rounds, callback)

    def watch(name):
        method = getattr(TinySession, name)
        monkeypatch.setattr(TinySession, name, lambda self, *args: asked.append(name) or method(self, *args))

    monkeypatch.setattr(TinySession, "advance", advance)
    watch("result")
    watch("objective")
    model = TinySoftmax(**QUICK)
    with pytest.raises(KeyboardInterrupt):
        model.fit(*labelled())
    return model, asked


ASKING = {
    "attribute": lambda model: model.coef_,
    "hasattr": lambda model: hasattr(model, "history_"),
    "check_is_fitted": check_is_fitted,
    "predict": lambda model: model.predict(labelled()[0]),
    "pickle": pickle.dumps,
    "deepcopy": copy.deepcopy,
    "another fit": lambda model: model._plan(),
}


@pytest.mark.parametrize("how", ASKING)
def test_ctrl_c_leaves_the_attributes_to_who_asks_first(interrupted, how):
    model, asked = interrupted
    clone(model)
    assert not hasattr(model, "no_such_thing")
    assert not asked
    ASKING[how](model)
    assert asked == ["result"]
    assert (model.n_iter_, len(model.history_), model.coef_.shape) == (2, 2, (3, 5))
    assert not hasattr(model, "no_such_thing_")
    model.predict(labelled()[0])
    assert asked == ["result"]


def test_what_ctrl_c_leaves_is_the_model_of_the_last_iteration(interrupted, tmp_path):
    model, _ = interrupted
    model.save(tmp_path / "model")
    shorter = TinySoftmax(**{**QUICK, "max_iter": 2}).fit(*labelled())
    assert_same_fit(model, shorter)
    assert_same_fit(steppe.load(tmp_path / "model"), shorter)


def test_what_ctrl_c_leaves_may_fail_and_is_asked_for_again(interrupted, monkeypatch):
    model, _ = interrupted
    with monkeypatch.context() as patch:
        patch.setattr(TinySession, "result", lambda self: [][0])
        with pytest.raises(IndexError):
            _ = model.coef_
    assert model.coef_.shape == (3, 5)


def test_an_interrupted_fit_leaves_nothing_of_the_fit_before(interrupted):
    model, _ = interrupted
    model._set_fitted({"coef_": 1, "dual_gap_": 2})
    model._set_fitted_later(lambda: {"coef_": 3})
    assert (hasattr(model, "dual_gap_"), model.coef_) == (False, 3)


def test_an_interrupted_fit_that_has_nothing_leaves_the_fit_before(interrupted):
    model, _ = interrupted
    model._set_fitted({"coef_": 1, "dual_gap_": 2})
    model._set_fitted_later(dict)
    assert (model.dual_gap_, model.coef_) == (2, 1)


def test_a_stopped_fit_is_freed_when_its_attributes_are_made(interrupted):
    model, _ = interrupted
    session = weakref.ref(model._attributes_later[0].keywords["session"])
    gc.collect()  # what the exception held
    gc.disable()
    try:
        check_is_fitted(model)
        assert session() is None
    finally:
        gc.enable()
