"""The contract of estimators on several ranks: threads of one process (`tests/python/mpi` has processes)."""

import copy
import os
import pickle
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from common_cases import labelled
from common_checks import assert_same_fit
from tiny_model import TinySession, TinySoftmax

import steppe
from steppe import _loop
from steppe.parallel import Cluster, ClusterError

QUICK = {"max_iter": 5, "tol": 0, "random_state": 0}
TIMEOUT = 20.0  # so that a deadlock is a failure, not a hanging test


def on_ranks(size, work):
    return Cluster._threads(size, work, timeout=TIMEOUT)


def share(cluster, *arrays, cuts=None):
    """This rank's rows: equal shares, or those between `cuts`."""
    n = arrays[0].shape[0]
    cuts = cuts or [n * rank // cluster.size for rank in range(cluster.size + 1)]
    return [array[cuts[cluster.rank] : cuts[cluster.rank + 1]] for array in arrays]


def test_one_process_is_a_cluster_of_one():
    cluster = Cluster()
    assert (cluster.rank, cluster.size, cluster.gather("x"), cluster.sum(3)) == (0, 1, ["x"], 3)
    with pytest.raises(ZeroDivisionError), cluster.agree():
        raise ZeroDivisionError
    with pytest.raises(ValueError, match="gather_limit"):
        Cluster(gather_limit=-1)
    with pytest.raises(TypeError, match="comm: expected an mpi4py communicator"):
        Cluster("world")


def test_collectives():
    def work(cluster):
        ids = [["b", "a"], [], ["c", "a"]][cluster.rank]
        return (
            cluster.gather(cluster.rank), cluster.sum(np.full(2, cluster.rank)).tolist(),
            cluster.broadcast(cluster.rank, 2), cluster.unify(np.array(ids, dtype="U1")).tolist(),
        )  # fmt: skip

    assert on_ranks(3, work) == [([0, 1, 2], [3, 3], 2, ["a", "b", "c"])] * 3


def test_ids_of_different_kinds_are_refused():
    with pytest.raises(ValueError, match="different kinds"):
        on_ranks(2, lambda cluster: cluster.unify(np.array([["a"], [1]][cluster.rank])))


@pytest.mark.parametrize("kind", [ValueError, TypeError, OSError])
def test_what_one_rank_raises_all_raise(kind):
    def work(cluster):
        try:
            with cluster.agree():
                if cluster.rank == 1:
                    raise kind("the reason")
        except (kind, ClusterError) as error:
            return error
        return None

    first, failing, last = on_ranks(3, work)
    assert type(failing) is kind
    for echo in (first, last):
        assert type(echo) is (ClusterError if kind is OSError else kind)
        assert "rank 1" in str(echo)
        assert "the reason" in str(echo)
    if kind is OSError:
        assert first.rank == 1
        assert "Traceback" in str(first)


def test_a_cluster_is_not_copied():
    cluster = Cluster()
    assert copy.deepcopy(cluster) is cluster
    with pytest.raises(TypeError, match="belongs to a running job"):
        pickle.dumps(cluster)
    assert pickle.loads(pickle.dumps(TinySoftmax(cluster=cluster))).cluster is None


@pytest.mark.parametrize("cuts", [None, [0, 1, 1, 60], [0, 0, 0, 60], [0, 59, 60, 60]])
@pytest.mark.parametrize("sparse", [False, True])
def test_ranks_fit_the_model_of_one_process(cuts, sparse):
    X, y = labelled(sparse=sparse)
    y = np.array(["a", "b", "c"])[y]
    alone = TinySoftmax(class_weight="balanced", **QUICK).fit(X, y)

    def work(cluster):
        return TinySoftmax(class_weight="balanced", cluster=cluster, **QUICK).fit(*share(cluster, X, y, cuts=cuts))

    for model in on_ranks(3, work):
        assert model.classes_.tolist() == ["a", "b", "c"]
        assert model.n_iter_ == alone.n_iter_
        np.testing.assert_allclose(model.coef_, alone.coef_, rtol=1e-9)
        np.testing.assert_array_equal(model.history_["iteration"], alone.history_["iteration"])


def test_ranks_agree_on_columns():
    def work(cluster):
        X, y = labelled(30, 4 + cluster.rank, sparse=True)
        return TinySoftmax(cluster=cluster, **QUICK).fit(X, y).n_features_in_

    assert on_ranks(2, work) == [5, 5]

    def dense(cluster):
        return TinySoftmax(cluster=cluster, **QUICK).fit(*labelled(30, 4 + cluster.rank))

    with pytest.raises(ValueError, match="same number of columns on every rank"):
        on_ranks(2, dense)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (lambda X, y: (np.where(X == X[0, 0], np.nan, X), y), "NaN"),
        (lambda X, y: (X, y[:-1]), "inconsistent"),
        (lambda X, y: (X.astype(np.float32), y), "dtypes differ between ranks"),
    ],
)
def test_bad_input_on_one_rank_ends_the_fit_on_all(bad, words):
    def work(cluster):
        X, y = labelled()
        try:
            TinySoftmax(cluster=cluster, **QUICK).fit(*(bad(X, y) if cluster.rank == 1 else (X, y)))
        except ValueError as error:
            return str(error)
        return None

    assert all(words in message for message in on_ranks(3, work))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("class_weight", (None, {0: 2.0})),
        ("class_weight", ({0: 2.0}, {0: 3.0})),
        ("alpha", (1e-3, 2e-3)),
        ("checkpoint", (None, "c")),
    ],
)
def test_parameters_that_differ_are_named_on_every_rank(name, values, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X, y = labelled()

    def work(cluster):
        with pytest.raises(ValueError, match=f"^{name}: ") as caught:
            TinySoftmax(cluster=cluster, **{name: values[cluster.rank > 1]}, **QUICK).fit(*share(cluster, X, y))
        return str(caught.value)

    messages = on_ranks(4, work)
    assert len(set(messages)) == 1
    assert "on ranks 0, 1" in messages[0]
    assert "on ranks 2, 3" in messages[0]


def test_what_belongs_to_a_rank_may_differ(tmp_path):
    X, y = labelled()

    def work(cluster):
        mine = {"n_jobs": 1 + cluster.rank, "verbose": 0, "random_state": cluster.rank}
        same = {"class_weight": dict([(0, 2.0), (1, 3.0)][:: 1 - 2 * cluster.rank])}  # in another order
        path = str(tmp_path / "c") if cluster.rank else tmp_path / "c"
        model = TinySoftmax(cluster=cluster, checkpoint=path, **{**QUICK, **mine, **same})
        return model.fit(*share(cluster, X, y)).coef_

    first, second = on_ranks(2, work)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("classes", [(None, [0, 1, 2]), ([0, 1, 2], [0, 1, 2, 3])])
def test_classes_must_be_the_same_on_every_rank(classes):
    X, y = labelled()

    def work(cluster):
        with pytest.raises(ValueError, match="classes: the ranks hold different values"):
            TinySoftmax(cluster=cluster).partial_fit(*share(cluster, X, y), classes=classes[cluster.rank])

    on_ranks(2, work)


def test_no_rows_anywhere_is_refused():
    with pytest.raises(ValueError, match="no rank has a row"):
        on_ranks(2, lambda cluster: TinySoftmax(cluster=cluster).fit(np.empty((0, 3)), np.empty(0, int)))


def test_a_callback_on_one_rank_stops_all():
    X, y = labelled()

    def work(cluster):
        stop = (lambda info: info.iteration == 2) if cluster.rank == 1 else None
        return TinySoftmax(cluster=cluster, callbacks=stop, **QUICK).fit(*share(cluster, X, y)).n_iter_

    assert on_ranks(3, work) == [2, 2, 2]


def test_a_callback_that_raises_on_one_rank_ends_all():
    X, y = labelled()
    models = {}

    def work(cluster):
        def fail(info):
            raise LookupError("from the callback")

        models[cluster.rank] = TinySoftmax(cluster=cluster, callbacks=fail if cluster.rank == 1 else None, **QUICK)
        try:
            models[cluster.rank].fit(*share(cluster, X, y))
        except (LookupError, ClusterError) as error:
            return error
        return None

    errors = on_ranks(2, work)
    assert isinstance(errors[1], LookupError)
    assert isinstance(errors[0], ClusterError)
    assert errors[0].rank == 1
    assert models[0].n_iter_ == models[1].n_iter_ == 1


@pytest.mark.parametrize("die_on", [0, 1])
def test_ranks_resume_from_their_checkpoint(tmp_path, monkeypatch, die_on):
    monkeypatch.setattr(TinySoftmax, "_checkpoint_seconds", 0.0)
    X, y = labelled()
    path = tmp_path / "c"

    def work(cluster, **params):
        return TinySoftmax(cluster=cluster, **QUICK, **params).fit(*share(cluster, X, y, cuts=[0, 20, 60]))

    def killed(cluster):
        def die(info):
            if info.iteration == 3 and cluster.rank == die_on:
                raise KeyboardInterrupt

        with pytest.raises((KeyboardInterrupt, ClusterError)):
            work(cluster, checkpoint=path, callbacks=die)

    on_ranks(2, killed)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["c", "c.2.rank0", "c.2.rank1"]
    resumed = on_ranks(2, lambda cluster: work(cluster, checkpoint=path))
    for model, whole in zip(resumed, on_ranks(2, work), strict=True):
        assert_same_fit(model, whole)
    with pytest.raises(ValueError, match="ranks was 2 and is 3"):
        on_ranks(
            3,
            lambda cluster: TinySoftmax(cluster=cluster, checkpoint=path, **QUICK).fit(*share(cluster, X, y)),
        )


def test_a_stop_while_the_objective_is_evaluated_interrupts_all(monkeypatch):
    asking = set()  # ranks where Ctrl-C was pressed

    class Interrupts(_loop._Interrupts):
        def __init__(self, cluster):
            super().__init__(cluster)
            self.poll = lambda: cluster.rank in asking

    def objective(self, callback=None, objective=TinySession.objective):
        if self.round[0] < 2:
            return objective(self, callback)
        if self.cluster.rank == 1:
            asking.add(1)
        return np.nan

    monkeypatch.setattr(_loop, "_Interrupts", Interrupts)
    monkeypatch.setattr(TinySession, "objective", objective)

    def work(cluster):
        model = TinySoftmax(cluster=cluster, **{**QUICK, "tol": 1e-9})
        with pytest.raises(KeyboardInterrupt):
            model.fit(*share(cluster, *labelled()))
        return model.n_iter_, model.coef_.shape

    assert on_ranks(3, work) == [(1, (3, 5))] * 3


class RowModel(TinySoftmax):
    """Keeps an attribute that belongs to the rows of a rank."""

    _row_attributes = ("rows_", "ids_")

    def fit(self, X, y, sample_weight=None):
        super().fit(X, y, sample_weight)
        self.rows_ = np.array(X[:, 0])
        self.ids_ = np.array([f"row {value:.2f}" for value in self.rows_], dtype=object)
        return self


def test_a_model_of_several_ranks_loads_on_one(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["steppe.tiny_model"], "RowModel", RowModel, raising=False)
    monkeypatch.setattr(RowModel, "__module__", "steppe.tiny_model")
    X, y = labelled()
    path = tmp_path / "model"

    def work(cluster):
        model = RowModel(cluster=cluster, **QUICK).fit(*share(cluster, X, y, cuts=[0, 25, 25, 60]))
        model.save(path)
        return model

    models = on_ranks(3, work)
    loaded = steppe.load(path)
    np.testing.assert_array_equal(loaded.rows_, X[:, 0])
    assert loaded.ids_.tolist() == [f"row {value:.2f}" for value in X[:, 0]]
    np.testing.assert_array_equal(loaded.coef_, models[2].coef_)
    (tmp_path / "model.rank1").unlink()
    with pytest.raises(FileNotFoundError):
        steppe.load(path)


def test_a_save_that_fails_on_one_rank_fails_on_all(tmp_path):
    X, y = labelled()

    def work(cluster):
        model = TinySoftmax(cluster=cluster, **QUICK).fit(*share(cluster, X, y))
        with pytest.raises((OSError, ClusterError), match=r"rank 0|absent"):
            model.save(tmp_path / "absent" / "model")

    on_ranks(2, work)


def test_a_fit_alone_among_several_ranks_warns_once():
    script = f"""
        import sys, warnings
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from common_cases import labelled
        from tiny_model import TinySoftmax
        with warnings.catch_warnings(record=True) as met:
            warnings.simplefilter("always")
            for _ in range(2):
                TinySoftmax(max_iter=2, tol=0).fit(*labelled())
        assert len(met) == 1, met
        assert "4 ranks were started and cluster=None" in str(met[0].message)
        assert met[0].filename == "<string>", met[0].filename
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], env={**os.environ, "PMI_SIZE": "4"}, check=True)


@pytest.mark.parametrize("where", ["between fits", "in a fit"])
def test_an_uncaught_exception_on_one_rank_ends_the_job(where):
    pytest.importorskip("mpi4py")
    mpiexec = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if mpiexec is None:
        pytest.skip("there is no mpiexec")
    script = f"""
        import time
        from steppe.parallel import Cluster
        from steppe.recommend import MatrixFactorization
        cluster = Cluster.world()

        def fail(info):
            if cluster.rank == 1 and info.iteration == 3:
                print("raised at", time.time(), flush=True)
                raise LookupError("what went wrong")

        if {where == "in a fit"}:
            model = MatrixFactorization(2, max_iter=10**9, cluster=cluster, callbacks=fail)
            model.fit([[1.0, 2.0, 3.0 + cluster.rank]] * 9)
        elif cluster.rank == 1:
            print("raised at", time.time(), flush=True)
            raise LookupError("what went wrong")
        else:
            cluster.gather(None)
    """
    command = [mpiexec, "-n", "2", sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    lasted = time.time() - float(done.stdout.split()[-1])
    assert done.returncode != 0
    assert "LookupError: what went wrong" in done.stderr
    if where == "in a fit":
        assert "rank 1 failed" in done.stderr
    assert lasted < 20, "the design says 5 s; a busy machine stretches that"


def test_sparse_rows_keep_their_type_when_widened():
    def work(cluster):
        X, y = labelled(30, 4 + cluster.rank, sparse=True)
        return TinySoftmax(cluster=cluster, **QUICK).fit(scipy.sparse.csr_matrix(X), y).coef_.shape

    assert on_ranks(2, work) == [(3, 5)] * 2
