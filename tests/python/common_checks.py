"""What every estimator of steppe must do. An estimator joins with one line in `common_cases.CASES`.

`test_base_common.py` runs each check below on each case, and scikit-learn's own checks beside them.
"""

from __future__ import annotations

import copy
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from common_cases import Case
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler

import steppe
from steppe import _arrays_file, _device
from steppe.parallel import Cluster

N_ITER = 6


def fitted_arrays(estimator: Any) -> dict[str, np.ndarray]:
    """The fitted parameters, without what measures time."""
    return {
        name: value
        for name, value in estimator.__getstate__().items()  # not vars: an interrupted fit leaves them for later
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
    assert snapshots[-1].history_.dtype == model.history_.dtype
    mine = [{name for name in vars(m) if not name.startswith(("_skl_", "_callback_"))} for m in (snapshots[-1], model)]
    assert mine[0] == mine[1], "nothing of the fit in progress"

    def fail(info: Any) -> None:
        raise LookupError("from the callback")

    model = case.make(max_iter=N_ITER, callbacks=fail)
    with pytest.raises(LookupError, match="from the callback"):
        model.fit(*data)
    assert model.n_iter_ == 1


def check_failed_fit(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fit that fails before its first iteration has ended leaves the last one whole, and a first one nothing."""

    def fail(*_: Any) -> None:
        raise RuntimeError("on purpose")

    model, never = case.make(max_iter=2, tol=0).fit(*case.data(50, 6)), case.make()
    before = fitted_attributes(model)
    with monkeypatch.context() as patch:
        patch.setattr("steppe._loop.FitLoop._train", fail)
        for estimator, data in ((model, case.data(70, 9, seed=1)), (never, case.data())):
            with pytest.raises(RuntimeError, match="on purpose"):
                estimator.fit(*data)
    after = fitted_attributes(model)
    assert after.keys() == before.keys()
    assert all(value is before[name] for name, value in after.items())
    assert not fitted_attributes(never)


def fitted_attributes(estimator: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(estimator).items() if name.endswith("_")}


def check_determinism(case: Case) -> None:
    """serial and bsp: the same seed gives the same bits, another seed does not have to."""
    data = case.data()
    for schedule, n_jobs in layouts(case):
        fits = [case.make(max_iter=4, tol=0, schedule=schedule, n_jobs=n_jobs).fit(*data) for _ in range(2)]
        assert_same_fit(*fits)


def layouts(case: Case) -> list[tuple[str, int]]:
    ways = (("serial", 1), ("bsp", 1), ("bsp", 2), ("batch", 2), ("svi", 2))
    return [(s, n) for s, n in ways if s in case.schedules]


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
    """Ctrl-C ends a fit with KeyboardInterrupt, soon, and leaves the estimator usable."""
    script = f"""
        import sys, time
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import common_cases, common_checks
        case = next(c for c in common_cases.CASES if str(c) == {str(case)!r})
        for schedule, n_jobs in [("serial", 1), ("bsp", 2), ("nomad", 2), ("hogwild", 2)]:
            if schedule not in case.schedules:
                continue
            model = case.make(max_iter=10**9, tol=0, schedule=schedule, n_jobs=n_jobs)
            try:
                print("fitting", schedule, flush=True)
                model.fit(*case.data(2000, 50))
                sys.exit("fit ended by itself")
            except KeyboardInterrupt:
                used = time.process_time()
                assert common_checks.fitted_arrays(model)
                assert len(model.history_) == model.n_iter_
                print("interrupted", used, flush=True)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deaf = threading.Timer(120, process.kill)
        deaf.start()
        used = 0.0
        for line in process.stdout or ():
            word, value = line.split()
            if word == "fitting":
                # Some time inside fit; whether native code or Python is at work, Ctrl-C must end it.
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(0.5)
                used = processor_seconds(process.pid)
                process.send_signal(signal.SIGINT)
            else:
                assert float(value) - used < 2 * MOST_THREADS, "the design says 0.2 s; a busy machine stretches that"
        _, errors = process.communicate()
        deaf.cancel()
    assert process.returncode == 0, errors


MOST_THREADS = 2  # of the fits above


def processor_seconds(pid: int) -> float:
    """What a process has used of all processors: a bound on this does not depend on what else runs."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def check_killed(case: Case, directory: Path) -> None:
    """A process that is killed at any moment resumes from its checkpoint, with the same bits."""
    data = case.data(300, 30)
    for schedule, n_jobs in (("serial", 1), ("bsp", 2)):
        path = directory / schedule
        common = {"tol": 0, "schedule": schedule, "n_jobs": n_jobs}
        script = f"""
            import sys
            sys.path.insert(0, {str(Path(__file__).parent)!r})
            import common_cases, common_checks
            case = next(c for c in common_cases.CASES if str(c) == {str(case)!r})
            model = case.make(max_iter=10**9, checkpoint={str(path)!r}, **{common})
            type(model)._checkpoint_seconds = 0
            model.set_params(callbacks=lambda info: print(info.iteration, flush=True)).fit(*case.data(300, 30))
        """
        command = [sys.executable, "-c", textwrap.dedent(script)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout or ():
                if int(line) == 4:
                    process.kill()
        assert process.returncode == -signal.SIGKILL
        reached = int(_arrays_file.read(path)[0]["history.iteration"][-1])
        assert reached >= 3
        seen: list[int] = []
        resumed = case.make(**common, max_iter=reached + 2, checkpoint=path)
        resumed.set_params(callbacks=lambda info, seen=seen: seen.append(info.iteration)).fit(*data)
        assert seen == [reached + 1, reached + 2]
        assert_same_fit(resumed, case.make(**common, max_iter=reached + 2).fit(*data))


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
        "three axes": (X[None], r"dim 3|shape \(1, 60, 5\)"),
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
    if "cuda" not in case.make()._devices or _device.why_no_cuda() is not None:
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

    for schedule in [name for name in ("bsp", "nomad", "batch", "svi") if name in case.schedules]:
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


def check_parameters_agree(case: Case, directory: Path) -> None:
    """Ranks with different parameters are told so on every rank, and which parameter it is."""
    data = case.data()
    usual = case.make().get_params()
    changed = {name: other(value) for name, value in usual.items() if isinstance(value, (bool, int, float))}
    changed |= {"schedule": "bsp" if usual["schedule"] == "auto" else "auto", "checkpoint": directory / "c"}
    for name in ("random_state", "verbose"):
        del changed[name]

    def fit(cluster: Cluster, name: str) -> str:
        params = {name: changed[name]} if cluster.rank == 1 else {}
        with pytest.raises(ValueError, match=f"^{name}: the ranks hold different values.* on rank 1") as caught:
            case.make(cluster=cluster, **params).fit(*data)
        return str(caught.value)

    for name in changed:
        assert len(set(Cluster._threads(2, partial(fit, name=name), timeout=60))) == 1


def other(value: bool | float) -> bool | float:
    """Another valid value of a parameter."""
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else 0.8 * value + 0.03


def check_fits_to_go_on_from_agree(case: Case) -> None:
    """With warm_start a rank that has no last fit is told from one that has."""
    data = case.data()

    def fit(cluster: Cluster) -> None:
        model = case.make(max_iter=2, tol=0, warm_start=True)
        if cluster.rank == 0:
            model.fit(*data)
        with pytest.raises(ValueError, match="the fit to go on from: the ranks hold different values"):
            model.set_params(cluster=cluster).fit(*data)

    Cluster._threads(2, fit, timeout=60)


def check_checkpoint_path(case: Case, directory: Path) -> None:
    """A path that cannot be written to is refused before the first iteration."""
    for path in ("", directory, directory / "absent" / "c"):
        with pytest.raises(ValueError, match=r"checkpoint: .*(folder|empty)"):
            case.make(checkpoint=path, callbacks=lambda info: pytest.fail("trained")).fit(*case.data())


def check_names_out(case: Case) -> None:
    """A transformer names its columns, and gives a DataFrame of them when asked to."""
    if not hasattr(case.make(), "transform"):
        return
    X, *rest = case.data()
    pipeline = make_pipeline(MaxAbsScaler(), case.make(max_iter=3, tol=0)).set_output(transform="pandas")
    frame = pipeline.fit(X, *rest).transform(X)
    scaled = MaxAbsScaler().fit_transform(X)
    plain = case.make(max_iter=3, tol=0).fit(scaled, *rest)
    assert list(frame.columns) == list(plain.get_feature_names_out(pipeline[0].get_feature_names_out()))
    np.testing.assert_allclose(frame, plain.transform(scaled))


CHECKS = [
    check_fit_resets,
    check_dtype_is_kept,
    check_history,
    check_tolerance,
    check_callbacks,
    check_failed_fit,
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
    check_parameters_agree,
    check_fits_to_go_on_from_agree,
    check_checkpoint_path,
    check_names_out,
]

# What takes more than one iteration to see.
OF_ITERATIONS = [check_history, check_tolerance, check_callbacks, check_checkpoint, check_warm_start, check_interrupt]
