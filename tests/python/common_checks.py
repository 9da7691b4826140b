"""What every estimator of steppe must do. An estimator joins with one line in CASES.

`test_base_common.py` runs each check below on each case, and scikit-learn's own checks beside them.
"""

from __future__ import annotations

import copy
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

import steppe
from steppe.parallel import Cluster

N_ITER = 6


def labelled(n_rows=60, n_columns=5, *, dtype=np.float64, seed=0, sparse=False):
    """Rows with three classes that a linear model can tell apart."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, n_columns)).astype(dtype)
    y = np.argmax(X[:, :3], axis=1)
    return (scipy.sparse.csr_array(X) if sparse else X), y


def unlabelled(n_rows=60, n_columns=5, *, dtype=np.float64, seed=0):
    """The rows of `labelled`, for models without targets."""
    return labelled(n_rows, n_columns, dtype=dtype, seed=seed)[:1]


def ratings(n_rows=60, n_columns=20, *, dtype=np.float64, seed=0, sparse=True):
    """A sparse matrix of users by items with planted ratings."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(n_rows, 3)) @ rng.normal(size=(3, n_columns))
    return (scipy.sparse.csr_array(np.where(rng.random(truth.shape) < 0.4, truth, 0).astype(dtype)),)


def documents(n_rows=60, n_columns=20, *, dtype=np.float64, seed=0):
    """Counts of words that two out of three kinds of documents share."""
    rng = np.random.default_rng(seed)
    kinds = np.array([np.roll(np.linspace(4, 0, n_columns), kind * n_columns // 3) for kind in range(3)])
    shares = rng.dirichlet(np.full(3, 0.3), size=n_rows)
    return (rng.poisson(shares @ kinds).astype(dtype),)


@dataclass(frozen=True)
class Case:
    """One estimator under test.

    Attributes
    ----------
    path : str
        Module and class, imported when the checks run.
    params : dict
        Parameters other than the common ones.
    data : callable
        ``data(n_rows, n_columns, dtype=, seed=)`` -> arguments of fit.
    schedules : tuple of str
        Those that the estimator runs on with these parameters.
    examples : bool
        Whether rows are examples, so that scikit-learn's checks and bad rows make sense. False for ratings.
    iterative : bool
        Whether `max_iter` counts for something. False for a closed form: one iteration, which no check interrupts.
    cluster_tolerance : float
        How far, relatively, the objective that ranks reach may be from that of one process after ten iterations.
    expected_failures : dict of str to str
        Checks of scikit-learn that fail, and why they must.
    """

    path: str
    params: dict[str, Any] = field(default_factory=dict)
    data: Callable[..., tuple[Any, ...]] = labelled
    schedules: tuple[str, ...] = ("serial", "bsp", "nomad")
    examples: bool = True
    iterative: bool = True
    cluster_tolerance: float = 0.05
    expected_failures: dict[str, str] = field(default_factory=dict)

    def make(self, **params: Any) -> Any:
        """A new estimator with quick and deterministic parameters."""
        module, _, name = self.path.partition(":")
        if module == "steppe.tiny_model":
            import tiny_model  # noqa: F401 - puts itself into steppe
        estimator = getattr(sys.modules.get(module) or __import__(module, fromlist=[name]), name)
        return estimator(**{"random_state": 0, **self.params, **params})

    def rounds(self, n: int) -> int:
        """Iterations of a fit with ``max_iter=n``."""
        return n if self.iterative else 1

    def __str__(self) -> str:
        return ",".join([self.path.partition(":")[2], *map(str, self.params.values())])


SAMPLES = {
    f"check_sample_weight_equivalence_on_{kind}_data": "pairs of documents are drawn at random, and a document that occurs "
    "twice is no document of weight 2 for NDCG"
    for kind in ("dense", "sparse")
}
DRAWN_SITES = {
    f"check_sample_weight_equivalence_on_{kind}_data": "without sites= they are drawn from the rows, which differ"
    for kind in ("dense", "sparse")
}

CASES = [
    Case("steppe.tiny_model:TinySoftmax"),
    # Rows are visited in random order, so a weight of 2 equals the row twice at the optimum only: go there.
    Case("steppe.linear_model:MultinomialLogisticRegression", {"alpha": 1e-2, "max_iter": 300, "tol": 0}),
    Case("steppe.linear_model:MultinomialLogisticRegression", {"solver": "softmax"}),
    Case("steppe.metric:GMML", schedules=("serial", "bsp"), iterative=False, cluster_tolerance=1e-12),
    Case("steppe.metric:ITML", schedules=("serial", "bsp"), cluster_tolerance=1e-12),
    Case("steppe.metric:ITML", {"solver": "parallel"}, schedules=("serial", "bsp"), cluster_tolerance=1e-12),
    Case(
        "steppe.ranking:LocalGMMLRanker", schedules=("serial", "bsp"), cluster_tolerance=1e-9, expected_failures=SAMPLES
    ),
    Case(
        "steppe.ranking:LocalGMMLRanker",
        {"form": "distance", "phi": "per_query"},
        schedules=("serial", "bsp"),
        cluster_tolerance=1e-9,
        expected_failures=SAMPLES,
    ),
    Case(
        "steppe.ot:SemiDiscreteOT",
        data=unlabelled,
        schedules=("serial", "bsp"),
        cluster_tolerance=1e-6,
        expected_failures=DRAWN_SITES,
    ),
    Case(
        "steppe.ot:SemiDiscreteOT",
        {"reg": 0.3},
        unlabelled,
        schedules=("serial", "bsp"),
        cluster_tolerance=1e-6,
        expected_failures=DRAWN_SITES,
    ),
    Case("steppe.recommend:MatrixFactorization", {"n_factors": 4}, ratings, examples=False, cluster_tolerance=0.1),
    Case("steppe.recommend:MatrixFactorization", {"n_factors": 4, "solver": "als"}, ratings, examples=False),
    Case("steppe.topics:LatentDirichletAllocation", {"n_components": 3}, documents),
    Case("steppe.topics:LatentDirichletAllocation", {"n_components": 3, "inference": "cvb0"}, documents),
    Case("steppe.topics:LatentDirichletAllocation", {"n_components": 3, "inference": "cvb0", "top_k": 2}, documents),
]


def fitted_arrays(estimator: Any) -> dict[str, np.ndarray]:
    """The fitted parameters, without what measures time."""
    return {
        name: value
        for name, value in vars(estimator).items()
        if name.endswith("_") and name != "history_" and isinstance(value, np.ndarray)
    }


def assert_same_fit(one: Any, other: Any, *, exact: bool = True) -> None:
    """Equal fitted parameters: the same bits, or within rounding."""
    ours, theirs = fitted_arrays(one), fitted_arrays(other)
    assert ours.keys() == theirs.keys()
    assert ours
    for name, value in ours.items():
        assert value.dtype == theirs[name].dtype, name
        if exact or value.dtype.kind not in "fc":
            np.testing.assert_array_equal(value, theirs[name], err_msg=name)
        else:
            np.testing.assert_allclose(value, theirs[name], rtol=1e-6, atol=1e-8, err_msg=name)


def check_fit_resets(case: Case) -> None:
    """Two fits with different shapes: the second is as if there had been no first."""
    small, large = case.data(40, 4), case.data(70, 9, seed=1)
    twice = case.make(max_iter=N_ITER, tol=0).fit(*small).fit(*large)
    assert_same_fit(twice, case.make(max_iter=N_ITER, tol=0).fit(*large))
    assert len(twice.history_) == case.rounds(N_ITER)


def check_dtype_is_kept(case: Case) -> None:
    """float32 in: computed and returned in float32; float64 likewise; others become float64."""
    for given, kept in ((np.float32, np.float32), (np.float64, np.float64), (np.int64, np.float64)):
        model = case.make(max_iter=2, tol=0).fit(*case.data(50, 6, dtype=given))
        floats = {name: a.dtype for name, a in fitted_arrays(model).items() if a.dtype.kind == "f"}
        assert floats
        assert set(floats.values()) == {np.dtype(kept)}, floats


def check_history(case: Case) -> None:
    """One row an iteration, rising; finite objectives that end below where they began."""
    model = case.make(max_iter=12, tol=0).fit(*case.data())
    history = model.history_
    assert history.dtype.names[:4] == ("iteration", "seconds", "objective", "updates")
    np.testing.assert_array_equal(history["iteration"], np.arange(1, 13))
    assert (np.diff(history["seconds"]) >= 0).all()
    assert (np.diff(history["updates"]) > 0).all()
    evaluated = history["objective"][~np.isnan(history["objective"])]
    assert len(evaluated) >= 2
    assert not np.isnan(history["objective"][[0, -1]]).any()
    assert evaluated[-1] < evaluated[0]


def check_tolerance(case: Case) -> None:
    """tol=0 runs all of max_iter; a large tol ends early; one not met in time warns."""
    data = case.data()
    assert case.make(max_iter=N_ITER, tol=0).fit(*data).n_iter_ == N_ITER
    assert case.make(max_iter=50, tol=0.9).fit(*data).n_iter_ < 50
    with pytest.warns(ConvergenceWarning, match="max_iter=2"):
        case.make(max_iter=2, tol=1e-15).fit(*data)


def check_callbacks(case: Case) -> None:
    """A callback is told of every iteration, stops the fit by True, and may raise; the fit stays usable."""
    data, seen = case.data(), []

    def stop_at_three(info: Any) -> bool:
        seen.append((info.iteration, info["objective"], info.seconds, info.updates))
        return info.iteration == 3

    model = case.make(max_iter=N_ITER, tol=0, callbacks=stop_at_three).fit(*data)
    assert model.n_iter_ == 3
    assert [row[0] for row in seen] == [1, 2, 3]
    np.testing.assert_allclose([row[1] for row in seen], model.history_["objective"])
    assert_same_fit(model, case.make(max_iter=3, tol=0).fit(*data))

    snapshots = []
    model.set_params(callbacks=[lambda info: snapshots.append(info.fitted_estimator())]).fit(*data)
    assert_same_fit(snapshots[-1], model)

    def fail(info: Any) -> None:
        raise LookupError("from the callback")

    model = case.make(max_iter=N_ITER, callbacks=fail)
    with pytest.raises(LookupError, match="from the callback"):
        model.fit(*data)
    assert model.n_iter_ == 1


def check_determinism(case: Case) -> None:
    """serial and bsp: the same seed gives the same bits, another seed does not have to."""
    data = case.data()
    for schedule, n_jobs in layouts(case):
        fits = [case.make(max_iter=4, tol=0, schedule=schedule, n_jobs=n_jobs).fit(*data) for _ in range(2)]
        assert_same_fit(*fits)


def layouts(case: Case) -> list[tuple[str, int]]:
    return [(s, n) for s, n in (("serial", 1), ("bsp", 1), ("bsp", 2)) if s in case.schedules]


def check_checkpoint(case: Case, directory: Path) -> None:
    """A job that dies resumes and ends with the same bits; another job's checkpoint is refused."""

    def die(info: Any) -> None:
        if info.iteration == 3:
            raise KeyboardInterrupt

    data = case.data()
    for schedule, n_jobs in layouts(case):
        path = directory / f"{schedule}{n_jobs}"
        common = {"max_iter": N_ITER, "tol": 0, "schedule": schedule, "n_jobs": n_jobs}
        killed = case.make(**common, checkpoint=path, callbacks=die)
        type(killed)._checkpoint_seconds, usual = 0.0, type(killed)._checkpoint_seconds
        try:
            with pytest.raises(KeyboardInterrupt):
                killed.fit(*data)
        finally:
            type(killed)._checkpoint_seconds = usual
        seen = []
        resumed = case.make(**common, checkpoint=path, callbacks=lambda info, seen=seen: seen.append(info.iteration))
        resumed.fit(*data)
        assert seen == list(range(3, N_ITER + 1)), "resumes after the last checkpoint, which is of iteration 2"
        assert_same_fit(resumed, case.make(**common).fit(*data))
        assert len(resumed.history_) == N_ITER

        with pytest.raises(ValueError, match=r"belongs to another fit: .*data X was"):
            case.make(**common, checkpoint=path).fit(*case.data(50, 6, seed=3))
        with pytest.raises(ValueError, match=r"seed was"):
            case.make(**common, checkpoint=path, random_state=1).fit(*data)
        unseeded = case.make(**common, checkpoint=path, random_state=None).fit(*data)  # takes the seed of the file
        assert_same_fit(unseeded, resumed)


def check_save_load(case: Case, directory: Path) -> None:
    """save and load give the same model back, whether read or mapped; so do pickle and copy."""
    path = directory / "model"
    model = case.make(max_iter=3, tol=0).fit(*case.data())
    model.save(path)
    copies = [
        steppe.load(path), steppe.load(path, mmap=True), type(model).load(path),
        pickle.loads(pickle.dumps(model)), copy.deepcopy(model),
    ]  # fmt: skip
    for other in copies:
        assert type(other) is type(model)
        assert other.get_params() == model.get_params()
        assert_same_fit(model, other)
        assert other.n_iter_ == model.n_iter_
        assert str(other.history_) == str(model.history_), "as text: nan differs from nan"
        if case.examples:
            X = case.data(seed=5)[0]
            verb = "predict" if hasattr(model, "predict") else "transform"
            np.testing.assert_array_equal(getattr(other, verb)(X), getattr(model, verb)(X))


def check_warm_start(case: Case) -> None:
    """warm_start goes on from where the last fit ended: its first objective is below that of a cold start."""
    data = case.data()
    model = case.make(max_iter=20, tol=0, warm_start=True).fit(*data)
    cold = model.history_["objective"][0]
    model.set_params(max_iter=1).fit(*data)
    assert model.n_iter_ == 1
    assert model.history_["objective"][0] < cold


def check_clone(case: Case) -> None:
    """A clone has the parameters and none of the fit."""
    model = case.make(max_iter=2, tol=0).fit(*case.data())
    other = clone(model)
    assert other.get_params() == model.get_params()
    assert not fitted_arrays(other)


def check_interrupt(case: Case) -> None:
    """Ctrl-C ends a fit with KeyboardInterrupt and leaves the estimator usable."""
    script = f"""
        import sys, warnings
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import common_checks
        case = next(c for c in common_checks.CASES if str(c) == {str(case)!r})
        for schedule, n_jobs in [("serial", 1), ("nomad", 2)]:
            if schedule not in case.schedules:
                continue
            model = case.make(max_iter=10**9, tol=0, schedule=schedule, n_jobs=n_jobs)
            try:
                print("fitting", flush=True)
                model.fit(*case.data(2000, 50))
                sys.exit("fit ended by itself")
            except KeyboardInterrupt:
                assert common_checks.fitted_arrays(model)
                assert len(model.history_) == model.n_iter_
                print("interrupted", flush=True)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deaf = threading.Timer(120, process.kill)
        deaf.start()
        for line in process.stdout or ():
            if line.strip() == "fitting":
                # Some time inside fit; whether native code or Python is at work, Ctrl-C must end it.
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(0.5)
                process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
        deaf.cancel()
    assert process.returncode == 0, errors


def broken_rows(X: np.ndarray) -> dict[str, tuple[Any, str]]:
    """Bad X by name, with a word that the error must say."""
    csr = scipy.sparse.csr_array(X)
    holes, endless = X.copy(), X.copy()
    holes[1, 1], endless[1, 1] = np.nan, np.inf
    unsorted, twice, outside = csr.copy(), csr.copy(), csr.copy()
    first, second = csr.indices[0], csr.indices[1]
    unsorted.indices[:2] = second, first
    unsorted.has_sorted_indices = True
    twice.indices[1] = first
    outside.indices[1] = csr.shape[1] + 7
    wide = scipy.sparse.csr_array(
        (csr.data, csr.indices.astype(np.int64), csr.indptr.astype(np.int64)), shape=(csr.shape[0], 2**33)
    )
    return {
        "NaN": (holes, "NaN"),
        "NaN in a sparse matrix": (scipy.sparse.csr_array(holes), "NaN"),
        "infinity": (endless, "infinity"),
        "no rows": (X[:0], "row"),
        "no columns": (X[:, :0], "column"),
        "one axis": (X[0], "2D array"),
        "three axes": (X[None], "dim 3"),
        "unsorted": (unsorted, "sort_indices"),
        "duplicates": (twice, "sum_duplicates"),
        "out of range": (outside, "column number"),
        "too wide": (wide, "32 bits"),
        "strings": (np.full(X.shape, "a"), "convert string to float|must have dtype|strings"),
        "complex": (X * 1j, "[Cc]omplex"),
    }


def check_bad_rows(case: Case) -> None:
    """Every kind of bad X is a ValueError that says what is wrong; so is X.T."""
    X, *rest = case.data()
    dense = X.toarray() if scipy.sparse.issparse(X) else X
    for name, (bad, words) in broken_rows(dense).items():
        print(name)
        with pytest.raises(ValueError, match=words):
            case.make(max_iter=2).fit(bad, *rest)
    if rest:
        square = dense.T[:, : len(rest[0])]
        with pytest.raises(ValueError, match="transposed"):
            case.make(max_iter=2).fit(square, *rest)


def check_bad_parameters(case: Case) -> None:
    """A bad common parameter is an error that names it."""
    data = case.data()
    bad = {
        "schedule": "async", "max_iter": 0, "tol": -1.0, "n_jobs": 0, "device": "abacus", "random_state": "x",
        "checkpoint": 3, "verbose": -1, "cluster": "world", "callbacks": 3,
    }  # fmt: skip
    for name, value in bad.items():
        with pytest.raises((ValueError, TypeError), match=name):
            case.make(**{name: value}).fit(*data)
    with pytest.raises(ValueError, match="device='cpu'"):
        case.make(device="cuda").fit(*data)
    case.make(device="auto", max_iter=1, tol=0).fit(*data)


def check_formats(case: Case) -> None:
    """CSR, CSC, COO, matrix or array, with 32- or 64-bit indices: the same fit."""
    X, *rest = case.data()
    csr = scipy.sparse.csr_array(X)
    wide = csr.copy()
    wide.indices, wide.indptr = csr.indices.astype(np.int64), csr.indptr.astype(np.int64)
    reference = case.make(max_iter=3, tol=0).fit(csr, *rest)
    for other in (csr.tocsc(), csr.tocoo(), scipy.sparse.csr_matrix(csr), scipy.sparse.csc_matrix(csr), wide):
        assert_same_fit(case.make(max_iter=3, tol=0).fit(other, *rest), reference)


def check_verbose(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    """Quiet by default; verbose=1 prints the memory estimate and a line an iteration."""
    data = case.data()
    case.make(max_iter=2, tol=0).fit(*data)
    assert capsys.readouterr() == ("", "")
    case.make(max_iter=2, tol=0, verbose=1).fit(*data)
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("memory: about ") for line in lines) == 1
    assert sum(line.startswith("iteration ") for line in lines) == case.rounds(2)


def check_cluster(case: Case) -> None:
    """Ranks with uneven shares, or none, reach about the objective of one process, all hold the same model, and bad
    input on one ends the fit on all."""
    X, *rest = case.data(80, 12)
    alone = case.make(max_iter=10, tol=0).fit(X, *rest)

    def fit(cluster: Cluster, cuts: list[int], schedule: str) -> Any:
        mine = slice(cuts[cluster.rank], cuts[cluster.rank + 1])
        model = case.make(max_iter=10, tol=0, cluster=cluster, schedule=schedule)
        return model.fit(*[part[mine] for part in (X, *rest)])

    for schedule in [name for name in ("bsp", "nomad") if name in case.schedules]:
        for cuts in ([0, 40, 80], [0, 30, 30, 80], [0, 79, 80]):
            models = Cluster._threads(len(cuts) - 1, partial(fit, cuts=cuts, schedule=schedule), timeout=60)
            for model in models:
                reached = model.history_["objective"][-1]
                assert reached == models[0].history_["objective"][-1]
                np.testing.assert_allclose(reached, alone.history_["objective"][-1], rtol=case.cluster_tolerance)
                for name, value in fitted_arrays(model).items():
                    if name not in model._row_attributes:
                        np.testing.assert_array_equal(value, getattr(models[0], name), err_msg=name)
                rows = [name for name in model._row_attributes if isinstance(getattr(model, name, None), np.ndarray)]
                mine = models.index(model)
                assert all(len(getattr(model, name)) == cuts[mine + 1] - cuts[mine] for name in rows)

    def fit_bad(cluster: Cluster) -> str:
        bad = X.copy()
        if cluster.rank == 1:
            (bad.data if scipy.sparse.issparse(bad) else bad.reshape(-1))[0] = np.nan
        with pytest.raises(ValueError, match="NaN") as caught:
            case.make(cluster=cluster).fit(bad, *rest)
        return str(caught.value)

    assert "rank 1" in Cluster._threads(2, fit_bad, timeout=60)[0]


CHECKS = [
    check_fit_resets,
    check_dtype_is_kept,
    check_history,
    check_tolerance,
    check_callbacks,
    check_determinism,
    check_checkpoint,
    check_save_load,
    check_warm_start,
    check_clone,
    check_interrupt,
    check_bad_rows,
    check_bad_parameters,
    check_formats,
    check_verbose,
    check_cluster,
]

# What takes more than one iteration to see.
OF_ITERATIONS = [check_history, check_tolerance, check_callbacks, check_checkpoint, check_warm_start, check_interrupt]
