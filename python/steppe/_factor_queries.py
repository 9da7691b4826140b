"""What a fitted table of user and item factors can be asked: the verbs of every recommender."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from steppe import _core
from steppe._plan import resolve_n_jobs
from steppe._ratings import IdTable, check_matrix, distinct, is_table, read_table, resized, to_csr
from steppe._validation import native_rows

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class FactorQueries:
    """Predict, recommend, look for similar items and fold users in; mixed into an estimator.

    It reads the attributes `user_factors_`, `item_factors_`, `user_bias_`, `item_bias_`, `mean_`, `users_`, `items_`,
    and the estimator's `_native_params`.
    """

    user_factors_: NDArray[Any]
    item_factors_: NDArray[Any]
    user_bias_: NDArray[Any]
    item_bias_: NDArray[Any]
    users_: NDArray[Any]
    items_: NDArray[Any]
    mean_: float
    n_jobs: int | None

    def _native_params(self, n_threads: int, schedule: str = "serial", seed: int = 0) -> dict[str, Any]:
        raise NotImplementedError

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
        users, items = _asked(users, "users"), _asked(items, "items")
        if len(users) != len(items) and 1 not in (len(users), len(items)):
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
        places = self._users.places(_asked(users, "users"))
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
            rated = check_matrix(exclude, min_users=0)
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
        places = self._items.places(_asked(items, "items"))
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


def _asked(ids: ArrayLike, name: str) -> NDArray[Any]:
    """The ids that are asked for, or the one, as an array of one dimension."""
    array = np.atleast_1d(np.asarray(ids))
    if array.ndim != 1:
        raise ValueError(f"{name}: has shape {array.shape}; give ids in one dimension")
    return array
