"""Oracle of localized GMML to rank, pair by pair: scatters, weights, score, the WARP loss; and NDCG by all permutations."""

from itertools import permutations

import numpy as np


def gains(grades, kind="exponential"):
    return 2.0 ** np.asarray(grades) - 1 if kind == "exponential" else np.asarray(grades, dtype=float)


def dcg(gain, k):
    """Of documents in that order, discount log2(i + 1)."""
    return sum(g / np.log2(i + 1) for i, g in enumerate(gain[:k], 1))


def ndcg(grades, scores, k, kind="exponential"):
    """The mean over all orders in which scores do not rise; nan without a relevant document."""
    gain, scores = gains(grades, kind), np.asarray(scores)
    orders = [o for o in permutations(range(len(gain))) if (np.diff(scores[list(o)]) <= 0).all()]
    ideal = dcg(np.sort(gain)[::-1], k)
    return np.mean([dcg(gain[list(o)], k) for o in orders]) / ideal if ideal > 0 else np.nan


def scatters(X, y, qid):
    """S and D: the means over queries of the mean differences of their similar and dissimilar pairs."""
    S, D = [], []
    for q in np.unique(qid):
        x, grade = X[qid == q], y[qid == q]
        pairs = [(a, b) for a in range(len(x)) for b in range(a)]
        similar = [np.outer(x[a] - x[b], x[a] - x[b]) for a, b in pairs if grade[a] == grade[b] > 0]
        gaps = [abs(grade[a] - grade[b]) for a, b in pairs]
        if similar:
            S.append(np.mean(similar, axis=0))
        if sum(gaps) > 0:
            D.append(
                sum(w * np.outer(x[a] - x[b], x[a] - x[b]) for (a, b), w in zip(pairs, gaps, strict=True)) / sum(gaps)
            )
    zero = np.zeros((X.shape[1],) * 2)
    return (np.mean(S, axis=0) if S else zero), (np.mean(D, axis=0) if D else zero)


def squared_distances(X, anchor, L):
    return (((X - anchor) @ L.T) ** 2).sum(axis=1)


def score(X, anchors, metrics, weights, rho, form="score"):
    """f(p) = sum_r phi_r exp(-rho/2 d_r^2(p)), or -sum_r phi_r d_r^2(p)."""
    d2 = np.stack([squared_distances(X, a, L) for a, L in zip(anchors, metrics, strict=True)], axis=1)
    return (np.exp(-rho / 2 * d2) if form == "score" else -d2) @ weights


def rank_weight(k):
    """L(k) of WARP."""
    return sum(1 / np.log2(i + 1) for i in range(1, k + 1))


def warp_loss(scores, y, qid):
    """Mean over queries of the mean over relevant p+ of L(k)/L(n-) times the mean hinge of its k violators."""
    losses = []
    for q in np.unique(qid):
        f, grade = scores[qid == q], y[qid == q]
        own = []
        for a in range(len(f)):
            hinge = 1 + f[grade < grade[a]] - f[a]
            k = int((hinge > 0).sum())
            if len(hinge):
                own.append(rank_weight(k) / rank_weight(len(hinge)) * hinge[hinge > 0].sum() / max(k, 1))
        if own:
            losses.append(np.mean(own))
    return np.mean(losses)
