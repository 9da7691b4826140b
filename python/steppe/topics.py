"""Topic models: latent Dirichlet allocation."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import scipy.sparse
from scipy.special import psi
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from steppe import _core
from steppe._base import BaseSteppeEstimator
from steppe._plan import resolve_n_jobs
from steppe._validation import check_points, check_rows, native_rows
from steppe.parallel import cluster_or_alone

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self

    from steppe._plan import FitPlan
    from steppe.parallel import Cluster

__all__ = ["LatentDirichletAllocation"]

_SWEEPS_OF_A_BATCH = 10
_FOLD_ITERATIONS, _FOLD_TOLERANCE = 100, 1e-3


class LatentDirichletAllocation(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseSteppeEstimator):  # type: ignore[misc]
    r"""Latent Dirichlet allocation by extreme stochastic variational inference.

    Documents mix topics :math:`\theta_d \sim \mathrm{Dir}(\alpha)`, topics are distributions over words
    :math:`\phi_k \sim \mathrm{Dir}(\eta)`, and each token draws a topic from its document and a word from the topic.
    Each stored entry (d, v) of X has responsibilities z of the topics, with the sums

    .. math:: \gamma_d = \alpha + \sum_v x_{dv} z_{dv}, \quad \lambda_v = \eta + \sum_d x_{dv} z_{dv}, \quad
              \Lambda = \sum_v \lambda_v.

    An iteration visits every entry once, and moves the sums with each z at once: nothing waits for a pass to end.
    Documents and z stay with their worker, words travel.

    Parameters
    ----------
    n_components : int, default=10
        K, the number of topics. Multiples of 16 (float32) or 8 (float64) are used fully.
    inference : {"vb", "cvb0"}, default="vb"
        "vb" is mean field: :math:`z \propto \exp(\psi(\gamma_d) + \psi(\lambda_v) - \psi(\Lambda))`, coordinate ascent
        on the bound; the first eight iterations of a fit from nothing are those of "cvb0", without which it ends in
        worse optima. "cvb0" is zero-order collapsed variational inference:
        :math:`z \propto (\gamma_d - z)(\lambda_v - z) / (\Lambda - z)`, several times faster, and with a held-out
        perplexity like that of collapsed Gibbs sampling, which mean field trails.
    doc_topic_prior : float, array-like of shape (K,) or None, default=None
        :math:`\alpha`, for all topics or for each. None is 1 / K.
    topic_word_prior : float, array-like of shape (V,) or None, default=None
        :math:`\eta`, for all words or for each. None is 1 / K.
    top_k : int or None, default=None
        Keep that many topics of each entry, the largest, with all of its mass; None or K and more keep all. Memory for
        z falls from K to `top_k` numbers and as many 16-bit topic numbers an entry; a visit becomes dearer.
    batch_size : int, default=1024
        Documents of a step of ``schedule="svi"``, over all ranks.
    learning_decay, learning_offset : float, default=0.7, 10.0
        Step t of "svi" has the rate (learning_offset + t) ** -learning_decay.
    schedule : {"auto", "serial", "bsp", "nomad", "batch", "svi"}, default="auto"
        "serial", "bsp" and "nomad" visit documents and words by turns [1]_; "auto" is "bsp" with more than one worker,
        else "serial". "batch" is variational Bayes by passes over all documents [3]_, "svi" the same by steps over some
        of them [4]_, both for ``inference="vb"`` without `top_k`: a document settles with the topics held, which then
        take over what all documents say. They start from random topics, and keep no z.
    max_iter, tol, n_jobs, cluster, device, random_state, warm_start, checkpoint, callbacks, verbose
        See :class:`steppe._base.BaseSteppeEstimator`. With a tolerance the objective is evaluated every fifth
        iteration. On a cluster each rank passes its own documents; the columns are the same words on every rank.

    Attributes
    ----------
    components_ : ndarray of shape (K, V), X's dtype
        :math:`\lambda`; divided by its sum over words, the mean of the topics.
    exp_dirichlet_component_ : ndarray of shape (K, V)
        :math:`\exp(\psi(\lambda) - \psi(\Lambda))`, reckoned when asked for.
    bound_ : float
        Lower bound on the log probability of the training words at the end of the fit: the negative objective.
    doc_topic_prior_ : float or ndarray of shape (K,)
    topic_word_prior_ : float or ndarray of shape (V,)

    Notes
    -----
    X holds counts, dense or sparse, and need not be whole numbers; none may be negative. For float32 z is stored in
    16-bit fixed point (15 bits after the point, error at most 1.5e-5), for float64 in float64: pass float32 to use a
    quarter of the memory and half of the time. Memory is 2 K (float32) or 8 K (float64) bytes an entry of X.

    ``history_["objective"]`` is the negative bound, for both inferences the same function of z:
    :math:`\sum_d [\ln B(\gamma_d) - \ln B(\alpha)] + \sum_k [\ln B(\lambda_k) - \ln B(\eta)] -
    \sum_{dv} x_{dv} \sum_k z \ln z`, with B the multivariate beta function. From its ninth iteration on "vb" never
    lowers it on one worker; "cvb0" does not ascend it, but levels off with it.

    References
    ----------
    .. [1] P. Raman, J. Zhang, S. Ji, H.-F. Yu, S. V. N. Vishwanathan, I. S. Dhillon, "Extreme stochastic variational
       inference: distributed inference for large scale mixture models", AISTATS 2019.
    .. [2] A. Asuncion, M. Welling, P. Smyth, Y. W. Teh, "On smoothing and inference for topic models", UAI 2009.
    .. [3] D. Blei, A. Ng, M. Jordan, "Latent Dirichlet allocation", JMLR 2003.
    .. [4] M. Hoffman, D. Blei, C. Wang, J. Paisley, "Stochastic variational inference", JMLR 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from steppe.topics import LatentDirichletAllocation
    >>> X = np.array([[4., 3, 0, 0], [5, 2, 0, 0], [0, 0, 3, 4], [0, 0, 2, 6]])
    >>> model = LatentDirichletAllocation(n_components=2, inference="cvb0", random_state=0).fit(X)
    >>> model.transform(X).shape
    (4, 2)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseSteppeEstimator._parameter_constraints,
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "inference": [StrOptions({"vb", "cvb0"})],
        "doc_topic_prior": [Interval(Real, 0, None, closed="neither"), "array-like", None],
        "topic_word_prior": [Interval(Real, 0, None, closed="neither"), "array-like", None],
        "top_k": [Interval(Integral, 1, None, closed="left"), None],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "learning_decay": [Interval(Real, 0, 1, closed="both")],
        "learning_offset": [Interval(Real, 1, None, closed="left")],
    }
    _auto_schedule: ClassVar[str] = "bsp"
    _schedules: ClassVar[tuple[str, ...]] = ("serial", "bsp", "nomad", "batch", "svi")
    _evaluate_every: ClassVar[int] = 5

    def __init__(
        self,
        n_components: int = 10,
        *,
        inference: str = "vb",
        doc_topic_prior: float | ArrayLike | None = None,
        topic_word_prior: float | ArrayLike | None = None,
        top_k: int | None = None,
        batch_size: int = 1024,
        learning_decay: float = 0.7,
        learning_offset: float = 10.0,
        schedule: str = "auto",
        max_iter: int = 100,
        tol: float = 1e-4,
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
        self.n_components = n_components
        self.inference = inference
        self.doc_topic_prior = doc_topic_prior
        self.topic_word_prior = topic_word_prior
        self.top_k = top_k
        self.batch_size = batch_size
        self.learning_decay = learning_decay
        self.learning_offset = learning_offset

    # Fitting

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the documents. Collective on a cluster.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, V)
            Counts of words.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If X holds a negative count or no word at all, or a prior has another length than it must.
        MemoryError
            If the fit does not fit.

        Notes
        -----
        An iteration costs O(nnz K).
        """
        plan = self._plan()
        documents = self._check_documents(plan, X, reset=True)
        start = None
        if self._starts_warm() and self.components_.shape == (self.n_components, documents.shape[1]):
            start = self._counts_seen()
        session = self._session(plan, documents, start)
        self._run(plan, session, problem={"X": documents})
        return self

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Ten passes over a batch of documents, on top of all batches before. Collective on a cluster.

        What the earlier batches gave to the topics stays as it is, so a document should be passed once.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, V)
        y : ignored

        Returns
        -------
        self
        """
        plan = self._plan(more=True)
        first = not hasattr(self, "components_")
        documents = self._check_documents(plan, X, reset=first)
        with plan.cluster.agree():
            if not first and len(self.components_) != self.n_components:
                raise ValueError(
                    f"n_components: the model has {len(self.components_)} topics, n_components={self.n_components}; "
                    "call fit to start anew"
                )
        start = None if first else self._counts_seen()
        session = self._session(plan, documents, start, adds=not first, n_sweeps=_SWEEPS_OF_A_BATCH)
        self._run(plan, session, problem={}, rounds=1)
        return self

    def _check_documents(self, plan: FitPlan, X: Any, *, reset: bool) -> Any:
        checked, _ = check_points(self, plan, X, reset=reset)
        with plan.cluster.agree():
            return self._as_counts(checked, "fit")

    def _as_counts(self, X: Any, method: str) -> Any:
        documents = X if scipy.sparse.issparse(X) else scipy.sparse.csr_array(X)
        if len(documents.data) and documents.data.min() < 0:
            raise ValueError(
                f"Negative values in data passed to {type(self).__name__}.{method}: X holds counts, give 0 or more"
            )
        return documents

    def _session(
        self, plan: FitPlan, documents: Any, start: NDArray[Any] | None, *, adds: bool = False, n_sweeps: int = 1
    ) -> _core.FitSession:
        n_words, k = documents.shape[1], int(self.n_components)
        with plan.cluster.agree():
            doc_topic = _prior(self.doc_topic_prior, k, k, "doc_topic_prior")
            topic_word = _prior(self.topic_word_prior, n_words, k, "topic_word_prior")
        plan.fitted["doc_topic_prior_"] = _scalar_or_array(self.doc_topic_prior, doc_topic)
        plan.fitted["topic_word_prior_"] = _scalar_or_array(self.topic_word_prior, topic_word)
        kept = 0 if self.top_k is None or self.top_k >= k else int(self.top_k)
        plan.check_memory(*self._memory(plan, documents, kept))
        params = {
            "inference": self.inference,
            "n_topics": k,
            "kept": kept,
            "doc_topic_prior": doc_topic.tolist(),
            "topic_word_prior": topic_word.tolist(),
            "schedule": plan.schedule,
            "n_threads": plan.n_threads,
            "seed": plan.seed,
            "n_sweeps": n_sweeps,
            "batch_rows": int(self.batch_size),
            "learning_decay": float(self.learning_decay),
            "learning_offset": float(self.learning_offset),
        }
        return _core.latent_dirichlet_session(params, native_rows(documents), start, adds, plan.link)

    def _memory(self, plan: FitPlan, documents: Any, kept: int) -> tuple[int, int]:
        """Bytes of the fit, and of the model."""
        (n, n_words), k, size = documents.shape, int(self.n_components), documents.dtype.itemsize
        model = k * n_words * (8 + size)
        if plan.schedule in ("batch", "svi"):
            work = documents.nnz * (4 + size) + k * n_words * 8 * (1 + plan.n_threads)
        else:
            share = 2 if documents.dtype == np.float32 else 8
            work = documents.nnz * ((kept * (share + 2) if kept else k * share) + 4 + size)
        return work + n * k * size + model, model

    def _counts_seen(self) -> NDArray[np.float64]:
        return np.ascontiguousarray(self.components_ - np.asarray(self.topic_word_prior_), dtype=np.float64)

    def _attributes(self, result: dict[str, NDArray[Any]]) -> Mapping[str, Any]:
        return {"components_": result["components"]}

    # Queries

    @property
    def exp_dirichlet_component_(self) -> NDArray[Any]:
        """exp(E[log phi]), of shape (K, V)."""
        check_is_fitted(self)
        return np.asarray(np.exp(psi(self.components_) - psi(self.components_.sum(axis=1, keepdims=True))))

    @property
    def bound_(self) -> float:
        """Lower bound on the log probability of the training words."""
        check_is_fitted(self)
        seen = self.history_["objective"][~np.isnan(self.history_["objective"])]
        return -float(seen[-1]) if len(seen) else math.nan

    @property
    def _n_features_out(self) -> int:
        return int(self.components_.shape[0])

    def transform(self, X: Any) -> NDArray[Any]:
        """Topics of documents, seen or new, the topics being held. Local on a cluster.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, V)

        Returns
        -------
        ndarray of shape (n, K)
            Rows sum to one: the mean of theta given the document. An empty document has the mean of the prior.

        Notes
        -----
        By the inference of the fit: mean field, or its collapsed counterpart without removing single tokens. Parallel
        over documents; at most 100 iterations each, O(nnz K) in all.
        """
        documents, alpha = self._folding(X, "transform")
        fold = (self.inference == "vb", _FOLD_ITERATIONS, _FOLD_TOLERANCE, resolve_n_jobs(self.n_jobs))
        gamma = _core.fold_in_topics(native_rows(documents), self.components_, alpha, *fold)
        return np.asarray(gamma / gamma.sum(axis=1, keepdims=True))

    def score(self, X: Any, y: Any = None) -> float:
        """Mean log likelihood of a token by document completion, the negative logarithm of `perplexity`.

        Collective on a cluster.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, V)
            Documents that were held out.
        y : ignored

        Returns
        -------
        score : float

        Raises
        ------
        ValueError
            If no document has two tokens.
        """
        cluster = cluster_or_alone(self.cluster)
        with cluster.agree():
            documents, alpha = self._folding(X, "score")
        fold = (_FOLD_ITERATIONS, _FOLD_TOLERANCE, resolve_n_jobs(self.n_jobs))
        mine = _core.complete_documents(native_rows(documents), self.components_, alpha, *fold)
        # Exactly rounded sums: the same number however documents are spread over ranks.
        told = cluster.gather(mine)
        likelihood, tokens = (math.fsum(np.concatenate(parts)) for parts in zip(*told, strict=True))
        if tokens == 0:
            raise ValueError("X: no document has two tokens, one to fold it in and one to evaluate")
        return likelihood / tokens

    def perplexity(self, X: Any) -> float:
        """Held-out perplexity by document completion. Collective on a cluster; equal for any number of ranks.

        Of the tokens of each document, in the order of columns, every second one from the first is observed. From these
        theta is folded in with the topics' means held, by z proportional to gamma lambda / Lambda, whichever the
        inference; the others are evaluated. The perplexity is exp(-mean log p) over these, p being the mean of theta
        times the mean of phi. (scikit-learn's method of that name gives the bound of the whole documents instead.)

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, V)
            Documents that were held out.

        Returns
        -------
        perplexity : float
        """
        return math.exp(-self.score(X))

    def _folding(self, X: Any, method: str) -> tuple[Any, list[float]]:
        check_is_fitted(self)
        documents = self._as_counts(check_rows(self, X), method)
        k = len(self.components_)
        alpha = np.broadcast_to(np.asarray(self.doc_topic_prior_, dtype=np.float64), (k,))
        return documents.astype(self.components_.dtype, copy=False), alpha.tolist()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _prior(value: float | ArrayLike | None, size: int, k: int, name: str) -> NDArray[np.float64]:
    given = np.asarray(1.0 / k if value is None else value, dtype=np.float64)
    if given.shape not in ((), (size,)):
        raise ValueError(f"{name}: has shape {given.shape}; give one number, or an array of shape ({size},)")
    if not (np.isfinite(given) & (given > 0)).all():
        raise ValueError(f"{name}: all numbers must be positive and finite")
    return np.broadcast_to(given, (size,))


def _scalar_or_array(value: float | ArrayLike | None, whole: NDArray[np.float64]) -> Any:
    return float(whole[0]) if value is None or np.ndim(value) == 0 else np.array(whole)
