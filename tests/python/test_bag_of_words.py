"""Bags of words against a slow reader: formats, bases, pieces, ranks, batches, bad lines."""

import bz2
import gzip
import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.sparse import csr_array, vstack

from steppe import _core
from steppe.datasets import iter_bag_of_words, load_bag_of_words
from steppe.parallel import Cluster

REFERENCE = Path(__file__).resolve().parents[1] / "reference" / "text_files.py"
_spec = importlib.util.spec_from_file_location("text_files", REFERENCE)
text_files = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(text_files)

N_DOCUMENTS, N_WORDS = 60, 30


def corpus_text(rng, *, uci, base, shuffle=True, zeros=True, junk=True):
    """Random text in the format: empty documents, words in any order, blank lines, odd blanks, counts of 0."""
    lines, n_pairs = [], 0
    for document in range(N_DOCUMENTS):
        size = rng.integers(0, 12) if rng.random() < 0.7 else 0
        words = rng.permutation(N_WORDS)[:size]
        words = words if shuffle else np.sort(words)
        counts = rng.integers(0 if zeros else 1, 9, size=size)
        n_pairs += size
        blank = rng.choice([" ", "  ", "\t"]) if junk else " "
        if uci:
            lines += [
                f"{document + base}{blank}{word + base}{blank}{count}"
                for word, count in zip(words, counts, strict=True)
            ]
        else:
            pairs = [f"{word + base}:{count}" for word, count in zip(words, counts, strict=True)]
            lines.append(blank.join([str(size), *pairs]))
    if junk:
        lines = [
            rng.choice(["", " "]) + line + rng.choice(["", " ", "\r", "\n", "\n \n"], p=[0.6, 0.1, 0.1, 0.1, 0.1])
            for line in lines
        ]
    header = [str(N_DOCUMENTS), str(N_WORDS), str(n_pairs)] if uci else []
    return "\n".join(header + lines) + (rng.choice(["", "\n"]) if junk else "\n")


def expected(text, *, uci, base):
    return text_files.dense(text_files.read_bag_of_words(text, uci=uci, base=base), N_WORDS, np.int32)


def load(text, **options):
    return load_bag_of_words(io.BytesIO(text.encode()), **options).X


def is_canonical(X):
    """Look at the indices instead of believing the flag."""
    return csr_array((X.data, X.indices, X.indptr), shape=X.shape).has_canonical_format


# --- the formats ---


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("base", [0, 1])
@pytest.mark.parametrize("uci", [False, True])
def test_random_files_equal_the_slow_readers(seed, base, uci):
    text = corpus_text(np.random.default_rng(seed), uci=uci, base=base)
    X = load(text, n_features=N_WORDS, zero_based=base == 0, n_jobs=1 + seed % 3)
    assert is_canonical(X) and X.dtype == np.int32 and (X.data > 0).all()
    assert_array_equal(X.toarray(), expected(text, uci=uci, base=base))


@pytest.mark.parametrize("n_threads", [1, 2, 4])
@pytest.mark.parametrize("piece_bytes", [1, 7, 100, 4096])
@pytest.mark.parametrize("format", ["uci", "lda-c"])
def test_pieces_and_threads_change_nothing(n_threads, piece_bytes, format):
    text = corpus_text(np.random.default_rng(3), uci=format == "uci", base=0)
    header = len("".join(text.splitlines(keepends=True)[:3])) if format == "uci" else 0
    options = {"format": format, "first": 0, "header_bytes": header}
    whole = _core.read_bag_of_words(text.encode(), "whole", n_threads=1, **options)
    cut = _core.read_bag_of_words(text.encode(), "cut", n_threads=n_threads, piece_bytes=piece_bytes, **options)
    for name, value in whole.items():
        assert_array_equal(cut[name], value, err_msg=name)


@pytest.mark.parametrize("format", ["uci", "lda-c"])
def test_adjacent_ranges_share_no_document_and_lose_none(format):
    text = corpus_text(np.random.default_rng(5), uci=format == "uci", base=0)
    header = len("".join(text.splitlines(keepends=True)[:3])) if format == "uci" else 0
    options = {"format": format, "first": 0, "header_bytes": header, "n_threads": 1}
    whole = _core.read_bag_of_words(text.encode(), "whole", **options)
    for cut in range(1, len(text)):
        front = _core.read_bag_of_words(text.encode(), "front", length=cut, **options)
        back = _core.read_bag_of_words(text.encode(), "back", offset=cut, **options)
        assert_array_equal(np.concatenate([front["counts"], back["counts"]]), whole["counts"])
        if format == "uci" and front["n_rows"] and back["n_rows"]:
            assert front["first_document"] + front["n_rows"] <= back["first_document"]


def test_formats_are_detected():
    assert_array_equal(load("2 0:1 3:2\n").toarray(), [[1, 0, 0, 2]])
    assert_array_equal(load("0\n0\n0\n1 1:5\n").toarray(), [[0, 0], [0, 0], [0, 0], [0, 5]])
    assert_array_equal(load("0\n0\n0\n0\n1 1:5\n").toarray(), [[0, 0]] * 4 + [[0, 5]])
    assert_array_equal(load("2\n3\n1\n2 3 7\n").toarray(), [[0, 0, 0], [0, 0, 7]])
    assert load("2\n3\n0\n").shape == (2, 3)
    assert load("2\n3\n0").shape == (2, 3)
    assert load("0\n0\n0\n", format="lda-c").shape == (3, 1)
    assert load("").shape == (0, 1)
    assert load("\n\n").shape == (0, 1)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float32, np.float64])
def test_dtypes(dtype):
    X = load("2 0:1 3:2\n", dtype=dtype)
    assert X.dtype == dtype and X.sum() == 3


def test_the_vocabulary_names_the_columns():
    words = io.BytesIO("sea\nNew York\r\nüber\nunused".encode())
    X, vocabulary = load_bag_of_words(io.BytesIO(b"2 0:3 2:1\n"), vocabulary=words)
    assert vocabulary.tolist() == ["sea", "New York", "über", "unused"]
    assert_array_equal(X.toarray(), [[3, 0, 1, 0]])
    assert load_bag_of_words(io.BytesIO(b"1 0:3\n")).vocabulary is None


@pytest.mark.parametrize("suffix, opener", [("", open), (".gz", gzip.open), (".bz2", bz2.open)])
@pytest.mark.parametrize("uci", [False, True])
def test_files(tmp_path, suffix, opener, uci):
    text = corpus_text(np.random.default_rng(0), uci=uci, base=1)
    path = tmp_path / f"docword.txt{suffix}"
    with opener(path, "wb") as stream:
        stream.write(text.encode())
    dense = expected(text, uci=uci, base=1)
    options = {"zero_based": False, "n_features": N_WORDS, "n_jobs": 2}
    assert_array_equal(load_bag_of_words(path, **options).X.toarray(), dense)
    batches = list(iter_bag_of_words(str(path), batch_bytes=50, **options))
    assert_array_equal(vstack(batches).toarray(), dense)


# --- parts ---


@pytest.mark.parametrize("n_ranks", [1, 2, 3, 7])
@pytest.mark.parametrize("uci", [False, True])
def test_ranks_load_consecutive_documents(tmp_path, n_ranks, uci):
    text = corpus_text(np.random.default_rng(n_ranks), uci=uci, base=0)
    path = tmp_path / "docword.txt"
    path.write_text(text)
    parts = Cluster._threads(n_ranks, lambda cluster: load_bag_of_words(path, zero_based=True, cluster=cluster).X)
    assert len({part.shape[1] for part in parts}) == 1
    dense = expected(text, uci=uci, base=0)
    assert_array_equal(vstack(parts).toarray(), dense[:, : parts[0].shape[1]])


@pytest.mark.parametrize("batch_bytes", [1, 10, 64, 10**6])
@pytest.mark.parametrize("uci", [False, True])
@pytest.mark.parametrize("n_features", [None, N_WORDS + 3])
def test_batches_are_the_whole(batch_bytes, uci, n_features):
    text = corpus_text(np.random.default_rng(batch_bytes), uci=uci, base=0)
    options = {"zero_based": True, "n_features": n_features}
    whole = load(text, **options)
    stream = io.BytesIO(b"skipped" + text.encode())
    stream.seek(7)
    batches = list(iter_bag_of_words(stream, batch_bytes=batch_bytes, **options))
    assert all(is_canonical(X) and X.shape[0] > 0 for X in batches)
    joined = vstack(batches).tocsr()
    assert_array_equal(joined.toarray(), whole.toarray())
    assert batch_bytes > 64 or len(batches) > 10


def test_documents_without_words_at_both_ends():
    text = "7\n3\n2\n3 1 5\n5 2 1\n"
    dense = np.zeros((7, 3), dtype=int)
    dense[2, 0], dense[4, 1] = 5, 1
    assert_array_equal(load(text).toarray(), dense)
    for batch_bytes in (1, 8, 100):
        batches = list(iter_bag_of_words(io.BytesIO(text.encode()), batch_bytes=batch_bytes))
        assert_array_equal(vstack(batches).toarray(), dense)


# --- refusals ---


@pytest.mark.parametrize(
    "text, options, message",
    [
        ("1 0:1\nx 1:2\n", {}, "line 2: the line must start with the number of its words, got 'x'"),
        ("1 0:1\n1 1;2\n", {}, "line 2: expected word:count, whole numbers .* got '1;2'"),
        ("1 0:1.5\n", {}, "line 1: expected word:count, .* got '0:1.5'"),
        ("1 0:-1\n", {}, "line 1: expected word:count, .* got '0:-1'"),
        ("3 0:1 1:1\n", {}, "line 1: the line says that it has 3 words, but has 2"),
        ("\n2 4:1 4:2\n", {}, "line 2: word 4 occurs more than once in the document that starts here"),
        ("1 0:1\n", {"zero_based": False}, "line 1: word 0 was met, but words count from 1; use zero_based=True"),
        ("1 9:1\n", {"n_features": 9}, "line 1: word 9 is not one of the 9, which count from 0"),
        ("1 9999999999:1\n", {}, "line 1: word 9999999999 is not one of"),
        ("1 1:9999999999\n", {}, "line 1: a count must be below 2147483648, got 9999999999"),
        ("2\n3\n2\n1 2 3\n1 2\n", {}, "line 5: expected three whole numbers, .* starts with '1'"),
        ("2\n3\n2\n1 2 3\n1 2 3 4\n", {}, "line 5: expected three whole numbers"),
        ("2\n3\n2\n1 2 3\n1 2 3\n", {}, "line 4: word 2 occurs more than once"),
        ("2\n3\n2\n1 2 3\n1 4 3\n", {}, "line 5: word 4 is not one of the 3, which count from 1"),
        ("2\n3\n2\n1 2 3\n3 1 3\n", {}, "line 5: document '3' is not one of the 2, which count from 1"),
        ("2\n3\n2\n0 2 3\n", {}, "line 4: document '0' is not one of the 2, which count from 1"),
        ("2\n3\n2\n2 2 3\n1 1 3\n", {}, "line 5: document 1 comes after a later one; sort the lines by document"),
        ("2\n3\n2\n2 2 3\n", {}, "its header says 2 entries, but it has 1"),
        ("2\n3\n2\n", {}, "its header says 2 entries, but it has 0"),
        ("1 0:1\n", {"format": "uci"}, "line 1: three lines with one whole number each are expected in the UCI format"),
        ("2\n3\n0\n", {"n_features": 2}, "its header says 3 words, but only 2 are expected"),
    ],
)
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_bad_files_are_refused(text, options, message, n_jobs):
    with pytest.raises(ValueError, match="<file>(, |: )" + message):
        load(text, n_jobs=n_jobs, **options)
    with pytest.raises(ValueError, match="<file>(, |: )" + message):
        list(iter_bag_of_words(io.BytesIO(text.encode()), **options))


def test_the_line_is_counted_over_batches():
    text = "1 0:1\n" * 100 + "1 0\n"
    for batch_bytes in (1, 50, 1000):
        with pytest.raises(ValueError, match="line 101: expected word:count"):
            list(iter_bag_of_words(io.BytesIO(text.encode()), batch_bytes=batch_bytes))
    text = "2\n3\n3\n\n1 2 3\n2 2 3\n1 1 3\n"
    for batch_bytes in (1, 10, 1000):
        with pytest.raises(ValueError, match="line 7: document 1 comes after"):
            list(iter_bag_of_words(io.BytesIO(text.encode()), batch_bytes=batch_bytes))


def test_order_is_checked_between_pieces_and_between_ranks(tmp_path):
    text = "9\n3\n3\n3 2 3\n4 2 3\n1 1 3\n"
    with pytest.raises(ValueError, match="text, line 6: document 1 comes after a later one"):
        _core.read_bag_of_words(
            text.encode(), "text", format="uci", header_bytes=6, first=1, piece_bytes=1, n_threads=1
        )
    path = tmp_path / "docword.txt"
    path.write_text(text)
    messages = []

    def of_rank(cluster):
        with pytest.raises(ValueError, match="sort the lines by document") as caught:
            load_bag_of_words(path, cluster=cluster)
        messages.append(str(caught.value))

    Cluster._threads(3, of_rank)
    assert len(messages) == 3


@pytest.mark.parametrize(
    "options, message",
    [
        ({"format": "csv"}, "format"),
        ({"zero_based": 3}, "zero_based"),
        ({"dtype": np.int8}, "dtype"),
        ({"n_features": 0}, "n_features"),
        ({"n_features": 3, "vocabulary": io.BytesIO(b"a\nb\n")}, "n_features: it is 3, but the vocabulary holds 2"),
        ({"vocabulary": io.BytesIO(b"")}, "the vocabulary holds no word"),
        ({"vocabulary": io.BytesIO(b"a\n\xff\n")}, "line 2: the vocabulary is not UTF-8"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        load("1 0:1\n", **options)
    with pytest.raises(ValueError, match="batch_bytes"):
        next(iter_bag_of_words(io.BytesIO(b""), batch_bytes=0))
