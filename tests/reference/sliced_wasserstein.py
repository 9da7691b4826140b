"""Sliced Wasserstein distances as their definition says, in NumPy and with no care for speed."""

import numpy as np


def quantile_coupling(x, y, x_weights=None, y_weights=None):
    """Masses T (n, m) of the coupling of equal quantiles: overlaps of the intervals that sorted masses fill on [0, 1]."""
    a = np.full(len(x), 1 / len(x)) if x_weights is None else np.asarray(x_weights, float) / np.sum(x_weights)
    b = np.full(len(y), 1 / len(y)) if y_weights is None else np.asarray(y_weights, float) / np.sum(y_weights)
    i, j = np.argsort(x, kind="stable"), np.argsort(y, kind="stable")
    x_end, y_end = np.cumsum(a[i])[:, None], np.cumsum(b[j])[None, :]
    overlap = np.minimum(x_end, y_end) - np.maximum(x_end - a[i][:, None], y_end - b[j][None, :])
    masses = np.zeros((len(x), len(y)))
    masses[np.ix_(i, j)] = np.maximum(overlap, 0)
    return masses


def wasserstein_1d(x, y, p, x_weights=None, y_weights=None):
    """W_p, not its p-th power, between two samples on the line."""
    cost = np.abs(np.asarray(x, float)[:, None] - np.asarray(y, float)[None, :]) ** p
    return (quantile_coupling(x, y, x_weights, y_weights) * cost).sum() ** (1 / p)


def distances(X, Y, projections, p, X_weights=None, Y_weights=None):
    """W_p along each column of projections (D, n_projections)."""
    projected = zip((X @ projections).T, (Y @ projections).T, strict=True)
    return np.array([wasserstein_1d(x, y, p, X_weights, Y_weights) for x, y in projected])


def sliced_wasserstein(X, Y, projections, p, X_weights=None, Y_weights=None):
    """Return (mean over projections of W_p^p)^(1/p)."""
    return np.mean(distances(X, Y, projections, p, X_weights, Y_weights) ** p) ** (1 / p)


def sorted_targets(X_proj, Y_proj):
    """argsort of argsort; for unequal sizes the mean of the coupled values."""
    if len(X_proj) == len(Y_proj):
        ranks = np.argsort(np.argsort(X_proj, axis=0, kind="stable"), axis=0, kind="stable")
        return np.take_along_axis(np.sort(Y_proj, axis=0), ranks, axis=0)
    columns = [len(x) * quantile_coupling(x, y) @ y for x, y in zip(X_proj.T, Y_proj.T, strict=True)]
    return np.stack(columns, axis=1)
