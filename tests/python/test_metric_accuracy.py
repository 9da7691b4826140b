"""Nearest neighbours by a learned distance: those of the oracle, and how many are right."""

import sys
from pathlib import Path

import numpy as np
import pytest
import sklearn
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.utils.fixes import parse_version

from steppe.metric import GMML, ITML
from steppe.metric._pairs import sample_pairs

sys.path.insert(0, str(Path(__file__).parents[1]))
from reference import itml as reference

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def nearest(transform, A, a, B):
    return KNeighborsClassifier(4).fit(transform(A), a).predict(transform(B))


def scaled_split(load, seed):
    X, y = load(return_X_y=True)
    A, B, a, b = train_test_split(X, y, test_size=0.3, random_state=seed, stratify=y)
    scaler = StandardScaler().fit(A)
    return scaler.transform(A), scaler.transform(B), a, b


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("load", [load_digits, load_wine, load_breast_cancer])
def test_neighbours_are_those_of_the_sequential_algorithm(load, power):
    """Bounds from squared distances, and from distances, as metric-learn takes them."""
    A, B, a, _ = scaled_split(load, 0)
    pairs, sign = sample_pairs(a, 300, np.random.default_rng(0))
    C = A[pairs[:, 0]] - A[pairs[:, 1]]
    bounds = np.percentile(np.linalg.norm(C, axis=1) ** power, (5, 95))
    model = ITML(1.0, preprocessor=A, bounds=bounds, max_iter=10, tol=0).fit(pairs, sign)
    M, _ = reference.itml(C, sign, np.where(sign > 0, *bounds), 1.0, 10)
    np.testing.assert_allclose(model.get_mahalanobis_matrix(), M, rtol=1e-8, atol=1e-8 * np.abs(M).max())
    root = np.linalg.cholesky(M)
    np.testing.assert_array_equal(nearest(model.transform, A, a, B), nearest(lambda Z: Z @ root, A, a, B))


@pytest.mark.parametrize("make", [ITML, GMML])
def test_neighbours_among_large_features_that_tell_nothing(make):
    rng = np.random.default_rng(0)
    y = np.arange(400) % 4
    X = rng.normal(size=(400, 20)) * np.repeat([1.0, 4.0], [4, 16])
    X[:, :4] += 4 * np.eye(4)[y]
    gains = []
    for seed in range(3):
        A, B, a, b = train_test_split(X, y, test_size=0.3, random_state=seed, stratify=y)
        learned = make(random_state=seed).fit(A, a).transform
        gains.append(np.mean(nearest(learned, A, a, B) == b) - np.mean(nearest(np.asarray, A, a, B) == b))
    assert np.mean(gains) > 0.05


@pytest.mark.parametrize("load", [load_digits, load_wine, load_breast_cancer])
@pytest.mark.parametrize("make,loss", [(ITML, 0.005), (GMML, 0.01)])
def test_neighbours_at_the_defaults(make, loss, load):
    """Not worse than Euclidean ones by more than half a point, or one, where those are good already."""
    gains = []
    for seed in range(5):
        A, B, a, b = scaled_split(load, seed)
        learned = make(random_state=seed).fit(A, a).transform
        gains.append(np.mean(nearest(learned, A, a, B) == b) - np.mean(nearest(np.asarray, A, a, B) == b))
    assert np.mean(gains) >= -loss


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("load", [load_wine, load_breast_cancer])
def test_neighbours_beside_metric_learn(load):
    """Defaults against defaults: not below by more than half a point."""
    rival = pytest.importorskip("metric_learn", reason="metric-learn is not installed, or does not import")
    if parse_version(sklearn.__version__) >= parse_version("1.8"):
        pytest.skip("metric-learn 0.7 runs with scikit-learn below 1.8 only")
    gains = []
    for seed in range(8):
        A, B, a, b = scaled_split(load, seed)
        ours = nearest(ITML(random_state=seed).fit(A, a).transform, A, a, B)
        theirs = nearest(rival.ITML_Supervised(random_state=seed).fit(A, a).transform, A, a, B)
        gains.append(np.mean(ours == b) - np.mean(theirs == b))
    assert np.mean(gains) >= -0.005
