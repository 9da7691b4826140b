"""Ratings as users pass them: matrices, or tables of (user, item[, value]) with ids of any type."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse
from sklearn.utils.validation import check_array

from steppe._plan import refuse_differing
from steppe._validation import check_csr, with_remedy
from steppe.parallel import concatenated

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from steppe.parallel import Cluster

_NAMES = {"user": ("user", "user_id", "userid"), "item": ("item", "item_id", "itemid"), "value": ("value", "rating")}


class IdTable:
    """The ids of users or items in the order of their factors, and the way back from an id to its place.

    Parameters
    ----------
    ids : ndarray of shape (n,)
        Distinct.
    what : str
        "users" or "items", for errors.
    """

    def __init__(self, ids: NDArray[Any], what: str) -> None:
        self.ids = ids
        self._what = what
        numbers = ids.dtype.kind in "iu"
        # The usual case of rows numbered one after the other needs no search.
        self._run = numbers and bool(((ids[1:] > ids[:-1]) & (ids[1:] - ids[:-1] == 1)).all())
        self._order: NDArray[np.intp] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def look_up(self, ids: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The places of `ids`, and which of them are known; the place of an unknown id means nothing."""
        wanted = np.asarray(ids)
        if not len(self) or not wanted.size:
            return np.zeros(wanted.shape, np.int64), np.zeros(wanted.shape, bool)
        if self.ids.dtype.kind in "iu" and wanted.dtype.kind in "iu":
            return self._look_up_numbers(wanted)
        return self._search(wanted)

    def _look_up_numbers(self, wanted: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Integers, compared as such: NumPy takes int64 and uint64 together for floats."""
        fits: Any = np.True_
        if wanted.dtype != self.ids.dtype:
            limits, own = np.iinfo(self.ids.dtype), np.iinfo(wanted.dtype)
            fits = wanted <= wanted.dtype.type(min(limits.max, own.max))
            fits &= wanted >= wanted.dtype.type(max(limits.min, own.min))
            wanted = np.where(fits, wanted, wanted.dtype.type(0)).astype(self.ids.dtype)
        if not self._run:
            places, known = self._search(wanted)
            return places, known & fits
        first, last = self.ids[0], self.ids[-1]
        known = fits & (wanted >= first) & (wanted <= last)
        wide = np.int64 if wanted.dtype.kind == "i" else np.uint64
        return (np.where(known, wanted, first).astype(wide) - wide(first)).astype(np.int64), known

    def _search(self, wanted: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        if self._order is None:
            self._order = np.argsort(self.ids, kind="stable")
        try:
            found = np.searchsorted(self.ids, wanted, sorter=self._order)
        except TypeError as error:
            raise ValueError(
                f"{self._what}: ids of type {wanted.dtype} cannot be compared with those of fit"
            ) from error
        places = self._order[np.minimum(found, len(self) - 1)].astype(np.int64)
        return places, np.asarray(self.ids[places] == wanted, dtype=bool)

    def places(self, ids: ArrayLike) -> NDArray[np.int64]:
        """The places of `ids`.

        Raises
        ------
        ValueError
            If an id is unknown.
        """
        places, known = self.look_up(ids)
        if not known.all():
            strange = np.asarray(ids)[~known]
            raise ValueError(
                f"{self._what}: {len(strange)} ids were not in fit, such as {strange[:5].tolist()}; drop them, or for "
                "new users call fold_in"
            )
        return places

    def extended(self, ids: NDArray[Any]) -> IdTable:
        """A table of these ids, with the unknown ones among the distinct `ids` behind them."""
        _, known = self.look_up(ids)
        return self if known.all() else IdTable(concatenated([self.ids, ids[~known]]), self._what)


@dataclass(frozen=True)
class RatingTable:
    """Columns of a table of ratings."""

    users: NDArray[Any]
    items: NDArray[Any]
    values: NDArray[Any]


def is_table(X: Any) -> bool:
    """Whether X is a DataFrame (pandas, polars, or what behaves alike) rather than a matrix."""
    return hasattr(X, "columns") and hasattr(X, "__getitem__") and not scipy.sparse.issparse(X)


def read_table(X: Any) -> RatingTable:
    """The columns user, item and value of a DataFrame: by name, or else the first three.

    A table of two columns is one of events, each a rating of 1.
    """
    names = list(X.columns)
    if len(names) < 2:
        raise ValueError(f"X: a table of ratings has the columns user, item and value; met {names}")
    chosen = _columns(names)
    users, items = (_ids(X[chosen[column]], column) for column in ("user", "item"))
    if "value" not in chosen:
        return RatingTable(users, items, np.ones(len(users)))
    return RatingTable(users, items, _values(X[chosen["value"]]))


def _values(column: Any) -> NDArray[Any]:
    values = np.asarray(column)
    if values.dtype.kind not in "biuf":
        try:
            values = values.astype(np.float64)
        except (TypeError, ValueError):
            strange = next(value for value in values.tolist() if not isinstance(value, Real))
            raise ValueError(
                f"X: the column of values holds {strange!r}; make ratings numbers, and drop rows without one"
            ) from None
    try:
        checked = check_array(
            values, ensure_2d=False, ensure_min_samples=0, dtype=[np.float64, np.float32], input_name="X"
        )
    except ValueError as error:
        raise with_remedy(error, None, column, None) from None
    return np.asarray(checked)


def _columns(names: list[Any]) -> dict[str, Any]:
    """Which column is the user, the item, the value: by name, the others in their order."""
    lower = [str(name).lower() for name in names]
    chosen = {}
    for column, known in _NAMES.items():
        named = [names[lower.index(name)] for name in known if name in lower]
        if named:
            chosen[column] = named[0]
    left = iter([name for name in names if name not in chosen.values()])
    for column in _NAMES:
        if column not in chosen and (name := next(left, None)) is not None:
            chosen[column] = name
    for name in chosen.values():
        if names.count(name) > 1:
            raise ValueError(f"X: has {names.count(name)} columns {name!r}; give each column a name of its own")
    return chosen


def _ids(column: Any, name: str) -> NDArray[Any]:
    ids = np.asarray(column)
    if np.any(_missing(column, ids)):
        raise ValueError(f"X: the column of {name} ids has missing values; drop those rows")
    if ids.dtype.kind != "O":
        return ids.astype(str) if ids.dtype.kind == "T" else ids
    kinds = set(map(type, ids.tolist()))
    if any(issubclass(kind, (list, tuple, np.ndarray)) for kind in kinds):
        raise ValueError(f"X: the {name} ids are sequences such as {ids[0]!r}; make them numbers or strings")
    if all(issubclass(kind, str) for kind in kinds):
        return ids.astype(str)
    numbers = all(issubclass(kind, Integral) for kind in kinds)  # pandas' nullable integers are objects
    return np.array(ids.tolist()) if numbers else ids


def _missing(column: Any, ids: NDArray[Any]) -> Any:
    """Which ids are None, NaN, NaT or NA."""
    if hasattr(column, "isna"):
        return np.asarray(column.isna())
    if ids.dtype.kind in "mM":
        return np.isnat(ids)
    if ids.dtype.kind == "O":
        return (ids == np.array(None)) | (ids != ids)
    return np.isnan(ids) if ids.dtype.kind in "fT" else np.False_


def distinct(ids: NDArray[Any], name: str) -> NDArray[Any]:
    """The sorted distinct ids."""
    try:
        found = np.unique(ids)
    except TypeError as error:
        raise ValueError(
            f"X: the {name} ids are of types that cannot be ordered; make them all numbers or all strings"
        ) from error
    return found


def to_csr(table: RatingTable, users: IdTable, items: IdTable) -> scipy.sparse.csr_array:
    """The ratings as a matrix in the order of the two tables of ids, which know them all.

    Raises
    ------
    ValueError
        If a pair is rated twice, or an id is unknown.
    """
    shape = (len(users), len(items))
    return from_coo(
        scipy.sparse.coo_array((table.values, (users.places(table.users), items.places(table.items))), shape)
    )


def from_coo(X: Any) -> scipy.sparse.csr_array:
    """CSR without summing what stands twice: the sum of two ratings is no rating."""
    csr = scipy.sparse.csr_array(X)
    if csr.nnz < X.nnz:
        raise ValueError(
            f"X: {X.nnz - csr.nnz} (user, item) pairs are rated more than once; keep one rating of each, such as the "
            "last (drop_duplicates) or their mean"
        )
    return csr


def check_matrix(X: Any, *, min_users: int = 1) -> Any:
    """A checked CSR matrix of users x items from a sparse or a dense one.

    Stored entries are ratings, explicit zeros too; in an ndarray all entries are.
    """
    if scipy.sparse.issparse(X) and X.format == "coo":
        X = from_coo(X)
    try:
        checked = check_array(
            X,
            accept_sparse="csr",
            accept_large_sparse=True,
            dtype=[np.float64, np.float32],
            ensure_min_samples=min_users,
            input_name="X",
        )
    except ValueError as error:
        raise with_remedy(error, None, X, None) from None
    if not scipy.sparse.issparse(checked):
        return dense_to_csr(checked)
    if not checked.has_sorted_indices:
        checked = checked.sorted_indices()
    return check_csr(checked)


def dense_to_csr(X: NDArray[Any]) -> scipy.sparse.csr_array:
    """Every entry a stored one."""
    n_users, n_items = X.shape
    indices = np.tile(np.arange(n_items, dtype=np.int32), n_users)
    indptr = np.arange(n_users + 1, dtype=np.int64) * n_items
    return scipy.sparse.csr_array((X.ravel(), indices, indptr), shape=X.shape)


def resized(X: Any, n_users: int, n_items: int) -> Any:
    """The same ratings in a larger matrix."""
    if X.shape == (n_users, n_items):
        return X
    indptr = np.concatenate([X.indptr, np.full(n_users - X.shape[0], X.indptr[-1], dtype=X.indptr.dtype)])
    return scipy.sparse.csr_array((X.data, X.indices, indptr), shape=(n_users, n_items))


def agree_on_kind(X: Any, cluster: Cluster) -> bool:
    """Collective. Whether X is a table, which it is on all ranks or on none."""
    table = is_table(X)
    refuse_differing("X", cluster.gather("a DataFrame" if table else "a matrix"))
    return table


def agree_on_values(ratings: Any, cluster: Cluster) -> Any:
    """Collective. The ratings, of one dtype on all ranks that have any, and of a size whose squares are finite."""
    largest = float(np.abs(ratings.data).max(initial=0))
    told = cluster.gather((ratings.nnz, ratings.dtype.str, largest))
    held = [dtype for n_ratings, dtype, _ in told if n_ratings]
    if not held:
        raise ValueError("X: holds no rating; pass at least one")
    if len(set(held)) > 1:
        raise ValueError(f"X: the dtypes differ between ranks ({[dtype for _, dtype, _ in told]}); pass the same")
    limits, largest = np.finfo(held[0]), max(one[2] for one in told)
    if largest and not float(limits.tiny) <= largest**2 <= float(limits.max):
        raise ValueError(
            f"X: the largest rating is {largest:g}, whose square leaves the range of {limits.dtype}; scale the ratings"
        )
    return ratings.astype(held[0], copy=False)


def unify_items(ids: NDArray[Any], cluster: Cluster) -> NDArray[Any]:
    """Collective. The item ids of all ranks; a rank without ratings brings none."""
    return cluster.unify(ids) if cluster.size > 1 else ids


def check_users_apart(ids: NDArray[Any], cluster: Cluster) -> None:
    """Collective. A user belongs to one rank."""
    if cluster.size == 1:
        return
    values, counts = np.unique(concatenated(cluster.gather(ids)), return_counts=True)
    if (counts > 1).any():
        raise ValueError(
            f"X: {int((counts > 1).sum())} users have ratings on several ranks, such as "
            f"{values[counts > 1][:5].tolist()}; give all ratings of a user to one rank"
        )
