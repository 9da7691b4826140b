"""The contract of estimators on real ranks."""

import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
from common_cases import labelled
from common_checks import assert_same_fit
from mpi4py import MPI
from tiny_model import TinySoftmax

import steppe
from steppe import _arrays_file
from steppe.linear_model import MultinomialLogisticRegression
from steppe.parallel import Cluster, ClusterError

QUICK = {"max_iter": 5, "tol": 0, "random_state": 0}


def share(cluster, *arrays):
    """The rows of this rank; the last but one rank has none."""
    ranks = [rank for rank in range(cluster.size) if rank != cluster.size - 2] or [0]
    if cluster.rank not in ranks:
        return [array[:0] for array in arrays]
    place = ranks.index(cluster.rank)
    n = arrays[0].shape[0]
    return [array[n * place // len(ranks) : n * (place + 1) // len(ranks)] for array in arrays]


@pytest.fixture
def shared_path(cluster, tmp_path):
    return cluster.broadcast(tmp_path)


def test_ranks_fit_the_model_of_one_process(cluster):
    X, y = labelled()
    model = TinySoftmax(cluster=cluster, **QUICK).fit(*share(cluster, X, y))
    alone = TinySoftmax(cluster=Cluster(), **QUICK).fit(X, y)
    np.testing.assert_allclose(model.coef_, alone.coef_, rtol=1e-9)
    assert len(set(cluster.gather(model.coef_.tobytes()))) == 1


def test_bad_input_on_one_rank_ends_the_fit_on_all(cluster):
    X, y = labelled()
    if cluster.rank == cluster.size - 1:
        X[0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN" if cluster.rank == cluster.size - 1 else r"rank \d: .*NaN"):
        TinySoftmax(cluster=cluster, **QUICK).fit(X, y)


def test_a_callback_that_raises_on_one_rank_ends_all(cluster):
    def fail(info):
        if last:
            raise LookupError("from the callback")

    last = cluster.rank == cluster.size - 1
    with pytest.raises(LookupError if last else ClusterError, match="from the callback"):
        TinySoftmax(cluster=cluster, callbacks=fail, **QUICK).fit(*share(cluster, *labelled()))


def test_interrupting_one_rank_interrupts_all(cluster):
    if cluster.rank == 0:
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    model = TinySoftmax(cluster=cluster, seconds=0.2, max_iter=10**6, tol=0)
    with pytest.raises(KeyboardInterrupt):
        model.fit(*share(cluster, *labelled()))
    assert model.coef_.shape == (3, 5)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_resume_and_save(cluster, shared_path, monkeypatch):
    monkeypatch.setattr(TinySoftmax, "_checkpoint_seconds", 0.0)
    data = share(cluster, *labelled())

    def die(info):
        if info.iteration == 3:
            raise LookupError

    with pytest.raises((LookupError, ClusterError)):
        TinySoftmax(cluster=cluster, checkpoint=shared_path / "c", callbacks=die, **QUICK).fit(*data)
    resumed = TinySoftmax(cluster=cluster, checkpoint=shared_path / "c", **QUICK).fit(*data)
    assert_same_fit(resumed, TinySoftmax(cluster=cluster, **QUICK).fit(*data))
    resumed.save(shared_path / "model")
    assert_same_fit(steppe.load(shared_path / "model"), resumed)
    assert pickle.loads(pickle.dumps(resumed)).cluster is None


@pytest.mark.parametrize("how", ["unreadable", "of another size"])
def test_a_damaged_part_of_a_checkpoint_is_met_on_all_ranks(cluster, shared_path, how):
    X, y = labelled()
    path, damaged = shared_path / "c", cluster.size - 1
    impatient = Cluster(MPI.COMM_WORLD, timeout=5)  # what is not agreed on would be a ClusterError after that time

    def fit(max_iter):
        params = {**QUICK, "max_iter": max_iter, "schedule": "bsp", "checkpoint": path}
        return MultinomialLogisticRegression(cluster=impatient, **params).fit(*share(cluster, X, y))

    fit(2)
    if cluster.rank == damaged:
        part = next(path.parent.glob(f"c.*.rank{damaged}"), path)
        if how == "unreadable":
            part.write_bytes(part.read_bytes()[:-100])
        else:
            arrays, metadata = _arrays_file.read(part)
            _arrays_file.write(part, {**arrays, "shard0.dual": arrays["shard0.dual"][:-1].copy()}, metadata)
    cluster.gather(None)
    with pytest.raises(ValueError, match=f"rank ?{damaged}" if cluster.size > 1 else "c ") as met:
        fit(4)
    assert (how == "unreadable") != ("holds no state that this fit can resume from" in str(met.value))


@pytest.mark.skipif("int(os.environ.get('PMI_SIZE', 1)) < 2", reason="needs a launcher that names the number of ranks")
def test_cluster_none_warns_once(cluster):
    script = f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parents[1])!r})
        import warnings
        warnings.simplefilter("error")
        from common_cases import labelled
        from tiny_model import TinySoftmax
        try:
            TinySoftmax(max_iter=2, tol=0).fit(*labelled())
        except UserWarning as warning:
            assert f"{cluster.size} ranks were started" in str(warning)
        else:
            sys.exit("no warning")
        TinySoftmax(max_iter=2, tol=0).fit(*labelled())
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)
