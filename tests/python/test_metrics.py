"""NDCG against all permutations and scikit-learn."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics

from steppe.metrics import ndcg_score

_spec = importlib.util.spec_from_file_location(
    "local_gmml", Path(__file__).resolve().parents[1] / "reference" / "local_gmml.py"
)
oracle = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(oracle)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("gain", ["exponential", "linear"])
def test_ties_are_the_mean_over_all_orders(seed, gain):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 7))
    y, s = rng.integers(0, 4, n), rng.integers(0, 3, n).astype(float)
    for k in (1, 3, 10):
        np.testing.assert_allclose(ndcg_score(y, s, k=k, gain=gain), oracle.ndcg(y, s, k, gain), rtol=1e-12)


@pytest.mark.parametrize("k", [None, 1, 10, 50])
def test_linear_gain_equals_scikit_learn(k):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 5, (40, 30)) * (rng.random((40, 1)) < 0.9)  # some queries have nothing relevant
    s = rng.normal(size=(40, 30)).round(1)  # ties
    ours = ndcg_score(y, s, k=k, gain="linear", no_relevant=0.0)
    np.testing.assert_allclose(ours, sklearn.metrics.ndcg_score(y, s, k=k), rtol=1e-12)


def test_queries_in_any_order_and_of_any_type():
    rng = np.random.default_rng(1)
    y, s, qid = rng.integers(0, 3, 200), rng.normal(size=200), rng.integers(0, 12, 200)
    expected = np.nanmean([ndcg_score(y[qid == q], s[qid == q], k=5) for q in range(12)])
    shuffled = rng.permutation(200)
    for ids in (qid, np.array([f"query {q}" for q in qid])):
        np.testing.assert_allclose(ndcg_score(y, s, ids, 5), expected)
        np.testing.assert_allclose(ndcg_score(y[shuffled], s[shuffled], ids[shuffled], 5, n_jobs=2), expected)


def test_queries_without_a_relevant_document():
    y, s, qid = [1, 0, 0, 0], [0.1, 0.9, 0.5, 0.4], [0, 0, 1, 1]
    half = 1 / np.log2(3)
    assert ndcg_score(y, s, qid) == pytest.approx(half)
    assert ndcg_score(y, s, qid, no_relevant=1.0) == pytest.approx((half + 1) / 2)
    assert ndcg_score(y, s, qid, no_relevant=0) == pytest.approx(half / 2)
    assert np.isnan(ndcg_score([0, 0], [1, 2]))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"y_true": [-1, 2], "y_score": [1, 2]}, "y_true: met the grade -1"),
        ({"y_true": [1, 2000], "y_score": [1, 2]}, "y_true: met the grade 2000, whose gain"),
        ({"y_true": [1, 2], "y_score": [1, 2, 3]}, "y_score: has shape"),
        ({"y_true": [1, 2], "y_score": [1, np.nan]}, "NaN"),
        ({"y_true": [1, 2], "y_score": [1, 2], "qid": [2]}, "qid: has 1 entries and X has 2 rows"),
        ({"y_true": [1, 2], "y_score": [1, 2], "qid": [2, np.nan]}, "qid: contains NaN"),
        ({"y_true": [[1, 2]], "y_score": [[1, 2]], "qid": [0, 0]}, "qid: with two axes"),
        ({"y_true": [1, 2], "y_score": [1, 2], "k": 0}, "k: got 0"),
        ({"y_true": [1, 2], "y_score": [1, 2], "gain": "log"}, "gain: got 'log'"),
        ({"y_true": [1, 2], "y_score": [1, 2], "no_relevant": "zero"}, "no_relevant: got 'zero'"),
    ],
)
def test_bad_arguments_say_what_to_do(arguments, words):
    with pytest.raises(ValueError, match=words):
        ndcg_score(**arguments)


def test_linear_gains_and_places_may_be_as_large_as_they_like():
    grades, scores = np.array([3000.0, 0, 1500]), np.array([1.0, 3, 2])
    expected = (1500 / np.log2(3) + 3000 / 2) / (3000 + 1500 / np.log2(3))
    assert ndcg_score(grades, scores, gain="linear", k=10**30) == pytest.approx(expected, rel=1e-12)
