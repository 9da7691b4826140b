"""Recommendation: matrix factorisation of ratings."""

from __future__ import annotations

from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from steppe import _core
from steppe._base import BaseSteppeEstimator
from steppe._plan import resolve_n_jobs
from steppe._ratings import (
    IdTable,
    check_matrix,
    check_users_apart,
    distinct,
    is_table,
    read_table,
    resized,
    to_csr,
    unify_items,
)
from steppe._validation import native_rows

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self

    from steppe._plan import FitPlan
    from steppe.parallel import Cluster

__all__ = ["MatrixFactorization"]

_LEARNING_RATE = 0.3
_LATE_ROUND = 4  # of the step's decay, at which partial_fit and a warm start go on


class MatrixFactorization(BaseSteppeEstimator):
    """Explicit ratings as products of user and item factors, with biases.

    Minimises, over the stored ratings r of users u and items j,

        1/2 sum e_uj^2 + 1/2 sum_u l_u (|w_u|^2 + b_u^2) + 1/2 sum_j l_j (|h_j|^2 + b_j^2),
        e_uj = mean + b_u + b_j + w_u . h_j - r_uj,

    where l_u = reg times the number of ratings of u (``reg_weighting="count"``) or l_u = reg for each user with
    ratings ("plain"), and l_j likewise. Without biases all b are 0. mean is the mean rating, or 0 for
    ``nonnegative=True`` with ``biases=False``. Users and items without ratings keep factors and biases of 0.

    Parameters
    ----------
    n_factors : int, default=32
        k. Multiples of 16 (float32) or 8 (float64) are used fully.
    solver : {"sgd", "als"}, default="sgd"
        "sgd": stochastic gradient descent on the token engine, on every schedule, O(k) a rating and iteration. "als":
        alternating least squares by warm-started conjugate gradients, O(k^2) a rating and iteration; it has no step
        size, needs fewer iterations when factors must be accurate, and ignores `schedule`.
    reg : float, default=0.05
        Weight of the squared norms, for factors and biases.
    reg_weighting : {"count", "plain"}, default="count"
        Whether `reg` is multiplied with the number of ratings of the user or item.
    nonnegative : bool, default=False
        Keep all factors (not the biases) at 0 or above.
    biases : bool, default=True
        Learn a bias for each user and item.
    learning_rate : float or None, default=None
        Largest step of "sgd", in units of 1 / (standard deviation of the ratings); it falls to a twentieth in six
        iterations. None is 0.3. The step is implicit in its own error, so that larger ones do not diverge.
    schedule, max_iter, tol, n_jobs, cluster, device, random_state, warm_start, checkpoint, callbacks, verbose
        See :class:`steppe._base.BaseSteppeEstimator`. By default all of 20 iterations are run.
        "auto" is "bsp" with more than one worker. On a cluster each rank passes its own users, all of their ratings;
        items are unified by number or id.

    Attributes
    ----------
    user_factors_ : ndarray of shape (n_users, k), X's dtype
        On a cluster those of this rank's users, and so for `user_bias_` and `users_`.
    item_factors_ : ndarray of shape (n_items, k)
    user_bias_ : ndarray of shape (n_users,)
    item_bias_ : ndarray of shape (n_items,)
    mean_ : float
        What is predicted before factors and biases.
    scale_ : float
        Standard deviation of the ratings, the unit of steps.
    users_ : ndarray of shape (n_users,)
        Ids in the order of the factors; for a matrix the numbers of its rows, counted over all ranks.
    items_ : ndarray of shape (n_items,)
        Ids, or column numbers.

    Notes
    -----
    X is a sparse matrix of users x items, whose stored entries are the ratings (explicit zeros too); an ndarray, all of
    whose entries are ratings; or a DataFrame with the columns user, item and value by name ("user_id", "rating", ...
    are understood) or else in that order, with ids of any one type each. A pair that is rated twice is refused.

    The "sgd" visits follow NOMAD [1]_, "bsp" is DSGD [2]_.

    References
    ----------
    .. [1] Yun et al., "NOMAD: Non-locking, stOchastic Multi-machine algorithm for Asynchronous and Decentralized matrix
       completion", VLDB 2014.
    .. [2] Gemulla et al., "Large-scale matrix factorization with distributed stochastic gradient descent", KDD 2011.

    Examples
    --------
    >>> import numpy as np, scipy.sparse
    >>> from steppe.recommend import MatrixFactorization
    >>> X = scipy.sparse.csr_array(np.array([[5., 4, 0], [4, 0, 1], [0, 5, 2]]))
    >>> model = MatrixFactorization(n_factors=2, random_state=0).fit(X)
    >>> model.predict([0, 1], [2, 1]).shape
    (2,)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseSteppeEstimator._parameter_constraints,
        "n_factors": [Interval(Integral, 1, None, closed="left")],
        "solver": [StrOptions({"sgd", "als"})],
        "reg": [Interval(Real, 0, None, closed="left")],
        "reg_weighting": [StrOptions({"count", "plain"})],
        "nonnegative": ["boolean"],
        "biases": ["boolean"],
        "learning_rate": [Interval(Real, 0, None, closed="neither"), None],
    }
    _auto_schedule = "bsp"
    _row_attributes = ("user_factors_", "user_bias_", "users_")

    def __init__(
        self,
        n_factors: int = 32,
        *,
        solver: str = "sgd",
        reg: float = 0.05,
        reg_weighting: str = "count",
        nonnegative: bool = False,
        biases: bool = True,
        learning_rate: float | None = None,
        schedule: str = "auto",
        max_iter: int = 20,
        tol: float = 0.0,
        n_jobs: int | None = None,
        cluster: Cluster | None = None,
        device: str = "cpu",
        random_state: Any = None,
        warm_start: bool = False,
        checkpoint: str | PathLike[str] | None = None,
        callbacks: Any = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(
            schedule=schedule,
            max_iter=max_iter,
            tol=tol,
            n_jobs=n_jobs,
            cluster=cluster,
            device=device,
            random_state=random_state,
            warm_start=warm_start,
            checkpoint=checkpoint,
            callbacks=callbacks,
            verbose=verbose,
        )
        self.n_factors = n_factors
        self.solver = solver
        self.reg = reg
        self.reg_weighting = reg_weighting
        self.nonnegative = nonnegative
        self.biases = biases
        self.learning_rate = learning_rate

    # Fitting

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the ratings. Collective on a cluster.

        Parameters
        ----------
        X : sparse matrix or ndarray of shape (n_users, n_items), or DataFrame
            The ratings; see the notes of the class. float32 and float64 are kept, other numbers become float64.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If X has no rating, a pair twice, values that are not finite, or missing ids; or if a user's ratings stand
            on several ranks.

        Notes
        -----
        Time O(n_ratings k) an iteration for "sgd", O(n_ratings k^2 + (n_users + n_items) k^2) for "als". Memory: the
        ratings once ("sgd") or twice ("als"), and the factors.
        """
        plan = self._plan()
        ratings, users, items = self._check_ratings(plan, X)
        start = self._warm_start(users, items, ratings.dtype) if self._starts_warm() else None
        self._fit(plan, ratings, users, items, start, {"problem": {"X": ratings}})
        return self

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """One iteration of "sgd" over new ratings, from the parameters at hand. Collective on a cluster.

        Parameters
        ----------
        X : as in fit
            Rows of a matrix are the users of fit, in their order; further rows are new users, columns new items.
            Unknown ids of a DataFrame are new users and items. What is new starts at 0.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If ``solver="als"``, which fits rows to all of their ratings at once: call fit, or fold_in for new users.
        """
        plan = self._plan()
        with plan.cluster.agree():
            if self.solver != "sgd":
                raise ValueError(
                    "solver: partial_fit needs solver='sgd'; with 'als' call fit again, or fold_in for new users"
                )
        if not hasattr(self, "n_iter_"):
            ratings, users, items = self._check_ratings(plan, X)
            self._fit(plan, ratings, users, items, None, {"problem": {}, "rounds": 1})
            return self
        ratings, users, items = self._check_more_ratings(plan, X)
        start = self._extended_start(len(users), len(items), ratings.dtype)
        self._fit(plan, ratings, users, items, start, {"problem": {}, "rounds": 1})
        return self

    def _fit(
        self,
        plan: FitPlan,
        ratings: Any,
        users: IdTable,
        items: IdTable,
        start: dict[str, Any] | None,
        how: dict[str, Any],
    ) -> None:
        width = ratings.dtype.itemsize
        factors = (len(users) + len(items)) * (self.n_factors + 16) * width
        stored = (2 if self.solver == "als" else 1) * ratings.nnz * (4 + width)
        plan.check_memory(stored + 2 * factors, len(items) * (self.n_factors + 1) * width)
        session = _core.matrix_factorization_session(
            self._native_params(plan.n_threads, plan.schedule, plan.seed), native_rows(ratings), start, plan.link
        )
        self.n_features_in_ = len(items)
        self.users_, self.items_ = users.ids, items.ids
        self._run(plan, session, **how)

    def _native_params(self, n_threads: int, schedule: str = "serial", seed: int = 0) -> dict[str, Any]:
        return {
            "solver": self.solver,
            "n_factors": int(self.n_factors),
            "reg": float(self.reg),
            "count_weighted": self.reg_weighting == "count",
            "biases": bool(self.biases),
            "nonnegative": bool(self.nonnegative),
            "learning_rate": _LEARNING_RATE if self.learning_rate is None else float(self.learning_rate),
            "schedule": schedule,
            "n_threads": n_threads,
            "seed": seed,
        }

    def _check_ratings(self, plan: FitPlan, X: Any) -> tuple[Any, IdTable, IdTable]:
        """Collective. X as CSR, and the ids of its rows and columns; columns agree over the ranks."""
        cluster = plan.cluster
        if is_table(X):
            with cluster.agree():
                table = read_table(X)
                users, items = distinct(table.users, "user"), distinct(table.items, "item")
            check_users_apart(users, cluster)
            tables = IdTable(users, "users"), IdTable(unify_items(items, cluster), "items")
            with cluster.agree():
                return to_csr(table, *tables), *tables
        with cluster.agree():
            ratings = check_matrix(X, min_users=1 if cluster.size == 1 else 0)
        shapes = cluster.gather((ratings.shape, ratings.dtype.str))
        with cluster.agree():
            if len({dtype for _, dtype in shapes}) > 1:
                raise ValueError(
                    f"X: the dtypes differ between ranks ({[dtype for _, dtype in shapes]}); pass the same"
                )
        n_items = max(shape[1] for shape, _ in shapes)
        first = sum(shape[0] for shape, _ in shapes[: cluster.rank])
        rows, columns = np.arange(first, first + ratings.shape[0]), np.arange(n_items)
        return resized(ratings, ratings.shape[0], n_items), IdTable(rows, "users"), IdTable(columns, "items")

    def _check_more_ratings(self, plan: FitPlan, X: Any) -> tuple[Any, IdTable, IdTable]:
        """Collective. As _check_ratings, with what is known first and what is new behind it."""
        cluster, users, items = plan.cluster, self._users, self._items
        if is_table(X):
            with cluster.agree():
                table = read_table(X)
                new_users, new_items = distinct(table.users, "user"), distinct(table.items, "item")
                users = users.extended(new_users)
            check_users_apart(users.ids, cluster)
            items = items.extended(unify_items(new_items, cluster))
            with cluster.agree():
                return to_csr(table, users, items), users, items
        with cluster.agree():
            ratings = check_matrix(X)
            if cluster.size > 1 and ratings.shape[0] > len(users):
                raise ValueError(
                    "X: has more rows than this rank has users; on a cluster add users by their ids, in a DataFrame"
                )
        n_items = max(cluster.gather(max(ratings.shape[1], len(items))))
        n_users = max(ratings.shape[0], len(users))
        users, items = _longer(users, n_users, "users"), _longer(items, n_items, "items")
        return resized(ratings, n_users, n_items), users, items

    def _warm_start(self, users: IdTable, items: IdTable, dtype: Any) -> dict[str, Any]:
        same = np.array_equal(users.ids, self.users_) and np.array_equal(items.ids, self.items_)
        if not same or self.item_factors_.shape[1] != self.n_factors:
            raise ValueError(
                f"warm_start: the last fit had {len(self.users_)} users, {len(self.items_)} items and "
                f"{self.item_factors_.shape[1]} factors, and these ratings or n_factors differ; set warm_start=False, "
                "or use partial_fit to add users and items"
            )
        return self._extended_start(len(users), len(items), dtype)

    def _extended_start(self, n_users: int, n_items: int, dtype: Any) -> dict[str, Any]:
        return {
            "user_factors": _padded(self.user_factors_, n_users, dtype),
            "user_bias": _padded(self.user_bias_, n_users, dtype),
            "item_factors": _padded(self.item_factors_, n_items, dtype),
            "item_bias": _padded(self.item_bias_, n_items, dtype),
            "mean": self.mean_,
            "scale": self.scale_,
            "rounds": min(self.n_iter_, _LATE_ROUND),
        }

    def _attributes(self, result: dict[str, NDArray[Any]]) -> Mapping[str, Any]:
        return {
            "user_factors_": result["user_factors"],
            "item_factors_": result["item_factors"],
            "user_bias_": result["user_bias"],
            "item_bias_": result["item_bias"],
            "mean_": float(result["mean"][0]),
            "scale_": float(result["scale"][0]),
        }

    # Ids

    @property
    def _users(self) -> IdTable:
        return self._id_tables()[0]

    @property
    def _items(self) -> IdTable:
        return self._id_tables()[1]

    def _id_tables(self) -> tuple[IdTable, IdTable]:
        tables: tuple[IdTable, IdTable] | None = getattr(self, "_tables", None)
        if tables is None or tables[0].ids is not self.users_ or tables[1].ids is not self.items_:
            tables = self._tables = IdTable(self.users_, "users"), IdTable(self.items_, "items")
        return tables

    # Asking

    def predict(self, users: ArrayLike, items: ArrayLike) -> NDArray[Any]:
        """Predicted ratings of pairs.

        Parameters
        ----------
        users, items : array-like of shape (n,), or one of them a single id
            Ids as in `users_` and `items_`.

        Returns
        -------
        ratings : ndarray of shape (n,)

        Raises
        ------
        ValueError
            If an id is unknown or the lengths differ.
        """
        check_is_fitted(self)
        users, items = np.atleast_1d(np.asarray(users)), np.atleast_1d(np.asarray(items))
        if users.ndim != 1 or items.ndim != 1 or (len(users) != len(items) and 1 not in (len(users), len(items))):
            raise ValueError(f"items: has shape {items.shape} and users {users.shape}; give one item for each user")
        return self._predict_places(*np.broadcast_arrays(self._users.places(users), self._items.places(items)))

    def _predict_places(self, users: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[Any]:
        users, items = np.ascontiguousarray(users), np.ascontiguousarray(items)
        products = _core.pair_products(self.user_factors_, self.item_factors_, users, items, self._n_threads())
        products += self.user_bias_[users]
        products += self.item_bias_[items]
        products += self.mean_
        return products

    def recommend(self, users: ArrayLike, n: int = 10, *, exclude: Any = None) -> tuple[NDArray[Any], NDArray[Any]]:
        """The items with the highest predicted ratings for each user.

        Parameters
        ----------
        users : array-like of shape (m,)
            Ids as in `users_`.
        n : int, default=10
            Items a user, at most the number of items.
        exclude : ratings as in fit, or None, default=None
            Pairs that are not recommended, such as those already rated: a matrix whose rows are the users of fit (or
            the m users, if it has m rows and the fit had another number), or a DataFrame.

        Returns
        -------
        items : ndarray of shape (m, n)
            Ids as in `items_`, the best first.
        scores : ndarray of shape (m, n)
            Predicted ratings; -inf where fewer than n items are left, and the item there means nothing.

        Raises
        ------
        ValueError
            If an id is unknown.

        Notes
        -----
        Time O(m n_items k), on n_jobs threads; the m x n_items scores are never held.
        """
        check_is_fitted(self)
        n = self._check_n(n)
        places = self._users.places(np.atleast_1d(np.asarray(users)))
        hidden = None if exclude is None else native_rows(self._excluded(exclude, places))
        best, scores = _core.top_items(
            np.ascontiguousarray(self.user_factors_[places]),
            self.item_factors_,
            self.item_bias_,
            n,
            hidden,
            self._n_threads(),
        )
        scores += (self.user_bias_[places] + self.item_factors_.dtype.type(self.mean_))[:, None]
        return self.items_[np.maximum(best, 0)], scores

    def _excluded(self, exclude: Any, places: NDArray[np.int64]) -> Any:
        if is_table(exclude):
            rated = to_csr(read_table(exclude), self._users, self._items)
        else:
            rated = check_matrix(exclude)
            if rated.shape[1] != len(self.items_):
                raise ValueError(f"exclude: has {rated.shape[1]} columns; the fit had {len(self.items_)} items")
        if rated.shape[0] == len(self.users_):
            rated = rated[places]
        elif rated.shape[0] != len(places):
            raise ValueError(
                f"exclude: has {rated.shape[0]} rows; give one for each of the {len(self.users_)} users of fit, or "
                f"for each of the {len(places)} users asked for"
            )
        return rated.astype(self.item_factors_.dtype)

    def similar_items(self, items: ArrayLike, n: int = 10) -> tuple[NDArray[Any], NDArray[Any]]:
        """The items whose factors point the same way as those of the given ones.

        Parameters
        ----------
        items : array-like of shape (m,)
            Ids as in `items_`.
        n : int, default=10

        Returns
        -------
        ids : ndarray of shape (m, n)
            The nearest first, without the item itself.
        scores : ndarray of shape (m, n)
            Cosines; -inf where there are fewer than n other items. Those with factors of 0 have cosine 0.

        Raises
        ------
        ValueError
            If an id is unknown.
        """
        check_is_fitted(self)
        n = self._check_n(n)
        places = self._items.places(np.atleast_1d(np.asarray(items)))
        norms = np.linalg.norm(self.item_factors_, axis=1, keepdims=True)
        directions = np.divide(self.item_factors_, norms, out=np.zeros_like(self.item_factors_), where=norms > 0)
        rows = np.arange(len(places) + 1, dtype=np.int64)
        itself = (rows, places.astype(np.int32), np.ones(len(places), directions.dtype), len(self.items_))
        offset = np.zeros(len(directions), directions.dtype)
        best, scores = _core.top_items(
            np.ascontiguousarray(directions[places]), directions, offset, n, itself, self._n_threads()
        )
        return self.items_[np.maximum(best, 0)], scores

    def fold_in(self, X: Any, *, return_bias: bool = False) -> Any:
        """Factors of new users from their ratings, the items being fixed. Local on a cluster.

        Parameters
        ----------
        X : as in fit
            One row for each new user, columns as in fit. In a DataFrame only items must be known; its users come out in
            sorted order.
        return_bias : bool, default=False

        Returns
        -------
        factors : ndarray of shape (n_new, k)
            They minimise the objective of fit for these users.
        bias : ndarray of shape (n_new,)
            Only if ``return_bias``: ``mean_ + bias[:, None] + item_bias_ + factors @ item_factors_.T`` are the ratings.

        Raises
        ------
        ValueError
            If an item is unknown.
        """
        check_is_fitted(self)
        if is_table(X):
            table = read_table(X)
            ratings = to_csr(table, IdTable(distinct(table.users, "user"), "users"), self._items)
        else:
            ratings = check_matrix(X)
        ratings = self._same_items(ratings).astype(self.item_factors_.dtype)
        factors, bias = _core.fold_in(
            self._native_params(self._n_threads()),
            native_rows(ratings),
            self.item_factors_,
            self.item_bias_,
            self.mean_,
        )
        return (factors, bias) if return_bias else factors

    def score(self, X: Any, y: Any = None) -> float:
        """The negative root mean squared error of the predictions for ratings. Local on a cluster.

        Parameters
        ----------
        X : as in fit
            Rows of a matrix are the users of fit, in their order.
        y : ignored

        Returns
        -------
        score : float

        Raises
        ------
        ValueError
            If an id is unknown or there is no rating.
        """
        check_is_fitted(self)
        if is_table(X):
            ratings = to_csr(read_table(X), self._users, self._items)
        else:
            ratings = self._same_items(check_matrix(X))
            if ratings.shape[0] > len(self.users_):
                raise ValueError(
                    f"X: has {ratings.shape[0]} rows; the fit had {len(self.users_)} users: pass ratings of those"
                )
        if ratings.nnz == 0:
            raise ValueError("X: holds no rating to score")
        users = np.repeat(np.arange(ratings.shape[0]), np.diff(ratings.indptr))
        errors = self._predict_places(users, ratings.indices.astype(np.int64)) - ratings.data
        return -float(np.sqrt(np.mean(np.square(errors, dtype=np.float64))))

    def _same_items(self, ratings: Any) -> Any:
        if ratings.shape[1] > len(self.items_):
            raise ValueError(
                f"X: has {ratings.shape[1]} columns, but {type(self).__name__} is expecting {len(self.items_)} "
                "features as input: the items of fit"
            )
        return resized(ratings, ratings.shape[0], len(self.items_))

    def _check_n(self, n: int) -> int:
        if not isinstance(n, (int, np.integer)) or not 1 <= n <= len(self.items_):
            raise ValueError(f"n: got {n!r}; give a whole number from 1 to the number of items, {len(self.items_)}")
        return int(n)

    def _n_threads(self) -> int:
        return resolve_n_jobs(self.n_jobs)


def _padded(values: NDArray[Any], n: int, dtype: Any) -> NDArray[Any]:
    """C-ordered, of that dtype, and with rows of zeros up to n."""
    out = np.zeros((n, *values.shape[1:]), dtype=dtype)
    out[: len(values)] = values
    return out


def _longer(table: IdTable, n: int, what: str) -> IdTable:
    """Numbered ids up to n."""
    if n == len(table):
        return table
    if table.ids.dtype.kind not in "iu":
        raise ValueError(
            f"X: is a matrix of {n} {what}, but the fit had ids for {len(table)}: pass a DataFrame with ids"
        )
    first = int(table.ids[-1]) + 1 if len(table) else 0
    return IdTable(np.concatenate([table.ids, np.arange(first, first + n - len(table))]), what)
