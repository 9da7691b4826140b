"""Runs the common checks, and scikit-learn's, on every estimator."""

import inspect

import pytest
from common_cases import CASES
from common_checks import CHECKS, OF_ITERATIONS, check_killed
from sklearn.utils.estimator_checks import parametrize_with_checks

ESTIMATORS = [(case.make(), case) for case in CASES if case.examples]


def expected_failures(estimator):
    return next(case.expected_failures for made, case in ESTIMATORS if made is estimator)


def scikit_learn_checks():
    """The mark of scikit-learn with its checks as a list: old versions hand over a generator."""
    mark = parametrize_with_checks([made for made, _ in ESTIMATORS], expected_failed_checks=expected_failures)
    names, checks = mark.args
    return pytest.mark.parametrize(names, list(checks), **mark.kwargs)


@pytest.mark.parametrize(
    "check,case",
    [
        pytest.param(check, case, id=f"{check.__name__.removeprefix('check_')}-{case}")
        for check in CHECKS
        for case in CASES
        if case.iterative or check not in OF_ITERATIONS
    ],
)
def test_common(check, case, tmp_path, capsys, monkeypatch):
    offered = {"directory": tmp_path, "capsys": capsys, "monkeypatch": monkeypatch}
    check(case, **{name: offered[name] for name in inspect.signature(check).parameters if name in offered})


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.path.endswith(("MatrixFactorization", "LogisticRegression"))], ids=str
)
def test_a_killed_process_resumes(case, tmp_path):
    check_killed(case, tmp_path)


@scikit_learn_checks()
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_scikit_learn(estimator, check):
    check(estimator)
