"""Files that the ranks of an MPI job read together, each its range of bytes."""

import numpy as np
import pytest
from sklearn.datasets import dump_svmlight_file, load_svmlight_file

from steppe.datasets import load_svmlight


@pytest.fixture
def shared_path(cluster, tmp_path):
    return cluster.broadcast(tmp_path)


def lines_of_a_file(n_rows, n_features=30, seed=0):
    """Rows of very different length, so that ranges of bytes end anywhere in a line."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, n_features)) * (rng.random((n_rows, n_features)) < rng.random((n_rows, 1)) ** 2)
    return X, rng.integers(0, 5, n_rows), np.repeat(np.arange(n_rows), 3)[:n_rows]


@pytest.mark.parametrize("n_rows", [0, 1, 2, 100])
@pytest.mark.parametrize("zero_based", [True, False])
def test_the_ranges_of_all_ranks_are_the_file(cluster, shared_path, n_rows, zero_based):
    path = shared_path / "rows.svmlight"
    theirs = lines_of_a_file(n_rows)
    if cluster.rank == 0:
        path.write_bytes(b"")
        if n_rows:
            X, y, qid = theirs
            dump_svmlight_file(X, y, str(path), zero_based=zero_based, query_id=qid, comment="made for a test")
    cluster.gather(None)
    options = {"n_features": 30, "zero_based": zero_based, "query_id": True}
    X, *others = load_svmlight(path, cluster=cluster, **options)
    parts = cluster.gather((X.toarray(), *others))
    if n_rows:
        X, *others = load_svmlight_file(str(path), **options)
        theirs = (X.toarray(), *others)
    for ours, their in zip(zip(*parts, strict=True), theirs, strict=True):
        np.testing.assert_array_equal(np.concatenate(ours), their)


def test_ranks_unify_the_columns_and_where_they_begin(cluster, shared_path):
    path = shared_path / "rows.svmlight"
    if cluster.rank == 0:
        # Only the first line shows that columns are counted from 0, only the last one how many there are.
        path.write_text("1 0:1 2:1\n" + "2 1:1 3:1\n" * 500 + "3 7:1\n")
    cluster.gather(None)
    X, y = load_svmlight(path, cluster=cluster)
    assert X.shape == (len(y), 8)
    assert sum(cluster.gather(len(y))) == 502
    expected = np.zeros(8)
    expected[[0, 1, 2, 3, 7]] = [1, 500, 1, 500, 1]
    np.testing.assert_array_equal(cluster.sum(np.asarray(X.sum(axis=0)).ravel()), expected)


def test_a_bad_line_in_the_range_of_one_rank_is_met_on_all(cluster, shared_path):
    path = shared_path / "rows.svmlight"
    if cluster.rank == 0:
        path.write_text("1 1:1\n" * 600 + "1 1:one\n")
    cluster.gather(None)
    with pytest.raises(ValueError, match=r"rows\.svmlight"):
        load_svmlight(path, cluster=cluster)
