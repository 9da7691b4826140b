"""load_letor: the format, LightGBM's sizes, bad files, ranks."""

import gzip
import io

import numpy as np
import pytest

from steppe.datasets import load_letor
from steppe.parallel import Cluster

TEXT = b"""# a comment
2 qid:10 1:0.5 3:2 # doc = A
0 qid:10 2:4

1 qid:12 1:1 3:-1e-3
0 qid:10 1:7
"""


def many(n=200, seed=0):
    rng = np.random.default_rng(seed)
    qid = np.sort(rng.integers(0, 12, n))
    lines = [
        f"{rng.integers(0, 3)} qid:{q} "
        + " ".join(f"{j}:{rng.normal():.4f}" for j in range(1, 6) if rng.random() < 0.7)
        for q in qid
    ]
    return "\n".join(lines).encode()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_missing_features_are_zero(dtype):
    X, y, qid = load_letor(io.BytesIO(TEXT), dtype=dtype)
    assert isinstance(X, np.ndarray)
    assert X.dtype == dtype
    np.testing.assert_array_equal(X, np.array([[0.5, 0, 2], [0, 4, 0], [1, 0, -1e-3], [7, 0, 0]], dtype=dtype))
    assert y.tolist() == [2, 0, 1, 0]
    assert qid.tolist() == [10, 10, 12, 10]


def test_bases_widths_and_sparse_rows():
    dense = load_letor(io.BytesIO(TEXT)).X
    zero = load_letor(io.BytesIO(TEXT), zero_based=True).X
    np.testing.assert_array_equal(zero[:, 1:], dense)
    assert load_letor(io.BytesIO(TEXT), n_features=9).X.shape == (4, 9)
    np.testing.assert_array_equal(load_letor(io.BytesIO(TEXT), sparse=True).X.toarray(), dense)


def test_sizes_in_a_file_of_their_own(tmp_path):
    (tmp_path / "rank.query").write_text("2\n0\n1\n1\n")
    with gzip.open(tmp_path / "rank.gz", "wb") as file:
        file.write(b"0 1:1\n1 2:1\n2 1:3\n0 3:1\n")
    X, y, qid = load_letor(tmp_path / "rank.gz", query_path=tmp_path / "rank.query")
    assert X.shape == (4, 3)
    assert y.tolist() == [0, 1, 2, 0]
    assert qid.tolist() == [0, 0, 2, 3]


@pytest.mark.parametrize(
    ("text", "sizes", "words"),
    [
        (b"1 qid:1 1:2\n1 1:2\n", None, "line 2: query_id=True needs 'qid:'.*query_path="),
        (b"1 qid:x 1:2\n", None, "line 1: a query id must be"),
        (b"1 qid:1 1:2\n0 qid:1 1:a\n", None, "line 2: a feature must be index:value"),
        (b"1 qid:1 2:2 2:3\n", None, "line 1: feature index 2 occurs more than once"),
        (b"-1 qid:1 1:2\n", None, "met the grade -1"),
        (b"1 1:2\n", b"2\n", r"query_path: the 1 queries have 2 documents, but there are 1 lines"),
        (b"1 1:2\n", b"1\nx\n", "line 2: the size of a query must be a whole number, got 'x'"),
    ],
)
def test_bad_files_are_told_by_line(text, sizes, words):
    with pytest.raises(ValueError, match=words):
        load_letor(io.BytesIO(text), query_path=None if sizes is None else io.BytesIO(sizes))


@pytest.mark.parametrize("n_ranks", [2, 3, 5])
@pytest.mark.parametrize("by_sizes", [False, True])
def test_ranks_load_whole_queries(tmp_path, n_ranks, by_sizes):
    path, sizes = tmp_path / "data", None
    path.write_bytes(many())
    X, y, qid = load_letor(path)
    if by_sizes:
        sizes = tmp_path / "sizes"
        sizes.write_text("\n".join(map(str, np.unique(qid, return_counts=True)[1])))
        path.write_bytes(b"\n".join(b" ".join([line.split()[0], *line.split()[2:]]) for line in many().split(b"\n")))
        qid = np.unique(qid, return_inverse=True)[1]
    parts = Cluster._threads(n_ranks, lambda cluster: load_letor(path, query_path=sizes, cluster=cluster))
    held = [set(part.qid.tolist()) for part in parts]
    assert sum(map(len, held)) == len(set().union(*held))
    np.testing.assert_array_equal(np.concatenate([part.X for part in parts]), X)
    np.testing.assert_array_equal(np.concatenate([part.y for part in parts]), y)
    np.testing.assert_array_equal(np.concatenate([part.qid for part in parts]), qid)
