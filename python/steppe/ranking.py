"""Learning to rank: estimators with ``fit(X, y, qid)``."""

from __future__ import annotations

from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import scipy.sparse
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from steppe import _core
from steppe._base import BaseSteppeEstimator
from steppe._plan import resolve_n_jobs
from steppe._queries import RankingData, check_ranking
from steppe._validation import check_rows
from steppe.metric._mahalanobis import blas_threads
from steppe.metrics import ndcg_score

if TYPE_CHECKING:
    from os import PathLike

    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self

    from steppe._plan import FitPlan
    from steppe.parallel import Cluster

__all__ = ["LocalGMMLRanker"]


class LocalGMMLRanker(BaseSteppeEstimator):
    r"""Localized geometric mean metric learning to rank: a few local distances in closed form, combined by WARP.

    Each of m metrics is learned from some queries drawn at random: S, the mean difference of documents of one grade
    above 0, and D, that of documents of different grades (by the gap), give :math:`A_r = S^{-1} \#_t D`, as in
    :class:`~steppe.metric.GMML`. Its anchor :math:`p_r` is the relevant document by whose distance the other documents
    of these and further queries are ranked best (NDCG\@10). :math:`A_r` is scaled so that the median squared distance
    of the training documents to the anchor is 1. The score of a document is

    .. math:: f(p) = \sum_r \phi_r w_r(p), \quad w_r(p) = \exp(-\tfrac{\rho}{2} (p - p_r)' A_r (p - p_r)),

    with :math:`\phi \ge 0` trained by WARP: for each relevant document, less relevant ones of its query are drawn until
    one comes within the margin, and a step is made by the rank that the number of draws suggests.

    Parameters
    ----------
    n_metrics : int, default=8
    rho : float, default=1.0
        How fast a document's weight falls with its squared distance to an anchor.
    reg : float, default=1e-3
        Added to both matrices, relative to the mean squared difference of a feature; where a sample has fewer documents
        than features, of a direction in which they differ.
    t : float in [0, 1], default=0.5
        Where on the geodesic from :math:`S^{-1}` (0) to D (1) the metrics lie.
    form : {"score", "distance"}, default="score"
        "distance" takes :math:`f(p) = -\sum_r \phi_r (p - p_r)' A_r (p - p_r)`.
    phi : {"shared", "per_query"}, default="shared"
        Whether the training queries share :math:`\phi` or each has its own, of which new queries take the mean.
    sample_size : int, default=64
        Whole queries are drawn for a metric until they have so many documents; four times as many judge the anchor.
    early_stopping : bool, default=False
        Whether to hold queries out, and to end when their NDCG\@10 rises no more; the weights are then those at its
        best.
    validation_fraction : float, default=0.1
        About how many of the queries to hold out.
    n_iter_no_change : int, default=3
        How many iterations without a rise by more than ``tol`` end the fit.
    schedule : {"auto", "serial", "bsp"}, default="auto"
        One thread, or all of them; the result is the same.
    max_iter : int, default=100
        Largest number of passes over the relevant documents.
    tol : float, default=1e-3
        The fit ends when a pass changes the objective by at most ``tol`` times its size.
    n_jobs : int or None, default=None
        Threads on this process, as in scikit-learn.
    cluster : steppe.parallel.Cluster or None, default=None
        Ranks that fit one ranker together; each passes its own rows. Rows of a query that several ranks hold are moved
        to the first of them. The ranks share out the metrics and the queries.
    device : {"cpu", "auto"}, default="cpu"
    random_state : int, RandomState instance or None, default=None
        Fixes which queries and documents are drawn.
    warm_start : bool, default=False
        Keep the metrics and anchors of the last fit, if their number and the features are the same, and start from its
        weights.
    checkpoint : path or None, default=None
        Where to keep the progress: a killed job resumes when fit is called again with the same path.
    callbacks : callable, list of callables or None, default=None
        Called after every pass; one that returns True ends the fit.
    verbose : int, default=0
        1 prints a line a pass on rank 0.

    Attributes
    ----------
    anchors_ : ndarray of shape (n_metrics, D)
    metrics_ : list of n_metrics ndarrays of shape (D, D)
        Components L of :math:`A_r = L'L`, scaled.
    weights_ : ndarray of shape (n_metrics,)
        :math:`\phi`; with ``phi="per_query"`` its mean.
    query_weights_ : ndarray of shape (n_queries, n_metrics)
        Only with ``phi="per_query"``: of the queries of all ranks, in the order of sorted ids.
    n_iter_ : int
    history_ : structured ndarray of shape (n_iter_,)
        Fields ``iteration``, ``seconds``, ``objective`` (the WARP loss of scores scaled so that at first they range
        over 1 in a query, on average; nan where not evaluated), ``updates`` (relevant documents visited) and ``ndcg``
        (mean NDCG\@10 of the training queries, or of those held out; nan where not evaluated).
    n_features_in_ : int
    feature_names_in_ : ndarray of str

    Notes
    -----
    The result depends neither on the order of documents and queries nor on the number of threads; on that of ranks by
    rounding only. Metrics cost m min(D, s)^3 + m D^2 s operations for samples of s documents, distances
    2 n m D min(D, s), a pass of WARP n m, and its loss one for each pair of documents of a query. Sparse rows are made
    dense. Scale the features: in S and D they count as they are. A weight that underflows is 0: documents far from all
    anchors tie at the end.

    References
    ----------
    .. [1] Y. Su, I. King, M. Lyu, "Learning to rank using localized geometric mean metrics", SIGIR 2017.
    .. [2] J. Weston, S. Bengio, N. Usunier, "WSABIE: scaling up to large vocabulary image annotation", IJCAI 2011.

    Examples
    --------
    >>> import numpy as np
    >>> from steppe.ranking import LocalGMMLRanker
    >>> rng = np.random.default_rng(0)
    >>> X, qid = rng.normal(size=(200, 5)), np.repeat(np.arange(20), 10)
    >>> y = (X[:, 0] > 0).astype(int) + (X[:, 0] > 1)
    >>> LocalGMMLRanker(random_state=0).fit(X, y, qid).predict(X).shape
    (200,)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseSteppeEstimator._parameter_constraints,
        "n_metrics": [Interval(Integral, 1, None, closed="left")],
        "rho": [Interval(Real, 0, None, closed="neither")],
        "reg": [Interval(Real, 0, None, closed="neither")],
        "t": [Interval(Real, 0, 1, closed="both")],
        "form": [StrOptions({"score", "distance"})],
        "phi": [StrOptions({"shared", "per_query"})],
        "sample_size": [Interval(Integral, 2, 2**31, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, 2**31, closed="left")],
    }
    _schedules: ClassVar[tuple[str, ...]] = ("serial", "bsp")
    _auto_schedule: ClassVar[str] = "bsp"

    def __init__(
        self,
        n_metrics: int = 8,
        *,
        rho: float = 1.0,
        reg: float = 1e-3,
        t: float = 0.5,
        form: str = "score",
        phi: str = "shared",
        sample_size: int = 64,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 3,
        schedule: str = "auto",
        max_iter: int = 100,
        tol: float = 1e-3,
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
        self.n_metrics = n_metrics
        self.rho = rho
        self.reg = reg
        self.t = t
        self.form = form
        self.phi = phi
        self.sample_size = sample_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change

    def fit(
        self,
        X: Any,
        y: ArrayLike,
        qid: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        group_weight: ArrayLike | None = None,
    ) -> Self:
        """Learn to rank. Collective on a cluster.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, D)
            Documents. float32 or float64; anything else is computed in float64.
        y : array-like of shape (n,)
            Grades of relevance, 0 or more.
        qid : array-like of shape (n,) or None, default=None
            The query of each document, in any order; None makes all documents one query.
        sample_weight : array-like of shape (n,) or None, default=None
            A pair of documents counts by the weight of the more relevant one.
        group_weight : array-like of shape (n_queries,) or None, default=None
            A weight for each query of this rank, in the order of sorted ids; it multiplies those of the documents.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the data or a parameter does not make sense, or no query has documents of different grades.
        MemoryError
            If the fit does not fit.
        """
        plan = self._plan()
        data = check_ranking(self, plan, X, y, qid, sample_weight, group_weight)
        plan.check_memory(*self._bytes(data))
        with blas_threads().limit(limits=1, user_api="blas"):
            self._run(plan, self._session(plan, data), problem=data.identity)
        return self

    def _session(self, plan: FitPlan, data: RankingData) -> _core.FitSession:
        shape = (self.n_metrics, data.X.shape[1])
        warm = self._starts_warm() and self.anchors_.shape == shape and self.anchors_.dtype == data.X.dtype
        return _core.local_gmml_session(
            data.X,
            data.order,
            data.grades,
            data.weights,
            data.offsets,
            data.numbers,
            self._model() if warm else None,
            link=plan.link,
            n_metrics=int(self.n_metrics),
            sample_size=int(self.sample_size),
            rho=float(self.rho),
            reg=float(self.reg),
            t=float(self.t),
            distance_form=self.form == "distance",
            per_query=self.phi == "per_query",
            validation_fraction=float(self.validation_fraction) if self.early_stopping else 0.0,
            patience=int(self.n_iter_no_change),
            tol=float(self.tol),
            seed=plan.seed,
            n_threads=plan.n_threads,
        )

    def _model(self) -> tuple[NDArray[Any], list[NDArray[Any]], NDArray[Any]]:
        return self.anchors_, self.metrics_, self.weights_

    def _bytes(self, data: RankingData) -> tuple[int, int]:
        """About what a fit allocates, and what its model takes."""
        (n, d), item, m = data.X.shape, int(data.X.dtype.itemsize), int(self.n_metrics)
        model = m * d * (d + 1) * item
        samples = m * min(4 * int(self.sample_size), n) * d * item
        return 3 * model + samples + 16 * n * m + 3 * 8 * d * min(d, n), model

    def _attributes(self, result: dict[str, NDArray[Any]]) -> dict[str, Any]:
        attributes = {
            "anchors_": result["anchors"],
            "metrics_": list(result["components"]),
            "weights_": result["weights"],
            "history.ndcg": result["ndcg"],
        }
        if "query_weights" in result:
            attributes["query_weights_"] = result["query_weights"]
        return attributes

    def predict(self, X: Any) -> NDArray[Any]:
        """Score documents; only the order within a query means something.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, D)

        Returns
        -------
        ndarray of shape (n,)
            The larger, the more relevant.
        """
        check_is_fitted(self)
        rows = check_rows(self, X)
        dtype = self.anchors_.dtype
        rows = np.ascontiguousarray(rows.toarray() if scipy.sparse.issparse(rows) else rows, dtype=dtype)
        with blas_threads().limit(limits=1, user_api="blas"):
            return _core.local_gmml_scores(
                rows, self._model(), float(self.rho), self.form == "distance", resolve_n_jobs(self.n_jobs)
            )

    def score(self, X: Any, y: ArrayLike, qid: ArrayLike | None = None) -> float:
        r"""Mean NDCG\@10 over the queries, with gains 2^grade - 1; queries without a relevant document do not count.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, D)
        y : array-like of shape (n,)
            Grades of relevance, 0 or more.
        qid : array-like of shape (n,) or None, default=None
            The query of each document; None makes all documents one query.

        Returns
        -------
        float
            nan if no query has a relevant document.
        """
        return ndcg_score(y, self.predict(X), qid, k=10)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.positive_only = True
        return tags
