"""Matrix factorisation in NumPy: the objective, one visit of stochastic gradient descent, one sweep of least squares.

Minimise 1/2 sum_(u,j) e^2 + 1/2 sum_u l_u (|w_u|^2 + b_u^2) + 1/2 sum_j l_j (|h_j|^2 + b_j^2) with
e = mean + b_u + b_j + w_u.h_j - r_uj and l = reg * count, or reg ("plain").
"""

import numpy as np


def weights(counts, reg, plain):
    """L2 weight of each user or item, from its number of ratings."""
    return np.where(counts > 0, reg if plain else reg * counts, 0.0)


def objective(R, W, H, bu, bi, mean, reg, plain=False):
    """R: COO of users x items."""
    e = mean + bu[R.row] + bi[R.col] + np.einsum("nk,nk->n", W[R.row], H[R.col]) - R.data
    lu = weights(np.bincount(R.row, minlength=len(W)), reg, plain)
    li = weights(np.bincount(R.col, minlength=len(H)), reg, plain)
    return 0.5 * (e @ e + lu @ ((W**2).sum(1) + bu**2) + li @ ((H**2).sum(1) + bi**2))


def sgd_visit(users, values, W, h, bu, bj, mean, s, reg, item_reg, c):
    """One item's ratings in order; changes W, h, bu and returns bj and the sum of e^2. c: scale of biases, 0 without.

    |h|^2 in the step is looked up every two ratings, as it was two ratings before.
    """
    loss, before, now = 0.0, h @ h, h @ h
    for n, (u, r) in enumerate(zip(users, values, strict=True)):
        if n % 2 == 0:
            before, now = now, h @ h
        w = W[u].copy()
        step = s / (1 + s * (before + w @ w + 2 * c))
        e = mean + w @ h + (bu[u] + bj if c else 0.0) - r
        loss += e * e
        W[u] = (1 - step * reg) * w - step * e * h
        h[:] = (1 - step * item_reg) * h - step * e * w
        if c:
            bu[u] = (1 - c * step * reg) * bu[u] - c * step * e
            bj = (1 - c * step * item_reg) * bj - c * step * e
    return bj, loss


def als_rows(R, X, F, bx, bf, mean, reg, plain=False, biases=True):
    """Exact least squares of every row of the CSR matrix R against fixed factors F and biases bf; changes X and bx."""
    for i in range(R.shape[0]):
        cols, r = R.indices[R.indptr[i] : R.indptr[i + 1]], R.data[R.indptr[i] : R.indptr[i + 1]]
        if not len(cols):
            continue
        A = np.hstack([F[cols], np.ones((len(cols), 1))]) if biases else F[cols]
        lam = reg if plain else reg * len(cols)
        x = np.linalg.solve(A.T @ A + lam * np.eye(A.shape[1]), A.T @ (r - mean - bf[cols]))
        X[i], bx[i] = x[: X.shape[1]], x[-1] if biases else 0.0


def als(R, W, H, bu, bi, mean, reg, sweeps, plain=False, biases=True):
    """Alternate between users and items, in place."""
    by_user, by_item = R.tocsr(), R.T.tocsr()
    for _ in range(sweeps):
        als_rows(by_user, W, H, bu, bi, mean, reg, plain, biases)
        als_rows(by_item, H, W, bi, bu, mean, reg, plain, biases)
