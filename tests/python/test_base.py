"""The contract of estimators on one process, beyond the common checks."""

import json
import os
import struct
import subprocess
import sys
import textwrap
from pathlib import Path

import joblib
import numpy as np
import pytest
import scipy.sparse
import sklearn
from common_checks import assert_same_fit, labelled
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tiny_model import TinySoftmax

import steppe
from steppe import _arrays_file, _core, _plan
from steppe._persistence import Packer, unpack
from steppe._validation import check_csr

QUICK = {"max_iter": 5, "tol": 0, "random_state": 0}


# The native seam


def test_check_csr_names_argument_row_and_remedy():
    with pytest.raises(ValueError, match=r"ratings: row 1 holds column 2 twice; call sum_duplicates"):
        _core.check_csr(np.array([0, 1, 3]), np.array([0, 2, 2]), 3, 4, "ratings")
    with pytest.raises(ValueError, match="indptr"):
        _core.check_csr(np.array([0, 9]), np.array([0]), 1, 4, "X")
    with pytest.raises(ValueError, match="negative length"):
        _core.check_csr(np.array([0, 2, 1]), np.array([0, 1], np.int32), 2, 4, "X")
    with pytest.raises(ValueError, match="column number -1"):
        _core.check_csr(np.array([0, 1]), np.array([-1]), 1, 4, "X")
    _core.check_csr(np.array([0, 0, 2], np.int32), np.array([1, 3], np.int32), 2, 4, "X")


def test_a_matrix_whose_indptr_does_not_fit_its_rows_is_refused():
    broken = scipy.sparse.csr_array(np.eye(3))
    broken.indptr = broken.indptr[:-1]
    with pytest.raises(ValueError, match=r"ratings: its indptr has 3 entries for 3 rows; build"):
        check_csr(broken, "ratings")


# Parameters


def test_seed_has_64_bits_and_follows_the_global_state():
    assert _plan.make_seed(7) == _plan.make_seed(7) != _plan.make_seed(8)
    assert any(_plan.make_seed(seed) >= 2**63 for seed in range(8))
    state = np.random.RandomState(0)
    assert _plan.make_seed(state) != _plan.make_seed(state)


def test_n_jobs_follows_joblib():
    cores = joblib.cpu_count()
    assert _plan.resolve_n_jobs(None) == 1
    assert _plan.resolve_n_jobs(-1) == cores
    assert _plan.resolve_n_jobs(3) == 3
    with joblib.parallel_config(n_jobs=2):
        assert _plan.resolve_n_jobs(None) == 2


def test_workers_of_joblib_share_the_cores():
    shares = joblib.Parallel(n_jobs=2)(joblib.delayed(_threads_in_a_worker)() for _ in range(2))
    assert all(share <= max(joblib.cpu_count() // 2, 1) for share in shares)


def _threads_in_a_worker():
    from steppe._plan import resolve_n_jobs

    return resolve_n_jobs(-1)


def test_schedule_is_chosen_and_refused():
    model = TinySoftmax()
    assert _plan.resolve_schedule(model, 1, 1) == "serial"
    assert _plan.resolve_schedule(model, 4, 1) == "nomad"
    with pytest.raises(ValueError, match="runs in one process and the cluster has 2 ranks"):
        _plan.resolve_schedule(TinySoftmax(schedule="serial"), 2, 2)


def test_memory_that_cannot_fit_is_refused(monkeypatch):
    monkeypatch.setattr(_plan, "available_memory", lambda: 10)
    with pytest.raises(MemoryError, match="needs about 120 B and 10 B are available"):
        TinySoftmax().fit(*labelled())


def test_available_memory_is_plausible():
    assert 0 < _plan.available_memory() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


# Data


def test_data_frames_give_names_and_dtype():
    pandas = pytest.importorskip("pandas")
    X, y = labelled(dtype=np.float32)
    frame = pandas.DataFrame(X, columns=list("abcde"))
    model = TinySoftmax(**QUICK).fit(frame, y)
    assert model.feature_names_in_.tolist() == list("abcde")
    assert model.coef_.dtype == np.float32
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[list("edcba")])


def test_polars_frames_are_taken():
    polars = pytest.importorskip("polars")
    X, y = labelled()
    model = TinySoftmax(**QUICK).fit(polars.DataFrame(X, schema=list("abcde")), y)
    vars(model).pop("feature_names_in_", None)  # old versions of scikit-learn do not see the names
    assert_same_fit(TinySoftmax(**QUICK).fit(X, y), model)


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (np.zeros(60), r"y: met 1 class .*2 or more"),
        (np.linspace(0, 1, 60), "continuous"),
        (np.r_[np.nan, np.ones(59)], "NaN"),
        (np.ones(59), "inconsistent numbers of samples"),
        (np.ones((60, 2)), "1d array"),
    ],
)
def test_bad_labels(y, words):
    with pytest.raises(ValueError, match=words):
        TinySoftmax().fit(labelled()[0], y)


@pytest.mark.parametrize(
    ("weight", "words"),
    [
        (np.full(60, np.nan), "sample_weight: contains NaN"),
        (np.full(60, -1.0), "sample_weight: contains negative"),
        (np.ones(59), r"sample_weight: has shape \(59,\), expected \(60,\)"),
        (np.zeros(60), "sample_weight: all weights are zero"),
    ],
)
def test_bad_sample_weight(weight, words):
    with pytest.raises(ValueError, match=words):
        TinySoftmax().fit(*labelled(), sample_weight=weight)


def test_weight_two_equals_the_row_twice():
    X, y = labelled()
    weight = 1.0 + (np.arange(60) < 10)
    for class_weight in (None, "balanced", {0: 3.0}):
        model = TinySoftmax(class_weight=class_weight, **QUICK)
        weighted = model.fit(X, y, sample_weight=weight).coef_
        np.testing.assert_allclose(weighted, model.fit(np.r_[X, X[:10]], np.r_[y, y[:10]]).coef_, rtol=1e-10)


def test_class_weight_of_a_strange_class_is_refused():
    with pytest.raises(ValueError, match=r"class_weight: the labels \[9\]"):
        TinySoftmax(class_weight={9: 1.0}).fit(*labelled())


def test_transposed_rows_are_recognised_when_predicting():
    X, y = labelled(60, 5)
    model = TinySoftmax(**QUICK).fit(X, y)
    with pytest.raises(ValueError, match="transposed"):
        model.predict(X[:7].T)


# The loop


def test_a_fit_that_diverges_says_so():
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="smaller learning_rate"):
        TinySoftmax(learning_rate=1e200).fit(*labelled())


def test_objective_is_evaluated_seldom_unless_watched():
    X, y = labelled()
    silent = TinySoftmax(max_iter=25, tol=0).fit(X, y).history_
    np.testing.assert_array_equal(silent["iteration"][~np.isnan(silent["objective"])], [1, 11, 21, 25])
    assert not np.isnan(
        TinySoftmax(max_iter=25, tol=0, callbacks=lambda info: None).fit(X, y).history_["objective"]
    ).any()


def test_tolerance_does_not_depend_on_who_watches(monkeypatch):
    monkeypatch.setattr(TinySoftmax, "_evaluate_every", 4)
    X, y = labelled()
    model = TinySoftmax(max_iter=200, tol=1e-2, random_state=0).fit(X, y)
    assert model.n_iter_ < 200
    assert model.n_iter_ % 4 == 1
    assert np.isnan(model.history_["objective"]).mean() > 0.5
    watched = TinySoftmax(max_iter=200, tol=1e-2, random_state=0, callbacks=lambda info: None).fit(X, y)
    assert_same_fit(model, watched)
    assert watched.n_iter_ == model.n_iter_


def test_partial_fit_appends_to_the_history():
    X, y = labelled()
    model = TinySoftmax(random_state=0)
    for _ in range(3):
        model.partial_fit(X, y, classes=[0, 1, 2])
    assert model.history_["iteration"].tolist() == [1, 2, 3]
    assert model.history_["updates"].tolist() == [60, 120, 180]
    with pytest.raises(ValueError, match=r"label 9.*give all classes in the first call"):
        model.partial_fit(X, np.where(y == 0, 9, y))


@pytest.mark.parametrize(("answer", "iterations"), [(True, 1), (np.True_, 1), (np.False_, 5), (None, 5), ("text", 5)])
def test_only_true_stops_a_fit(answer, iterations):
    assert TinySoftmax(callbacks=[lambda info: answer], **QUICK).fit(*labelled()).n_iter_ == iterations


def test_a_failing_visit_raises_through_fit():
    with pytest.raises(RuntimeError, match="a visit failed"):
        TinySoftmax(fail_at=2, **QUICK).fit(*labelled())


def test_fitted_attributes_of_another_fit_do_not_linger():
    model = TinySoftmax()
    model._set_fitted({"coef_": 1, "dual_gap_": 2})
    model._set_fitted({"coef_": 3})
    assert (model.coef_, hasattr(model, "dual_gap_")) == (3, False)


# Checkpoints


def test_a_killed_process_resumes_bit_equal(tmp_path):
    script = f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from common_checks import labelled
        from tiny_model import TinySoftmax
        TinySoftmax._checkpoint_seconds = 0
        def report(info):
            print(info.iteration, flush=True)
        model = TinySoftmax(seconds=0.05, max_iter=60, tol=0, random_state=0, callbacks=report)
        model.set_params(checkpoint={str(tmp_path / "c")!r}).fit(*labelled())
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout:
            if int(line) == 4:
                process.kill()
    assert process.returncode != 0
    resumed = []
    common = {"seconds": 0.0, "max_iter": 8, "tol": 0, "random_state": 0}
    # `seconds` differs, which a checkpoint must notice
    with pytest.raises(ValueError, match=r"seconds was 0.05 and is 0.0"):
        TinySoftmax(**common, checkpoint=tmp_path / "c").fit(*labelled())
    common["seconds"] = 0.05
    model = TinySoftmax(**common, checkpoint=tmp_path / "c", callbacks=lambda info: resumed.append(info.iteration))
    model.fit(*labelled())
    assert resumed[0] in (4, 5)
    assert_same_fit(model, TinySoftmax(**common).fit(*labelled()))


def test_a_finished_checkpoint_is_not_trained_further_but_may_be_extended(tmp_path):
    X, y = labelled()
    common = {"tol": 1e-3, "random_state": 0, "checkpoint": tmp_path / "c"}
    first = TinySoftmax(max_iter=200, **common).fit(X, y)
    again = TinySoftmax(max_iter=200, **common, callbacks=lambda info: pytest.fail("trained again")).fit(X, y)
    assert_same_fit(first, again)
    assert TinySoftmax(max_iter=200, **{**common, "tol": 0}).fit(X, y).n_iter_ == 200 > first.n_iter_


def test_a_file_that_is_no_checkpoint_is_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("my only copy")
    with pytest.raises(ValueError, match="no file of arrays"):
        TinySoftmax(checkpoint=path).fit(*labelled())
    assert path.read_text() == "my only copy"


# Files


VALUES = {
    "float": np.linspace(0, 1, 7, dtype=np.float32), "matrix": np.arange(6.0).reshape(2, 3), "empty":
    np.empty((0, 3)), "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)), "zero axes": np.array(3.5),
    "flags": np.array([True, False]), "words": np.array(["ä", "", "long word"]), "bytes": np.array([b"a",
    b"bc"]), "objects": np.array(["x", 3, None], object), "strings": np.array(["user", "ü"], dtype=object),
    "pairs": np.array([("a", 1), ("b", 2)], dtype=object), "days": np.array(["2026-11-20", "NaT"],
    dtype="M8[D]"), "scalar": np.float32(0.1), "int": 2**40, "text": "ü", "none": None, "tuple": (1, ("a",
    2.5)), "dict": {"a": [1, 2]}, "big": np.array([2**63], np.uint64), "record": np.array([(1, 0.5)],
    dtype=[("iteration", "i8"), ("objective", "f8")]),
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_values_come_back_as_they_were(name, tmp_path):
    value = VALUES[name]
    packer = Packer()
    tree = json.dumps(packer.pack(value, "value"))
    _arrays_file.write(tmp_path / "f", packer.arrays, {"tree": tree})
    for mmap in (False, True):
        arrays, metadata = _arrays_file.read(tmp_path / "f", mmap=mmap)
        back = unpack(json.loads(metadata["tree"]), arrays)
        assert type(back) is type(value) or mmap
        if isinstance(value, np.ndarray):
            assert back.dtype == value.dtype
            np.testing.assert_array_equal(back, value)
        else:
            assert back == value


def test_arrays_are_aligned_in_the_file(tmp_path):
    arrays = {
        "a": np.ones(3, np.uint8),
        "b": np.ones(3),
        "c": np.ones(5, np.float32),
        "d": np.ones(1, np.int64),
    }
    _arrays_file.write(tmp_path / "f", arrays, {})
    mapped, _ = _arrays_file.read(tmp_path / "f", mmap=True)
    for array in mapped.values():
        assert array.flags.aligned
        assert not array.flags.writeable


def test_a_failed_write_leaves_the_old_file(tmp_path):
    _arrays_file.write(tmp_path / "f", {"a": np.ones(2)}, {})
    with pytest.raises(TypeError):
        _arrays_file.write(tmp_path / "f", {"a": np.zeros(2)}, {"bad": object()})
    assert _arrays_file.read(tmp_path / "f")[0]["a"].tolist() == [1, 1]
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "f"
    _arrays_file.write(path, {"a": np.ones(100)}, {})
    whole = path.read_bytes()
    for bad in (
        b"",
        b"abc",
        whole[:40],
        whole[:-8],
        struct.pack("<Q", 2**60) + whole[8:],
        b"\x80\x04pickle" * 9,
    ):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match="damaged"):
            _arrays_file.read(path)


def _rewrite(path, change):
    arrays, metadata = _arrays_file.read(path)
    change(metadata)
    _arrays_file.write(path, arrays, metadata)


def test_load_refuses_what_it_does_not_know(tmp_path):
    path = tmp_path / "model"
    TinySoftmax(**QUICK).fit(*labelled()).save(path)

    def name_class(metadata, name):
        metadata["model"] = json.dumps({**json.loads(metadata["model"]), "class": name})

    for name, words in {"os:system": "only classes of steppe", "steppe.absent:Model": "update steppe",
                        "steppe._base:annotations": "update steppe"}.items():  # fmt: skip
        _rewrite(path, lambda metadata, name=name: name_class(metadata, name))
        with pytest.raises(ValueError, match=words):
            steppe.load(path)
    _rewrite(path, lambda metadata: metadata.update(version="99"))
    with pytest.raises(ValueError, match="version 99"):
        steppe.load(path)
    _rewrite(path, lambda metadata: metadata.update(format="other"))
    with pytest.raises(ValueError, match="no model of steppe"):
        steppe.load(path)


def test_saved_parameters_and_what_cannot_be_saved(tmp_path):
    model = TinySoftmax(
        class_weight={"a": 2.0, "b": 1.0}, callbacks=lambda info: None, checkpoint=tmp_path / "c", **QUICK
    )
    X, y = labelled()
    model.fit(X, np.array(["a", "b", "c"])[y]).save(tmp_path / "model")
    loaded = steppe.load(tmp_path / "model")
    assert loaded.class_weight == {"a": 2.0, "b": 1.0}
    assert (loaded.callbacks, loaded.checkpoint) == (None, None)
    assert loaded.predict(X).tolist() == model.predict(X).tolist()
    with pytest.raises(TypeError, match=r"params.class_weight is a dict, which cannot be saved"):
        TinySoftmax(class_weight={0: 2.0}, **QUICK).fit(X, y).set_params(class_weight={object(): 1}).save(
            tmp_path / "x"
        )
    with pytest.raises(sklearn.exceptions.NotFittedError):
        TinySoftmax().save(tmp_path / "x")


# scikit-learn


def test_search_pipeline_and_routing():
    X, y = labelled(90)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), TinySoftmax(**QUICK)), {"tinysoftmax__alpha": [1e-3, 10.0]}, cv=3
    )
    assert search.fit(X, y).best_params_ == {"tinysoftmax__alpha": 1e-3}
    with sklearn.config_context(enable_metadata_routing=True):
        model = TinySoftmax(**QUICK).set_fit_request(sample_weight=True).set_score_request(sample_weight=False)
        weights = np.r_[np.zeros(45), np.ones(45)]
        result = cross_validate(model, X, y, params={"sample_weight": weights}, cv=3, return_estimator=True)
    unweighted = cross_validate(TinySoftmax(**QUICK), X, y, cv=3, return_estimator=True)
    assert (result["estimator"][0].coef_ != unweighted["estimator"][0].coef_).any()
    assert "TinySoftmax" in TinySoftmax()._repr_html_()


def test_search_in_threads():
    X, y = labelled(90)
    search = GridSearchCV(TinySoftmax(**QUICK), {"alpha": [1e-3, 1.0]}, cv=2, n_jobs=2)
    with joblib.parallel_config(backend="threading"):
        assert search.fit(X, y).best_params_ == {"alpha": 1e-3}


class Recorder:
    """A callback of scikit-learn's protocol that stops a fit after three iterations."""

    def __init__(self):
        self.events = []

    def setup(self, estimator, context):
        self.events.append("setup")

    def on_fit_task_begin(self, estimator, context):
        self.events.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, fitted_estimator=None):
        if context.task_name == "iteration":
            self.events.append(f"end {context.task_id} {fitted_estimator.score(X, y) > 0.5}")
            return context.task_id == 2
        return False

    def teardown(self, estimator, context):
        self.events.append("teardown")


@pytest.mark.parametrize("how", ["parameter", "set_callbacks", "pipeline"])
def test_callbacks_of_scikit_learn(how):
    pytest.importorskip("sklearn.callback")
    X, y = labelled()
    recorder, model = Recorder(), TinySoftmax(**QUICK)
    if how == "parameter":
        model.set_params(callbacks=[recorder]).fit(X, y)
    else:
        model.set_callbacks(recorder)
        (make_pipeline(StandardScaler(), model) if how == "pipeline" else model).fit(X, y)
    assert model.n_iter_ == 3
    assert recorder.events[:3] == ["setup", "begin fit", "begin iteration"]
    assert [event for event in recorder.events if event.startswith("end")] == [f"end {i} True" for i in range(3)]
    assert recorder.events[-1] == "teardown"
    assert getattr(model, "_skl_callbacks", []) == ([] if how == "parameter" else [recorder])


def test_scoring_monitor_of_scikit_learn():
    callback = pytest.importorskip("sklearn.callback")
    X, y = labelled()
    monitor = callback.ScoringMonitor(scoring="accuracy")
    TinySoftmax(**QUICK, callbacks=[monitor]).fit(X, y)
    assert len(monitor.get_logs().data) >= 5


def test_sparse_and_dense_agree():
    X, y = labelled()
    dense = TinySoftmax(**QUICK).fit(X, y)
    sparse = TinySoftmax(**QUICK).fit(scipy.sparse.csr_array(X), y)
    assert_same_fit(dense, sparse, exact=False)
