from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

__version__: str

class ClusterError(RuntimeError):
    rank: int

def build_info() -> dict[str, str]: ...

class Link:
    @property
    def rank(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def timeout(self) -> float: ...
    def allgather(self, mine: bytes) -> list[bytes]: ...

class LocalLink(Link):
    def __init__(self) -> None: ...

def make_thread_links(size: int, timeout: float = 60.0) -> list[Link]: ...

class Progress:
    @property
    def updates(self) -> int: ...
    @property
    def loss(self) -> float: ...
    @property
    def stopped(self) -> bool: ...

class FitSession:
    @property
    def rounds_done(self) -> int: ...
    @property
    def converged(self) -> bool: ...
    def advance(self, rounds: int, callback: Callable[[], bool] | None = None) -> Progress: ...
    def objective(self, callback: Callable[[], bool] | None = None) -> float: ...
    def state(self) -> dict[str, NDArray[Any]]: ...
    def restore(self, state: dict[str, NDArray[Any]]) -> None: ...
    def result(self) -> dict[str, NDArray[Any]]: ...

def check_csr(indptr: NDArray[Any], indices: NDArray[Any], n_values: int, n_columns: int, name: str) -> None: ...
def read_svmlight(
    source: int | bytes,
    name: str,
    *,
    float64: bool,
    offset: int = 0,
    length: int = ...,
    lines_before: int = 0,
    lowest_index: int = 0,
    multilabel: bool = False,
    query_id: bool = False,
    keep: bool = True,
    piece_bytes: int = 2**20,
    n_threads: int,
) -> dict[str, Any]: ...
def read_ratings(
    source: int | bytes,
    name: str,
    *,
    float64: bool,
    separator: str,
    user_column: int,
    item_column: int,
    value_column: int,
    header_lines: int,
    duplicates: str,
    piece_bytes: int = 2**20,
    n_threads: int,
) -> dict[str, Any]: ...
def read_bag_of_words(
    source: int | bytes,
    name: str,
    *,
    format: str,
    header_bytes: int = 0,
    offset: int = 0,
    length: int = ...,
    lines_before: int = 0,
    first: int,
    n_documents: int = 2**31 - 1,
    n_words: int = 2**31 - 1,
    keep: bool = True,
    piece_bytes: int = 2**20,
    n_threads: int,
) -> dict[str, Any]: ...
def last_document_start(text: bytes) -> int: ...
def multinomial_logistic_session(
    X: Any,
    labels: NDArray[Any],
    weights: NDArray[Any],
    *,
    link: Link,
    alpha: float,
    solver: str,
    fit_intercept: bool,
    damping: float,
    n_classes: int,
    schedule: str,
    n_threads: int,
    n_shards: int = 0,
    seed: int,
    total_weight: float,
    prior_weight: float = 0.0,
    n_sweeps: int = 1,
    keep_dual: bool = False,
    start_weights: NDArray[Any] | None = None,
    start_intercept: NDArray[Any] | None = None,
    start_dual: NDArray[Any] | None = None,
) -> FitSession: ...
def linear_scores(X: Any, weights: NDArray[Any], intercept: NDArray[Any], n_threads: int) -> NDArray[Any]: ...
def linear_topk(
    X: Any, weights: NDArray[Any], intercept: NDArray[Any], k: int, n_threads: int
) -> tuple[NDArray[Any], NDArray[Any]]: ...
def matrix_factorization_session(
    params: dict[str, Any], ratings: Any, start: dict[str, Any] | None, link: Link
) -> FitSession: ...
def top_items(
    users: NDArray[Any], items: NDArray[Any], offset: NDArray[Any], n: int, excluded: Any, n_threads: int
) -> tuple[NDArray[Any], NDArray[Any]]: ...
def pair_products(
    users: NDArray[Any], items: NDArray[Any], u: NDArray[Any], i: NDArray[Any], n_threads: int
) -> NDArray[Any]: ...
def fold_in(
    params: dict[str, Any], ratings: Any, items: NDArray[Any], item_bias: NDArray[Any], mean: float
) -> tuple[NDArray[Any], NDArray[Any]]: ...
def itml_session(
    points: NDArray[Any],
    pairs: NDArray[Any],
    sign: NDArray[Any],
    target: NDArray[Any],
    *,
    start_dual: NDArray[Any] | None = None,
    prior: NDArray[Any] | None = None,
    link: Link,
    gamma: float,
    in_parallel: bool = False,
    form: str = "auto",
    block: int = 0,
    n_threads: int = 1,
) -> FitSession: ...
def gmml_session(
    points: NDArray[Any],
    pairs: NDArray[Any],
    sign: NDArray[Any],
    *,
    prior: NDArray[Any] | None = None,
    prior_inverse: NDArray[Any] | None = None,
    link: Link,
    t: float,
    reg: float,
    n_threads: int = 1,
) -> FitSession: ...
def pair_squared_distances(points: NDArray[Any], pairs: NDArray[Any], n_threads: int = 1) -> NDArray[Any]: ...
def itml_form(n_points: int, n_pairs: int, n_features: int) -> str: ...
def ranking_order(X: NDArray[Any], query: NDArray[Any], grade: NDArray[Any], weight: NDArray[Any]) -> NDArray[Any]: ...
def local_gmml_session(
    X: NDArray[Any],
    order: NDArray[Any],
    grade: NDArray[Any],
    weight: NDArray[Any],
    offsets: NDArray[Any],
    number: NDArray[Any],
    start: tuple[NDArray[Any], list[NDArray[Any]], NDArray[Any]] | None,
    *,
    link: Link,
    n_metrics: int,
    sample_size: int,
    rho: float,
    reg: float,
    t: float,
    distance_form: bool,
    per_query: bool,
    validation_fraction: float,
    patience: int,
    tol: float,
    seed: int,
    n_threads: int,
) -> FitSession: ...
def local_gmml_scores(
    X: NDArray[Any],
    model: tuple[NDArray[Any], list[NDArray[Any]], NDArray[Any]],
    rho: float,
    distance_form: bool,
    n_threads: int,
) -> NDArray[Any]: ...
def ndcg(
    scores: NDArray[Any], gains: NDArray[Any], offsets: NDArray[Any], k: int, n_threads: int = 1
) -> NDArray[Any]: ...
def sliced_distances(
    X: NDArray[Any],
    Y: NDArray[Any],
    x_weights: NDArray[Any] | None,
    y_weights: NDArray[Any] | None,
    directions: NDArray[Any],
    *,
    p: float,
    block_columns: int = 0,
    n_threads: int,
    link: Link,
) -> NDArray[Any]: ...
def power_mean(distances: NDArray[Any], p: float) -> float: ...
def sorted_targets(X: NDArray[Any], Y: NDArray[Any], *, n_threads: int, link: Link) -> NDArray[Any]: ...
def random_directions(
    n_features: int, n_projections: int, *, seed: int, single: bool, n_threads: int
) -> NDArray[Any]: ...
def pair_directions(
    X: NDArray[Any], Y: NDArray[Any], n_projections: int, *, seed: int, n_threads: int
) -> NDArray[Any]: ...
def set_device_kernels(capsule: Any) -> None: ...
def dlpack_contents(capsule: Any) -> tuple[int, tuple[int, ...], tuple[int, ...], str, int, int]: ...
def dlpack_capsule(
    owner: Any, pointer: int, shape: tuple[int, ...], strides: tuple[int, ...], typestr: str, device: tuple[int, int]
) -> Any: ...
def assign_cells(
    X: NDArray[Any],
    sites: NDArray[Any],
    potential: NDArray[Any],
    *,
    squared: bool,
    with_costs: bool,
    n_threads: int,
) -> tuple[NDArray[Any], NDArray[Any]]: ...
def semi_discrete_session(
    X: NDArray[Any],
    weights: NDArray[Any] | None,
    sites: NDArray[Any],
    *,
    link: Link,
    ends: list[int],
    measure_weights: list[float],
    site_weights: NDArray[Any] | None,
    start: NDArray[Any] | None,
    start_reg: float,
    squared: bool,
    reg: float,
    tol: float,
    batch_rows: int,
    n_threads: int,
    on_device: bool,
) -> FitSession: ...
def mixture_session(
    X: NDArray[Any],
    weights: NDArray[Any] | None,
    *,
    link: Link,
    labels: NDArray[Any] | None,
    start: NDArray[Any] | None,
    keep: bool,
    centre: NDArray[Any],
    mean_prior: NDArray[Any],
    covariance_prior: NDArray[Any],
    n_components: int,
    full: bool,
    concentration: float,
    mean_precision: float,
    dof: float,
    blur: float,
    schedule: str,
    n_threads: int,
    n_shards: int = 0,
    seed: int,
    total_weight: float,
    batch_rows: int = 1024,
    learning_decay: float = 0.7,
    learning_offset: float = 10.0,
) -> FitSession: ...
def mixture_answers(
    X: NDArray[Any],
    constants: NDArray[Any],
    means: NDArray[Any],
    factors: NDArray[Any],
    what: str,
    n_threads: int,
) -> NDArray[Any]: ...
def latent_dirichlet_session(
    params: dict[str, Any], documents: Any, start: NDArray[Any] | None, adds: bool, link: Link
) -> FitSession: ...
def fold_in_topics(
    documents: Any,
    components: NDArray[Any],
    doc_topic_prior: list[float],
    mean_field: bool,
    max_iter: int,
    tol: float,
    n_threads: int,
) -> NDArray[Any]: ...
def complete_documents(
    documents: Any, components: NDArray[Any], doc_topic_prior: list[float], max_iter: int, tol: float, n_threads: int
) -> tuple[NDArray[Any], NDArray[Any]]: ...
