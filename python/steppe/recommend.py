"""Recommendation: matrix factorisation of ratings."""

from __future__ import annotations

from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from steppe import _core
from steppe._base import BaseSteppeEstimator
from steppe._factor_queries import FactorQueries
from steppe._ratings import (
    IdTable,
    agree_on_kind,
    agree_on_values,
    check_matrix,
    check_users_apart,
    distinct,
    read_table,
    resized,
    to_csr,
    unify_items,
)
from steppe._validation import native_rows

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

    from numpy.typing import NDArray
    from typing_extensions import Self

    from steppe._plan import FitPlan
    from steppe.parallel import Cluster

__all__ = ["MatrixFactorization"]

_LEARNING_RATE = 0.3
_LATE_ROUND = 4  # of the step's decay, at which partial_fit and a warm start go on


class MatrixFactorization(FactorQueries, BaseSteppeEstimator):
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
        Largest step of "sgd", in units of 1 / (standard deviation of the ratings); it falls to a fiftieth in eight
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
        with plan.cluster.agree():
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
        plan = self._plan(more=True)
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
        plan.fitted.update(n_features_in_=len(items), users_=users.ids, items_=items.ids)
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
        if agree_on_kind(X, cluster):
            with cluster.agree():
                table = read_table(X)
                users, items = distinct(table.users, "user"), distinct(table.items, "item")
            check_users_apart(users, cluster)
            tables = IdTable(users, "users"), IdTable(unify_items(items, cluster), "items")
            with cluster.agree():
                ratings = to_csr(table, *tables)
            return agree_on_values(ratings, cluster), *tables
        with cluster.agree():
            ratings = check_matrix(X, min_users=1 if cluster.size == 1 else 0)
        ratings = agree_on_values(ratings, cluster)
        shapes = cluster.gather(ratings.shape)
        n_items = max(columns for _, columns in shapes)
        first = sum(n_users for n_users, _ in shapes[: cluster.rank])
        rows, columns = np.arange(first, first + ratings.shape[0]), np.arange(n_items)
        return resized(ratings, ratings.shape[0], n_items), IdTable(rows, "users"), IdTable(columns, "items")

    def _check_more_ratings(self, plan: FitPlan, X: Any) -> tuple[Any, IdTable, IdTable]:
        """Collective. As _check_ratings, with what is known first and what is new behind it."""
        cluster, users, items = plan.cluster, self._users, self._items
        if agree_on_kind(X, cluster):
            with cluster.agree():
                table = read_table(X)
                new_users, new_items = distinct(table.users, "user"), distinct(table.items, "item")
                users = users.extended(new_users)
            check_users_apart(users.ids, cluster)
            new_items = unify_items(new_items, cluster)
            with cluster.agree():
                items = items.extended(new_items)
                ratings = to_csr(table, users, items)
            return agree_on_values(ratings, cluster), users, items
        with cluster.agree():
            ratings = check_matrix(X)
            if cluster.size > 1 and ratings.shape[0] > len(users):
                raise ValueError(
                    "X: has more rows than this rank has users; on a cluster add users by their ids, in a DataFrame"
                )
        ratings = agree_on_values(ratings, cluster)
        n_items = max(cluster.gather(max(ratings.shape[1], len(items))))
        n_users = max(ratings.shape[0], len(users))
        with cluster.agree():
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
