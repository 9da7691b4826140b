"""Oracles of the cells and of semi-discrete transport (ALGORITHMS 4.1), with the whole n x m matrix in memory."""

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import identity, kron, vstack
from scipy.special import logsumexp


def cost_matrix(X, sites, cost="sqeuclidean"):
    square = ((np.asarray(X, np.float64)[:, None] - np.asarray(sites, np.float64)) ** 2).sum(-1)
    return square if cost == "sqeuclidean" else np.sqrt(square)


def cells(X, sites, potential, cost="sqeuclidean"):
    """argmin_j c(x_i, y_j) - phi_j, the lowest index among equals, and the minimum."""
    scores = cost_matrix(X, sites, cost) - potential
    return scores.argmin(1), scores.min(1)


def dual(C, p, phi, a=None):
    """F(phi) = p . phi + sum_i a_i min_j (c_ij - phi_j)"""
    return p @ phi + np.average((C - phi).min(1), weights=a)


def entropic_dual(C, p, phi, reg, a=None):
    """p . phi - reg sum_i a_i log sum_j p_j exp((phi_j - c_ij) / reg), and the plan's columns for each row."""
    exponents = (phi - C) / reg + np.log(p)
    totals = logsumexp(exponents, axis=1)
    return p @ phi - reg * np.average(totals, weights=a), np.exp(exponents - totals[:, None])


def transport_value(C, p, a=None):
    """min <C, plan> over plans with rows a and columns p: the LP of optimal transport, by HiGHS."""
    n, m = C.shape
    a = np.full(n, 1 / n) if a is None else a
    marginals = vstack([kron(identity(n), np.ones((1, m))), kron(np.ones((1, n)), identity(m))])
    solved = linprog(C.ravel(), A_eq=marginals.tocsr(), b_eq=np.concatenate([a, p]), method="highs")
    assert solved.success, solved.message
    return solved.fun


def barycentre_value(Cs, weights):
    """min over p of sum_k weights_k W(measure k, sum_j p_j delta_{y_j}): one LP in all plans and p."""
    m = Cs[0].shape[1]
    blocks, right, costs = [], [], []
    n_plans = sum(C.size for C in Cs)
    first = 0
    for C, weight in zip(Cs, weights, strict=True):
        n = len(C)
        rows = np.zeros((n + m, n_plans + m))
        for i in range(n):
            rows[i, first + i * m : first + (i + 1) * m] = 1
        for j in range(m):
            rows[n + j, first + j : first + n * m : m] = 1
            rows[n + j, n_plans + j] = -1
        blocks.append(rows)
        right.append(np.concatenate([np.full(n, 1 / n), np.zeros(m)]))
        costs.append(weight * C.ravel())
        first += n * m
    solved = linprog(
        np.concatenate([*costs, np.zeros(m)]), A_eq=np.vstack(blocks), b_eq=np.concatenate(right), method="highs"
    )
    assert solved.success, solved.message
    return solved.fun, solved.x[n_plans:]
