"""The estimators under the common checks, and what each is fitted to. An estimator joins with one line in CASES."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse


def labelled(n_rows=60, n_columns=5, *, dtype=np.float64, seed=0, sparse=False):
    """Rows with three classes that a linear model can tell apart."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, n_columns)).astype(dtype)
    y = np.argmax(X[:, :3], axis=1)
    return (scipy.sparse.csr_array(X) if sparse else X), y


def unlabelled(n_rows=60, n_columns=5, *, dtype=np.float64, seed=0):
    """The rows of `labelled`, for models without targets."""
    return labelled(n_rows, n_columns, dtype=dtype, seed=seed)[:1]


def ratings(n_rows=60, n_columns=20, *, dtype=np.float64, seed=0, sparse=True):
    """A sparse matrix of users by items with planted ratings."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(n_rows, 3)) @ rng.normal(size=(3, n_columns))
    return (scipy.sparse.csr_array(np.where(rng.random(truth.shape) < 0.4, truth, 0).astype(dtype)),)


def documents(n_rows=60, n_columns=20, *, dtype=np.float64, seed=0):
    """Counts of words that two out of three kinds of documents share."""
    rng = np.random.default_rng(seed)
    kinds = np.array([np.roll(np.linspace(4, 0, n_columns), kind * n_columns // 3) for kind in range(3)])
    shares = rng.dirichlet(np.full(3, 0.3), size=n_rows)
    return (rng.poisson(shares @ kinds).astype(dtype),)


@dataclass(frozen=True)
class Case:
    """One estimator under test.

    Attributes
    ----------
    path : str
        Module and class, imported when the checks run.
    params : dict
        Parameters other than the common ones.
    data : callable
        ``data(n_rows, n_columns, dtype=, seed=)`` -> arguments of fit.
    schedules : tuple of str
        Those that the estimator runs on with these parameters.
    examples : bool
        Whether rows are examples, so that scikit-learn's checks and bad rows make sense. False for ratings.
    iterative : bool
        Whether `max_iter` counts for something. False for a closed form: one iteration, which no check interrupts.
    cluster_tolerance : float
        How far, relatively, the objective that ranks reach may be from that of one process after ten iterations.
    expected_failures : dict of str to str
        Checks of scikit-learn that fail, and why they must.
    """

    path: str
    params: dict[str, Any] = field(default_factory=dict)
    data: Callable[..., tuple[Any, ...]] = labelled
    schedules: tuple[str, ...] = ("serial", "bsp", "nomad")
    examples: bool = True
    iterative: bool = True
    cluster_tolerance: float = 0.05
    expected_failures: dict[str, str] = field(default_factory=dict)

    def make(self, **params: Any) -> Any:
        """A new estimator with quick and deterministic parameters."""
        module, _, name = self.path.partition(":")
        if module == "steppe.tiny_model":
            import tiny_model  # noqa: F401 - puts itself into steppe
        estimator = getattr(sys.modules.get(module) or __import__(module, fromlist=[name]), name)
        return estimator(**{"random_state": 0, **self.params, **params})

    def rounds(self, n: int) -> int:
        """Iterations of a fit with ``max_iter=n``."""
        return n if self.iterative else 1

    def __str__(self) -> str:
        return ",".join([self.path.partition(":")[2], *map(str, self.params.values())])


SAMPLES = {
    f"check_sample_weight_equivalence_on_{kind}_data": "pairs of documents are drawn at random, and a document that occurs "
    "twice is no document of weight 2 for NDCG"
    for kind in ("dense", "sparse")
}

DRAWN_SITES = {
    f"check_sample_weight_equivalence_on_{kind}_data": "without sites= they are drawn from the rows, which differ"
    for kind in ("dense", "sparse")
}

EVERY = ("serial", "bsp", "nomad", "hogwild")

NO_CLASSIFIER = {
    f"check_estimator_sparse_{kind}": "the check takes what has predict_proba for a classifier of four classes"
    for kind in ("array", "matrix")
}
DRAWN_STEPS = {
    f"check_sample_weight_equivalence_on_{kind}_data": "the rows of a step are drawn, and a weight is no second row"
    for kind in ("dense", "sparse")
}

CASES = [
    Case("steppe.tiny_model:TinySoftmax"),
    # Rows are visited in random order, so a weight of 2 equals the row twice at the optimum only: go there.
    Case(
        "steppe.linear_model:MultinomialLogisticRegression", {"alpha": 1e-2, "max_iter": 300, "tol": 0}, schedules=EVERY
    ),
    Case("steppe.linear_model:MultinomialLogisticRegression", {"solver": "softmax"}),
    Case("steppe.metric:GMML", schedules=("serial", "bsp"), iterative=False, cluster_tolerance=1e-12),
    Case("steppe.metric:ITML", schedules=("serial", "bsp"), cluster_tolerance=1e-12),
    Case("steppe.metric:ITML", {"solver": "parallel"}, schedules=("serial", "bsp"), cluster_tolerance=1e-12),
    Case(
        "steppe.ranking:LocalGMMLRanker", schedules=("serial", "bsp"), cluster_tolerance=1e-9, expected_failures=SAMPLES
    ),
    Case(
        "steppe.ranking:LocalGMMLRanker",
        {"form": "distance", "phi": "per_query"},
        schedules=("serial", "bsp"),
        cluster_tolerance=1e-9,
        expected_failures=SAMPLES,
    ),
    Case(
        "steppe.ot:SemiDiscreteOT",
        data=unlabelled,
        schedules=("serial", "bsp"),
        cluster_tolerance=1e-6,
        expected_failures=DRAWN_SITES,
    ),
    Case(
        "steppe.ot:SemiDiscreteOT",
        {"reg": 0.3},
        unlabelled,
        schedules=("serial", "bsp"),
        cluster_tolerance=1e-6,
        expected_failures=DRAWN_SITES,
    ),
    Case(
        "steppe.mixture:BayesianGaussianMixture",
        {"n_components": 3},
        unlabelled,
        ("serial", "bsp", "nomad", "batch", "svi"),
        expected_failures=NO_CLASSIFIER,
    ),
    Case(
        "steppe.mixture:BayesianGaussianMixture",
        {"n_components": 3, "covariance_type": "diag", "schedule": "svi", "batch_size": 20},
        unlabelled,
        ("svi",),
        expected_failures={**NO_CLASSIFIER, **DRAWN_STEPS},
    ),
    Case("steppe.recommend:MatrixFactorization", {"n_factors": 4}, ratings, EVERY, False, cluster_tolerance=0.1),
    Case("steppe.recommend:MatrixFactorization", {"n_factors": 4, "solver": "als"}, ratings, examples=False),
    Case(
        "steppe.topics:LatentDirichletAllocation",
        {"n_components": 3},
        documents,
        ("serial", "bsp", "nomad", "batch", "svi"),
    ),
    Case(
        "steppe.topics:LatentDirichletAllocation",
        {"n_components": 3, "schedule": "svi", "batch_size": 20},
        documents,
        ("svi",),
    ),
    Case("steppe.topics:LatentDirichletAllocation", {"n_components": 3, "inference": "cvb0"}, documents),
    Case("steppe.topics:LatentDirichletAllocation", {"n_components": 3, "inference": "cvb0", "top_k": 2}, documents),
]
