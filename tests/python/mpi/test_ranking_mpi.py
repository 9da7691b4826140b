"""LocalGMMLRanker and load_letor on the ranks of an MPI job."""

import numpy as np
import pytest

from steppe.datasets import load_letor
from steppe.parallel import Cluster
from steppe.ranking import LocalGMMLRanker

COMMON = {"max_iter": 4, "tol": 0, "random_state": 0}


def documents(seed=0):
    rng = np.random.default_rng(seed)
    qid = np.repeat(np.arange(30), rng.integers(4, 12, 30))
    X = rng.normal(size=(len(qid), 5))
    return X, np.digitize(X[:, 0] + 0.3 * rng.normal(size=len(qid)), [0, 1]), qid


def shares(cluster, n):
    """Uneven and cutting through queries; rank 1 of several has none; then row by row."""
    cuts = np.linspace(0, n, cluster.size + 1).astype(int)
    if cluster.size > 2:
        cuts[2] = cuts[1]
    return [np.arange(cuts[cluster.rank], cuts[cluster.rank + 1]), np.arange(n)[cluster.rank :: cluster.size]]


@pytest.mark.parametrize("phi", ["shared", "per_query"])
def test_ranks_fit_the_ranker_of_one_process(cluster, phi):
    X, y, qid = documents()
    alone = LocalGMMLRanker(phi=phi, cluster=Cluster(), **COMMON).fit(X, y, qid)
    for mine in shares(cluster, len(X)):
        model = LocalGMMLRanker(phi=phi, cluster=cluster, **COMMON).fit(X[mine], y[mine], qid[mine])
        np.testing.assert_array_equal(model.anchors_, alone.anchors_)
        np.testing.assert_allclose(model.weights_, alone.weights_, rtol=1e-9)
        np.testing.assert_allclose(model.history_["objective"][-1], alone.history_["objective"][-1], rtol=1e-9)
        np.testing.assert_allclose(model.predict(X), alone.predict(X), rtol=1e-9)
        assert len(set(cluster.gather(model.weights_.tobytes()))) == 1


def test_a_query_that_cannot_teach_on_one_rank_is_no_error(cluster):
    X, y, qid = documents()
    mine = shares(cluster, len(X))[0]
    grades = y[mine] if cluster.rank != cluster.size - 1 or cluster.size == 1 else 0 * y[mine]
    assert LocalGMMLRanker(cluster=cluster, **COMMON).fit(X[mine], grades, qid[mine]).n_iter_ == 4


def test_bad_grades_on_one_rank_are_bad_on_all(cluster):
    X, y, qid = documents()
    if cluster.rank == cluster.size - 1:
        y = -y - 1
    with pytest.raises(ValueError, match=r"y: met the grade"):
        LocalGMMLRanker(cluster=cluster, **COMMON).fit(X, y, qid)


def test_load_letor_gives_whole_queries(cluster, tmp_path):
    path = cluster.broadcast(tmp_path / "data")
    X, y, qid = documents()
    if cluster.rank == 0:
        rows = [
            f"{g} qid:{q} " + " ".join(f"{j}:{v!r}" for j, v in enumerate(map(float, x), 1))
            for x, g, q in zip(X, y, qid, strict=True)
        ]
        path.write_text("\n".join(rows))
    cluster.gather(None)
    part = load_letor(path, cluster=cluster)
    held = cluster.gather(np.unique(part.qid))
    assert len(np.concatenate(held)) == 30
    np.testing.assert_array_equal(np.concatenate(cluster.gather(part.X)), X)
