"""What the demo fits: an estimator, its data and a rival's quality on the same split."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy.sparse import coo_matrix, csr_array
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import PolynomialFeatures

from steppe.datasets import load_ratings, load_svmlight, make_ratings
from steppe.linear_model import MultinomialLogisticRegression
from steppe.recommend import MatrixFactorization

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from steppe.parallel import Cluster


@dataclass(frozen=True)
class Way:
    """One way to run a fit.

    Attributes
    ----------
    schedule : str
    n_jobs : int
        Threads of each rank.
    n_ranks : int
    """

    schedule: str
    n_jobs: int
    n_ranks: int

    def __str__(self) -> str:
        if self.n_ranks > 1:
            return f"{self.schedule}, {self.n_ranks} ranks"
        return self.schedule if self.n_jobs == 1 else f"{self.schedule}, {self.n_jobs} threads"


WAYS = (Way("serial", 1, 1), Way("bsp", 2, 1), Way("nomad", 2, 1), Way("bsp", 1, 2))
"""Both estimators take "auto" for bsp with more than one worker."""


class Classification:
    """MultinomialLogisticRegression; quality is the accuracy on rows held out."""

    estimator: ClassVar[str] = "MultinomialLogisticRegression"
    measure: ClassVar[str] = "accuracy"

    def __init__(self, data: str, alpha: float, X: Any, y: NDArray[Any], X_test: Any, y_test: NDArray[Any]) -> None:
        self.data = data
        self.alpha = alpha
        self.X, self.y, self.X_test, self.y_test = X, y, X_test, y_test

    def fit(self, way: Way, cluster: Cluster) -> Any:
        model = MultinomialLogisticRegression(self.alpha, max_iter=60, tol=0, random_state=0, **_how(way, cluster))
        return model.fit(self.X[cluster.rank :: cluster.size], self.y[cluster.rank :: cluster.size])

    def quality(self, model: Any, cluster: Cluster) -> float:
        return float(model.score(self.X_test, self.y_test))

    def rival(self) -> tuple[str, float] | None:
        model = LogisticRegression(C=1 / (self.alpha * len(self.y)), max_iter=1000)
        return "scikit-learn LogisticRegression", float(model.fit(self.X, self.y).score(self.X_test, self.y_test))


class Recommendation:
    """MatrixFactorization; quality is the root mean squared error of ratings held out."""

    estimator: ClassVar[str] = "MatrixFactorization"
    measure: ClassVar[str] = "test RMSE"

    def __init__(self, data: str, reg: float, ratings: csr_array) -> None:
        self.data = data
        self.reg = reg
        ratings = ratings.tocoo()
        kept, held = train_test_split(np.arange(ratings.nnz), test_size=0.1, random_state=0)
        rows, columns = ratings.coords
        self.X = csr_array((ratings.data[kept], (rows[kept], columns[kept])), shape=ratings.shape)
        self.users, self.items, self.values = rows[held], columns[held], ratings.data[held]

    def fit(self, way: Way, cluster: Cluster) -> Any:
        model = MatrixFactorization(32, reg=self.reg, max_iter=30, tol=0, random_state=0, **_how(way, cluster))
        return model.fit(self.X[cluster.rank :: cluster.size])

    def quality(self, model: Any, cluster: Cluster) -> float:
        mine = self.users % cluster.size == cluster.rank
        users = model.users_[self.users[mine] // cluster.size]
        error = model.predict(users, self.items[mine]) - self.values[mine]
        return float(np.sqrt(cluster.sum(float(error @ error)) / len(self.values)))

    def rival(self) -> tuple[str, float] | None:
        if find_spec("cmfrec") is None:
            return None
        from cmfrec import CMF

        ratings = self.X.tocoo()
        model = CMF(k=32, lambda_=self.reg * ratings.nnz / sum(ratings.shape), verbose=False, nthreads=1)
        model.fit(coo_matrix(ratings))
        error = model.predict(self.users, self.items) - self.values
        return "cmfrec ALS", float(np.sqrt(np.mean(error * error)))


Task = Classification | Recommendation


def tasks(data: Path | None, *, tiny: bool = False) -> Iterator[Task]:
    """The tasks of the demo: what ships or is generated, and what is found in the folder `data`."""
    X, y = load_digits(return_X_y=True)
    if tiny:
        yield _classification("digits", 1e-3, X[:300] / 16, y[:300])
        yield Recommendation("generated, 5 k ratings", 0.05, make_ratings(300, 100, 5000, 4, random_state=0)[0])
        return
    pairs = PolynomialFeatures(2, include_bias=False).fit_transform(X / 16)  # enough work for two workers
    yield _classification("digits, pairs of pixels", 1e-3, pairs, y)
    yield Recommendation("generated, 2 M ratings", 0.05, make_ratings(random_state=0)[0])
    if data is None:
        return
    train, test = data / "imclef07a/imclef07a.train.svm.gz", data / "imclef07a/imclef07a.test.svm.gz"
    if train.exists() and test.exists():
        X, y = load_svmlight(train)[:2]
        X_test, y_test = load_svmlight(test, n_features=X.shape[1])[:2]
        yield Classification("ImCLEF07A", 1e-4, X, y, X_test, y_test)
    ratings = data / "ml-100k/u.data.gz"
    if ratings.exists():
        yield Recommendation("MovieLens-100K", 0.1, load_ratings(ratings)[0])


def _classification(data: str, alpha: float, X: Any, y: NDArray[Any]) -> Classification:
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.3, random_state=0, stratify=y)
    return Classification(data, alpha, X, y, X_test, y_test)


def _how(way: Way, cluster: Cluster) -> dict[str, Any]:
    return {
        "schedule": way.schedule,
        "n_jobs": way.n_jobs,
        "cluster": cluster if cluster.size > 1 else None,
        "callbacks": lambda info: False,  # a fit that is watched evaluates its objective every iteration
    }
