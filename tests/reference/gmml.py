"""Oracle of GMML: the weighted geometric mean by matrix square roots, as published."""

import numpy as np
from scipy.linalg import fractional_matrix_power, sqrtm


def scatter(C, reg, A0):
    """Mean of c c' over the rows of C, plus reg A0."""
    return C.T @ C / len(C) + reg * A0


def gmml(C, sign, t, reg, A0=None):
    """S^-1 #_t D = S^-1/2 (S^1/2 D S^1/2)^t S^-1/2, with S and D."""
    A0 = np.eye(C.shape[1]) if A0 is None else A0
    S, D = scatter(C[sign > 0], reg, np.linalg.inv(A0)), scatter(C[sign < 0], reg, A0)
    root = np.real(sqrtm(S))
    inverse = np.linalg.inv(root)
    return inverse @ np.real(fractional_matrix_power(root @ D @ root, t)) @ inverse, S, D


def riemannian(A, B):
    """The squared Riemannian distance of positive definite matrices."""
    return float((np.log(np.real(np.linalg.eigvals(np.linalg.solve(A, B)))) ** 2).sum())
