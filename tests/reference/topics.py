"""Latent Dirichlet allocation in NumPy: bounds, passes and single visits, held-out perplexity.

Model: theta_d ~ Dir(alpha), phi_k ~ Dir(eta), each token draws a topic from theta_d and a word from phi of that topic.
A corpus is a COO matrix of counts, documents x words; z (n_entries, K) are the topics of its entries, in its order.
Statistics with a prior: gamma (D, K) = alpha + sum_v c z, lam (V, K) = eta + sum_d c z; without: n_d, n_v.
alpha is a number or one for each topic (K,), eta a number.
"""

import numpy as np
from scipy.sparse import coo_array
from scipy.special import gammaln, logsumexp, psi

TINY = np.finfo(np.float64).tiny


def expected_log(a):
    """E[log x] of the rows of x ~ Dir(a)."""
    return psi(a) - psi(a.sum(axis=-1, keepdims=True))


def dirichlet_terms(a, prior):
    """Sum over rows of E[log Dir(x | prior) - log Dir(x | a)] with x ~ Dir(a), which is -KL."""
    prior = np.broadcast_to(prior, a.shape)
    log_beta = gammaln(a).sum(-1) - gammaln(a.sum(-1)) - gammaln(prior).sum(-1) + gammaln(prior.sum(-1))
    return log_beta.sum() + ((prior - a) * expected_log(a)).sum()


def best_z(X, gamma, lam):
    """The z that maximise the bound: proportional to exp(psi(gamma) + psi(lam) - psi(Lam))."""
    logits = expected_log(gamma)[X.row] + expected_log(lam.T).T[X.col]
    return np.exp(logits - logsumexp(logits, axis=1, keepdims=True))


def elbo(X, gamma, lam, z, alpha, eta):
    """The evidence lower bound of mean field."""
    logits = expected_log(gamma)[X.row] + expected_log(lam.T).T[X.col]
    tokens = X.data @ (z * (logits - np.log(np.maximum(z, TINY)))).sum(axis=1)
    return tokens + dirichlet_terms(gamma, alpha) + dirichlet_terms(lam.T, eta)


def sums(X, z):
    """n_d (D, K) and n_v (V, K)."""
    entries = np.arange(X.nnz)
    by_document, by_word = (
        coo_array((X.data, (owner, entries)), shape=(n, X.nnz))
        for owner, n in zip((X.row, X.col), X.shape, strict=True)
    )
    return by_document @ z, by_word @ z


# --- passes over all entries at once ---


def batch_vb(X, z, alpha, eta, n_passes):
    """Gamma, lam and z after passes of: gamma and lam from z, then z from them; gamma and lam fit the last z."""
    for _ in range(n_passes):
        n_d, n_v = sums(X, z)
        z = best_z(X, alpha + n_d, eta + n_v)
    n_d, n_v = sums(X, z)
    return alpha + n_d, eta + n_v, z


def batch_cvb0(X, z, alpha, eta, n_passes):
    """The z after synchronous passes of CVB0: all entries from the same sums, each without itself."""
    for _ in range(n_passes):
        n_d, n_v = sums(X, z)
        z = cvb0_z(n_d[X.row] - z, n_v[X.col] - z, n_v.sum(0) - z, X.shape[1], alpha, eta)
    return z


def cvb0_z(n_d, n_v, n, n_words, alpha, eta):
    """The z of entries from sums without their own; never below what no token at all would give."""
    z = np.maximum(n_d + alpha, alpha) * np.maximum(n_v + eta, eta) / np.maximum(n + n_words * eta, n_words * eta)
    return z / z.sum(axis=-1, keepdims=True)


# --- batch variational Bayes as it is usually run: each document settles while the topics are held ---


def settled_gamma(X, lam, alpha, tol=1e-3, max_turns=100):
    """Gamma (D, K): z and gamma by turns from equal topics, until gamma of the document moves by less than tol a topic."""
    n_topics = lam.shape[1]
    gamma = np.empty((X.shape[0], n_topics))
    for d in range(X.shape[0]):
        mine = X.row == d
        words = coo_array((X.data[mine], (np.zeros(mine.sum(), dtype=int), X.col[mine])), shape=(1, X.shape[1]))
        gamma[d] = alpha + X.data[mine].sum() / n_topics
        for _ in range(max_turns):
            before = gamma[d].copy()
            gamma[d] = alpha + sums(words, best_z(words, before[None], lam))[0][0]
            if np.abs(gamma[d] - before).mean() < tol:
                break
    return gamma


def held_bound(X, lam, alpha, eta):
    """The bound of these topics, documents settled and z best for both."""
    gamma = settled_gamma(X, lam, alpha)
    return elbo(X, gamma, lam, best_z(X, gamma, lam), alpha, eta)


def settled_pass(X, lam, alpha, eta):
    """The next lam."""
    return eta + sums(X, best_z(X, settled_gamma(X, lam, alpha), lam))[1]


# --- one visit: the entries of word v one after the other, each sees what the ones before it changed ---


def vb_visit(X, v, gamma, lam, total, z):
    """Changes gamma (D, K), lam (V, K), its column sums total (K,) and z in place; all have their priors in."""
    for entry in np.flatnonzero(X.col == v):
        d = X.row[entry]
        logits = psi(gamma[d]) + psi(lam[v]) - psi(total)
        new = np.exp(logits - logsumexp(logits))
        delta = X.data[entry] * (new - z[entry])
        z[entry] = new
        for statistic in (gamma[d], lam[v], total):
            statistic += delta


def cvb0_visit(X, v, n_d, n_v, n, z, alpha, eta):
    """Changes n_d (D, K), n_v (V, K), its column sums n (K,) and z in place; none has its prior in."""
    for entry in np.flatnonzero(X.col == v):
        d = X.row[entry]
        new = cvb0_z(n_d[d] - z[entry], n_v[v] - z[entry], n - z[entry], X.shape[1], alpha, eta)
        delta = X.data[entry] * (new - z[entry])
        z[entry] = new
        for statistic in (n_d[d], n_v[v], n):
            statistic += delta


# --- documents that were not fitted ---


def fold_in_vb(X, lam, alpha, n_iter=1000):
    """Gamma of new documents from gamma = alpha + 1, lam held."""
    gamma = np.broadcast_to(alpha, (X.shape[0], lam.shape[1])) + 1.0
    for _ in range(n_iter):
        gamma = alpha + sums(X, best_z(X, gamma, lam))[0]
    return gamma


def bound_perplexity(X, gamma, lam, alpha, eta):
    """scikit-learn's `perplexity`: exp(-bound / tokens), the bound with the best z and with the term of the topics."""
    return np.exp(-elbo(X, gamma, lam, best_z(X, gamma, lam), alpha, eta) / X.data.sum())


def halves(X, random_state):
    """Split each document's tokens at random: n - n // 2 of its n tokens to fold in, n // 2 to evaluate."""
    rng = np.random.default_rng(random_state)
    counts = X.data.astype(np.int64)
    documents, words = np.repeat(X.row, counts), np.repeat(X.col, counts)
    order = np.lexsort((rng.random(len(documents)), documents))
    documents, words = documents[order], words[order]
    n = np.bincount(documents, minlength=X.shape[0])
    place = np.arange(len(documents)) - (np.cumsum(n) - n)[documents]
    first = place < (n - n // 2)[documents]
    return tuple(_counts(documents[part], words[part], X.shape) for part in (first, ~first))


def _counts(documents, words, shape):
    X = coo_array((np.ones(len(words)), (documents, words)), shape=shape)
    X.sum_duplicates()
    return X


def fold_in(X, topics, alpha, n_iter=1000):
    """The theta (D, K) that maximise sum_v c log(theta_d . phi_v) + alpha sum_k log theta_dk, by EM from the uniform.

    topics (K, V) sum to one over words. The objective is concave, so it has one maximum whatever the start. An empty
    document has alpha / sum(alpha).
    """
    n_d = np.ones((X.shape[0], len(topics)))
    for _ in range(n_iter):
        z = (alpha + n_d)[X.row] * topics.T[X.col]
        n_d = sums(X, z / z.sum(axis=1, keepdims=True))[0]
    return (alpha + n_d) / (alpha + n_d).sum(axis=1, keepdims=True)


def completion_perplexity(observed, evaluated, topics, alpha, n_iter=1000):
    """exp(-mean log p) of the evaluated tokens, p = theta_d . phi_v with theta folded in from the observed half."""
    theta = fold_in(observed, topics, alpha, n_iter)
    p = np.einsum("nk,nk->n", theta[evaluated.row], topics.T[evaluated.col])
    return np.exp(-evaluated.data @ np.log(p) / evaluated.data.sum())
