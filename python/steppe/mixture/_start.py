"""Which component each row starts in."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.cluster import kmeans_plusplus

from steppe import _core

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from steppe._plan import FitPlan

_SEEN_ROWS = 20_000  # that k-means looks at, at least
_ROWS_OF_COMPONENT = 10
_LLOYD_STEPS = 20
_MANY = 128  # components from which on each seed is the best of one try instead of several


def random_labels(plan: FitPlan, n_rows: int, n_components: int) -> NDArray[np.int32]:
    """Collective. Drawn by the number of the row over all ranks."""
    first = sum(plan.cluster.gather(n_rows)[: plan.cluster.rank])
    stream = np.random.PCG64(plan.seed)
    stream.advance(first)
    return (np.random.Generator(stream).random(n_rows) * n_components).astype(np.int32)


def kmeans_labels(plan: FitPlan, X: NDArray[Any], weights: NDArray[Any], n_components: int) -> NDArray[np.int32]:
    """Collective. The nearest of the centres that weighted k-means finds on some of the rows.

    Does not depend on ranks; nor, while there are no more rows than k-means looks at, on their order, on rows of weight
    0, or on whether a row stands there twice or has a weight of 2.
    """
    rows, masses = _distinct(*_some_rows(plan, X, weights, max(_SEEN_ROWS, _ROWS_OF_COMPONENT * n_components)))
    if len(rows) <= n_components:
        sites = rows
        if len(rows) < n_components:
            _warn_once(
                plan,
                f"n_components={n_components} is more than the {len(rows)} distinct rows: the components "
                f"{_named(np.arange(len(rows), n_components))} start without rows, at the prior.",
            )
    else:
        sites, reseeded = _kmeans(rows, masses, n_components, plan)
        if len(reseeded):
            _warn_once(
                plan,
                f"the components {_named(reseeded)} had lost all of their rows and were reseeded, each at the row that "
                "is farthest from its own component; fewer n_components may describe the data as well.",
            )
    return _nearest(X, sites, plan.n_threads)[0]


def _named(components: NDArray[Any]) -> str:
    shown = ", ".join(map(str, components[:20].tolist()))
    return f"[{shown}, ...]" if len(components) > 20 else f"[{shown}]"


def _warn_once(plan: FitPlan, message: str) -> None:
    if plan.cluster.rank == 0:
        warnings.warn(message, UserWarning, stacklevel=5)  # the caller of fit


def _nearest(X: NDArray[Any], sites: NDArray[Any], n_threads: int) -> tuple[NDArray[np.int32], NDArray[Any]]:
    labels, costs = _core.assign_cells(
        np.ascontiguousarray(X),
        np.ascontiguousarray(sites),
        np.zeros(len(sites)),
        squared=True,
        with_costs=True,
        n_threads=n_threads,
    )
    return np.asarray(labels), np.asarray(costs)


def _some_rows(
    plan: FitPlan, X: NDArray[Any], weights: NDArray[Any], limit: int
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Collective. At most `limit` rows of positive weight, the same on all ranks."""
    mine = np.flatnonzero(weights > 0)
    counts = plan.cluster.gather(len(mine))
    n, first = sum(counts), sum(counts[: plan.cluster.rank])
    if n > limit:
        chosen = np.random.default_rng(plan.seed).choice(n, size=limit, replace=False)
        mine = mine[np.sort(chosen[(chosen >= first) & (chosen < first + len(mine))]) - first]
    parts = plan.cluster.gather((X[mine], weights[mine].astype(np.float64)))
    return np.concatenate([rows for rows, _ in parts]), np.concatenate([masses for _, masses in parts])


def _distinct(rows: NDArray[Any], masses: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[np.float64]]:
    distinct, place = np.unique(rows, axis=0, return_inverse=True)
    return distinct, np.bincount(place.reshape(-1), weights=masses, minlength=len(distinct)).astype(np.float64)


def _kmeans(
    rows: NDArray[Any], masses: NDArray[np.float64], n_components: int, plan: FitPlan
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Centres, and the components that were moved because they had lost their rows."""
    # About the mean in the rows' own precision, which is exact enough for differences of rows that far from the origin.
    centre = np.average(rows.astype(np.float64), axis=0, weights=masses).astype(rows.dtype)
    points = rows - centre
    sites, _ = kmeans_plusplus(
        points,
        n_components,
        sample_weight=masses,
        random_state=np.random.RandomState(plan.seed % 2**32),
        n_local_trials=1 if n_components > _MANY else None,
    )
    reseeded = np.zeros(n_components, dtype=bool)
    before = None
    for _ in range(_LLOYD_STEPS):
        labels, costs = _nearest(points, sites, plan.n_threads)
        if before is not None and np.array_equal(labels, before):
            break
        before = labels
        sizes = np.bincount(labels, weights=masses, minlength=n_components)
        sums = np.stack(
            [np.bincount(labels, weights=masses * column, minlength=n_components) for column in points.T], axis=1
        )
        empty = np.flatnonzero(sizes == 0)
        sites = (sums / np.where(sizes > 0, sizes, 1)[:, None]).astype(rows.dtype)
        sites[empty] = points[np.argsort(-masses * costs, kind="stable")[: len(empty)]]
        reseeded[empty] = True
    return sites + centre, np.flatnonzero(reseeded)
