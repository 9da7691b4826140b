"""Readers against scikit-learn's loader and a slow reference; bad lines; ranges, ranks, batches."""

import bz2
import gzip
import importlib.util
import io
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.sparse import csr_array
from sklearn.datasets import dump_svmlight_file, load_svmlight_file

from steppe import _core
from steppe.datasets import iter_svmlight, load_ratings, load_svmlight
from steppe.parallel import Cluster

REFERENCE = Path(__file__).resolve().parents[1] / "reference" / "text_files.py"
_spec = importlib.util.spec_from_file_location("text_files", REFERENCE)
text_files = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(text_files)


def number(rng):
    """A number as files hold them: short, long, tiny, huge, with or without an exponent, a point, a sign."""
    value = rng.normal() * 10.0 ** rng.integers(-30, 30) if rng.random() < 0.3 else rng.normal()
    return rng.choice(
        [
            repr(float(value)),
            f"{value:.3f}",
            f"{value:.16g}",
            f"{value:.25e}",
            f"{value:+.6E}",
            str(rng.integers(-9, 9)),
            f"{rng.integers(0, 9)}.",
            f".{rng.integers(0, 10**9)}",
            f"{rng.integers(0, 2**62)}",
            f"{rng.integers(0, 2**62)}e-{rng.integers(0, 60)}",
        ]
    )


def svmlight_text(rng, n_rows=60, n_columns=30, *, base=1, query_id=False, shuffle=False, junk=True):
    """Random text in the format, with whatever the format allows."""
    lines = []
    for row in range(n_rows):
        columns = rng.permutation(n_columns)[: rng.integers(0, n_columns // 2)]
        columns = columns if shuffle else np.sort(columns)
        blank = rng.choice([" ", "  ", "\t"]) if junk else " "
        parts = [str(rng.integers(-1, 4)) if rng.random() < 0.8 else number(rng)]
        parts += [f"qid:{row // 7}"] if query_id else []
        parts += [f"{column + base}:{number(rng)}" for column in columns]
        line = blank.join(parts)
        if junk:
            line = rng.choice(["", " "]) + line + rng.choice(["", " ", "\r", " # note: 3:4", "#"])
            lines += list(rng.choice(["", "# a comment 1:2", "   "], size=rng.integers(0, 2)))
        lines.append(line)
    return ("\n".join(lines) + rng.choice(["", "\n"])).encode()


def is_canonical(X):
    """Look at the indices instead of believing the flag."""
    return csr_array((X.data, X.indices, X.indptr), shape=X.shape).has_canonical_format


def same_rows(X, expected):
    assert X.shape == expected.shape
    assert_array_equal(X.indptr, expected.indptr)
    assert_array_equal(X.indices, expected.indices)
    assert_array_equal(X.data, expected.data)
    assert X.data.dtype == expected.data.dtype


# --- svmlight: the same as scikit-learn ---


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_random_files_equal_scikit_learns(seed, dtype):
    rng = np.random.default_rng(seed)
    base = int(rng.integers(0, 2))
    text = svmlight_text(rng, base=base, query_id=True)
    with np.errstate(over="ignore"):
        X_expected, y_expected, q_expected = load_svmlight_file(io.BytesIO(text), dtype=dtype, query_id=True)
    X, y, q = load_svmlight(io.BytesIO(text), dtype=dtype, query_id=True, n_jobs=1 + seed % 3)
    same_rows(X, X_expected)
    assert_array_equal(y, y_expected)
    assert_array_equal(q, q_expected)


@pytest.mark.parametrize("n_threads", [1, 2, 4])
@pytest.mark.parametrize("piece_bytes", [1, 7, 100, 4096])
def test_pieces_and_threads_change_nothing(n_threads, piece_bytes):
    text = svmlight_text(np.random.default_rng(3), query_id=True, shuffle=True)
    options = {"float64": True, "query_id": True}
    whole = _core.read_svmlight(text, "whole", n_threads=1, **options)
    cut = _core.read_svmlight(text, "cut", n_threads=n_threads, piece_bytes=piece_bytes, **options)
    for name, value in whole.items():
        assert_array_equal(cut[name], value, err_msg=name)


@pytest.mark.parametrize("zero_based", [True, False, "auto"])
@pytest.mark.parametrize("base", [0, 1])
def test_first_column(zero_based, base):
    text = f"1 {base}:5 {base + 3}:6\n".encode()
    if zero_based is False and base == 0:
        with pytest.raises(ValueError, match="zero_based=False, but feature index 0"):
            load_svmlight(io.BytesIO(text), zero_based=zero_based)
        return
    same_rows(
        load_svmlight(io.BytesIO(text), zero_based=zero_based)[0],
        load_svmlight_file(io.BytesIO(text), zero_based=zero_based)[0],
    )


@pytest.mark.parametrize("text", [b"", b"\n\n", b"# nothing\n", b"1\n-1 #\n", b"3"])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_nothing_to_read(text, n_jobs, tmp_path):
    path = tmp_path / "empty.svm"
    path.write_bytes(text)
    X_expected, y_expected = load_svmlight_file(path)
    X, y = load_svmlight(path, n_jobs=n_jobs)
    assert X.shape == X_expected.shape and X.nnz == 0
    assert_array_equal(y, y_expected)


def test_multilabel_equals_scikit_learns():
    text = b"3,1 1:2\n\n 2:5 # no label\n7 1:1\n2,2 qid:4 3:1\n"
    X_expected, y_expected = load_svmlight_file(io.BytesIO(text), multilabel=True)
    X, y = load_svmlight(io.BytesIO(text), multilabel=True)
    same_rows(X, X_expected)
    assert y == y_expected == [(1.0, 3.0), (), (7.0,), (2.0, 2.0)]


@pytest.mark.parametrize("suffix, opener", [("", open), (".gz", gzip.open), (".bz2", bz2.open)])
def test_what_scikit_learn_writes(tmp_path, suffix, opener):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(50, 8)) * (rng.random((50, 8)) < 0.5), rng.integers(0, 3, size=50)
    plain = io.BytesIO()
    dump_svmlight_file(X, y, plain)
    path = tmp_path / f"data.svm{suffix}"
    with opener(path, "wb") as stream:
        stream.write(plain.getvalue())
    X_read, y_read = load_svmlight(path, n_features=8)
    assert_array_equal(X_read.toarray(), np.array([[float(f"{v:.16g}") for v in row] for row in X]))
    assert_array_equal(y_read, y)


def test_numbers_round_as_in_python():
    rng = np.random.default_rng(1)
    texts = [number(rng) for _ in range(20_000)]
    texts += ["1e400", "-1e400", "1e-400", "0e999", "4.9e-324", "2.4e-324", "8.5e-320", "1.8e308", "-0", "+3"]
    texts += [
        "1.7976931348623157e308",
        "9007199254740993",
        "9007199254740992.9999999999999999999",
        "1e22",
        "1e23",
    ]
    texts += ["0." + "0" * 400 + "1e400", "1" + "0" * 400 + "e-400", "123456789012345678901234567890", "1e+5"]
    texts += ["1e99999999999999999999", "1e-99999999999999999999", "0" * 30 + "1", "nan", "-inf", "INFINITY"]
    text = "\n".join(f"{text} 1:{text}" for text in texts).encode()
    X, y = load_svmlight(io.BytesIO(text))
    expected = np.array([float(text) for text in texts])
    assert_array_equal(y.view(np.int64), expected.view(np.int64))
    assert_array_equal(X.data.view(np.int64), expected.view(np.int64))


# --- svmlight: beyond scikit-learn ---


@pytest.mark.parametrize("seed", range(10))
def test_indices_in_any_order(seed):
    text = svmlight_text(np.random.default_rng(seed), shuffle=True)
    rows, labels, _ = text_files.read_svmlight(text, base=1)
    X, y = load_svmlight(io.BytesIO(text), n_features=40, n_jobs=2)
    assert is_canonical(X)
    assert_array_equal(X.toarray(), text_files.dense(rows, 40))
    assert_array_equal(y, labels)


MALFORMED = {
    b"x 1:2": "the label must be a number, got 'x'",
    b"1,2 1:2": "got '1,2'; see multilabel=True",
    b"1:2 2:3": "the label must be a number, got '1:2'",
    b"1 2": "index:value with a whole index from 0 to 2147483647, got '2'",
    b"1 2:": "got '2:'",
    b"1 :2": "got ':2'",
    b"1 2:x": "got '2:x'",
    b"1 2:3:4": "got '2:3:4'",
    b"1 2:1e": "got '2:1e'",
    b"1 2 :3": "got '2'",
    b"1 2: 3": "got '2:'",
    b"1 -2:3": "got '-2:3'",
    b"1 2.5:3": "got '2.5:3'",
    b"1 2147483648:3": "got '2147483648:3'",
    b"1 99999999999999999999999:3": "got '9999",
    b"1 2:1_0": "got '2:1_0'",
    b"1 2:0x10": "got '2:0x10'",
    b"1 2:3 2:4": "feature index 2 occurs more than once",
    b"1 9:3 2:4 9:1": "feature index 9 occurs more than once",
    b"1 qid:a 2:4": "a query id must be qid: and a whole number, got 'qid:a'",
    b"1 qid3 2:4": "got 'qid3'",
    b"1 \x00\xff:3": r"got '\x00\xff:3'",
    b"1 " + b"y" * 99: "got '" + "y" * 40 + "...'",
}


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("line", MALFORMED)
def test_a_malformed_line_is_named(line, n_jobs, tmp_path):
    path = tmp_path / "bad.svm"
    path.write_bytes(b"1 1:2\n# comment\n\n" + line + b"\n1 1:2\nalso bad\n")
    with pytest.raises(ValueError) as error:
        load_svmlight(path, n_jobs=n_jobs)
    assert str(error.value).startswith(f"{path}, line 4: ")
    assert MALFORMED[line] in str(error.value)


def test_the_first_malformed_line_is_reported_whatever_the_threads():
    text = b"1 1:2\n" * 999 + b"bad\n" + b"1 1:2\nworse\n" * 999
    for n_threads in (1, 2, 4):
        with pytest.raises(ValueError, match="line 1000: the label must be a number, got 'bad'"):
            _core.read_svmlight(text, "text", float64=True, n_threads=n_threads, piece_bytes=64)


def test_a_missing_query_id_is_refused():
    with pytest.raises(ValueError, match="line 2: query_id=True needs 'qid:' after the label, got '1:2'"):
        load_svmlight(io.BytesIO(b"1 qid:1 1:2\n1 1:2\n"), query_id=True)


def test_number_of_features():
    text = b"1 3:1\n"
    assert load_svmlight(io.BytesIO(text), n_features=10)[0].shape == (1, 10)
    with pytest.raises(ValueError, match="holds 3 features, more than n_features=2"):
        load_svmlight(io.BytesIO(text), n_features=2)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"dtype": np.int32}, "dtype"),
        ({"zero_based": "no"}, "zero_based"),
        ({"offset": -1}, "offset"),
        ({"length": 0}, "length"),
        ({"offset": 3}, "n_features"),
        ({"n_jobs": 0}, "n_jobs"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        load_svmlight(io.BytesIO(b"1 1:1\n"), **options)


def test_what_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_svmlight(tmp_path / "absent.svm")
    with pytest.raises(IsADirectoryError):
        load_svmlight(tmp_path)
    with pytest.raises(TypeError, match="path: expected a path or a binary file, got int"):
        load_svmlight(3)
    with pytest.raises(TypeError, match="binary mode"):
        load_svmlight(io.StringIO("1 1:1"))


def test_the_arrays_outlive_the_reader(tmp_path):
    path = tmp_path / "data.svm"
    path.write_bytes(b"1 1:2\n" * 1000)
    X, y = load_svmlight(path)
    path.unlink()
    X.data *= 2  # writable, and nobody else's
    assert X.data.sum() == 4000 and X.data.flags.writeable and y.flags.writeable


def test_ctrl_c_ends_the_reading():
    text = b"1 1:2 2:3\n" * 3_000_000
    handler = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.03)
        with pytest.raises(KeyboardInterrupt):
            for _ in range(1000):
                _core.read_svmlight(text, "text", float64=True, n_threads=2)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)


# --- svmlight: parts of a file ---


@pytest.mark.parametrize("seed", range(5))
def test_adjacent_ranges_share_no_line_and_lose_none(seed, tmp_path):
    rng = np.random.default_rng(seed)
    text = svmlight_text(rng, base=0)
    path = tmp_path / "data.svm"
    path.write_bytes(text)
    X, y = load_svmlight(path, zero_based=True, n_features=30)
    for _ in range(20):
        cuts = np.sort(rng.integers(1, len(text), size=3)).tolist()
        bounds = list(zip([0, *cuts], [*cuts, len(text)], strict=True))
        parts = [load_svmlight(path, n_features=30, offset=a, length=b - a) for a, b in bounds if b > a]
        assert_array_equal(np.concatenate([part[1] for part in parts]), y)
        assert_array_equal(np.vstack([part[0].toarray() for part in parts]), X.toarray())


def test_every_range_is_what_the_reference_reads():
    text = b"1 0:1\n# c\n2 1:2\n\n3 2:3 # d\n4 0:4"
    for a in range(len(text) + 2):
        for b in range(a + 1, len(text) + 2):
            X, y = load_svmlight(io.BytesIO(text), n_features=3, offset=a, length=b - a)
            rows, labels, _ = text_files.read_svmlight(text, begin=a if a else -1, end=b)
            assert_array_equal(y, labels)
            assert_array_equal(X.toarray(), text_files.dense(rows, 3))


def test_ranges_equal_scikit_learns_without_comments():
    text = svmlight_text(np.random.default_rng(5), n_rows=20, base=0, junk=False)
    longest = max(map(len, text.split(b"\n")))  # without a line start in the range scikit-learn takes the next line
    for a in range(0, len(text), 7):
        for length in (longest + 1, 2 * longest, len(text)):
            expected = load_svmlight_file(io.BytesIO(text), n_features=30, offset=a, length=length)
            X, y = load_svmlight(io.BytesIO(text), n_features=30, offset=a, length=length)
            same_rows(X, expected[0])
            assert_array_equal(y, expected[1])


@pytest.mark.parametrize("n_ranks", [1, 2, 3, 7])
@pytest.mark.parametrize("base", [0, 1])
def test_ranks_share_a_file(n_ranks, base, tmp_path):
    path = tmp_path / "data.svm"
    path.write_bytes(svmlight_text(np.random.default_rng(2), n_rows=25, base=base, query_id=True))
    X, y, q = load_svmlight(path, query_id=True)
    parts = Cluster._threads(n_ranks, lambda cluster: load_svmlight(path, query_id=True, cluster=cluster))
    assert {part[0].shape[1] for part in parts} == {X.shape[1]}
    assert_array_equal(np.vstack([part[0].toarray() for part in parts]), X.toarray())
    assert_array_equal(np.concatenate([part[1] for part in parts]), y)
    assert_array_equal(np.concatenate([part[2] for part in parts]), q)


def test_more_ranks_than_lines(tmp_path):
    path = tmp_path / "data.svm.gz"
    path.write_bytes(gzip.compress(b"1 5:2\n"))
    parts = Cluster._threads(4, lambda cluster: load_svmlight(path, cluster=cluster))
    assert [part[0].shape for part in parts] == [(1, 5), (0, 5), (0, 5), (0, 5)]


def test_a_bad_line_on_one_rank_ends_all(tmp_path):
    path = tmp_path / "data.svm"
    path.write_bytes(b"1 1:2\n" * 50 + b"1 bad\n")
    raised = []

    def load(cluster):
        try:
            load_svmlight(path, cluster=cluster)
        except ValueError as error:
            raised.append((cluster.rank, str(error)))

    Cluster._threads(2, load)
    assert len(raised) == 2
    assert all("line 51" in message for _, message in raised)
    assert dict(raised)[0].startswith("rank 1: ")


@pytest.mark.parametrize("batch_bytes", [1, 50, 333, 10**6])
@pytest.mark.parametrize("zero_based", ["auto", False])
def test_batches_are_the_file(batch_bytes, zero_based, tmp_path):
    path = tmp_path / "data.svm.gz"
    path.write_bytes(gzip.compress(svmlight_text(np.random.default_rng(4), query_id=True)))
    X, y, q = load_svmlight(path, query_id=True)
    batches = list(iter_svmlight(path, batch_bytes=batch_bytes, zero_based=zero_based, query_id=True))
    assert {batch[0].shape[1] for batch in batches} == {X.shape[1]}
    assert_array_equal(np.vstack([batch[0].toarray() for batch in batches]), X.toarray())
    assert_array_equal(np.concatenate([batch[1] for batch in batches]), y)
    assert_array_equal(np.concatenate([batch[2] for batch in batches]), q)


def test_batches_of_a_model_need_one_pass():
    class Once(io.BytesIO):
        def seek(self, *_):
            raise AssertionError("read twice")

    batches = iter_svmlight(Once(b"1 1:1\n2 2:2\n"), n_features=5, zero_based=False, batch_bytes=3)
    assert [batch[0].shape for batch in batches] == [(1, 5), (1, 5)]


def test_batches_name_the_line_in_the_file():
    text = io.BytesIO(b"1 1:1\n" * 9 + b"1 x\n")
    with pytest.raises(ValueError, match="line 10: "):
        list(iter_svmlight(text, batch_bytes=10, n_features=1, zero_based=False))
    with pytest.raises(ValueError, match="batch_bytes"):
        next(iter_svmlight(text, batch_bytes=0))
    with pytest.raises(ValueError, match="more than n_features=1"):
        list(iter_svmlight(io.BytesIO(b"1 2:1\n"), n_features=1))


# --- ratings ---


def ratings_text(rng, sep, *, text_ids, n_ratings=300, header="", quote=""):
    pairs = rng.permutation(40 * 30)[:n_ratings]
    lines = [header] if header else []
    for pair in pairs:
        user, item = (f"u{pair // 30}", f"i {pair % 30}") if text_ids else (pair // 30 * 1000 - 7, pair % 30)
        user, item = (f"{quote}{name}{quote}" for name in (user, item))
        lines.append(sep.join([user, item, str(rng.integers(1, 11) / 2), str(rng.integers(1e9))]))
    return "\n".join(lines) + rng.choice(["", "\n", "\r\n\n"])


def check_ratings(result, expected):
    X, users, items = result
    assert is_canonical(X)
    rows, columns = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr)), X.indices
    names = {
        (str(users[row]), str(items[column])): value
        for row, column, value in zip(rows, columns, X.data.tolist(), strict=True)
    }
    assert names == expected
    assert (users[:-1] < users[1:]).all() and (items[:-1] < items[1:]).all()
    assert X.shape == (len(users), len(items))


@pytest.mark.parametrize("sep", ["::", "\t", ",", ";", "|", " "])
@pytest.mark.parametrize("text_ids", [False, True])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_ratings_equal_the_reference(sep, text_ids, n_jobs, tmp_path):
    text = ratings_text(np.random.default_rng(0), sep, text_ids=text_ids)
    if sep == " ":
        text = text.replace("i ", "i")  # blanks separate, so ids cannot hold any
    path = tmp_path / "ratings.dat"
    path.write_text(text)
    expected = {pair: values[0] for pair, values in text_files.read_ratings(text, sep).items()}
    for chosen in ("auto", sep):
        check_ratings(load_ratings(path, sep=chosen, n_jobs=n_jobs), expected)


@pytest.mark.parametrize("quote", ["", '"'])
def test_ratings_with_a_header_and_quotes(quote):
    header = "user,item,stars,time"
    text = ratings_text(np.random.default_rng(1), ",", text_ids=True, header=header, quote=quote)
    ratings = text_files.read_ratings(text.removeprefix(header), ",")
    expected = {pair: values[0] for pair, values in ratings.items()}
    for skip in ("auto", True):
        check_ratings(load_ratings(io.BytesIO(text.encode()), skip_header=skip, dtype=np.float64), expected)
    with pytest.raises(ValueError, match="line 1: the rating must be a finite number, got 'stars'"):
        load_ratings(io.BytesIO(text.encode()), skip_header=False)


def test_pieces_and_threads_change_no_rating():
    text = ratings_text(np.random.default_rng(2), ",", text_ids=True).encode()
    options = {
        "float64": True,
        "separator": ",",
        "user_column": 0,
        "item_column": 1,
        "value_column": 2,
        "header_lines": 0,
        "duplicates": "error",
    }
    whole = _core.read_ratings(text, "whole", n_threads=1, **options)
    for n_threads, piece_bytes in [(1, 10), (2, 100), (4, 1)]:
        cut = _core.read_ratings(text, "cut", n_threads=n_threads, piece_bytes=piece_bytes, **options)
        for name, value in whole.items():
            assert_array_equal(cut[name], value, err_msg=name)


@pytest.mark.parametrize("duplicates, expected", [("last", 5.0), ("mean", 3.0), ("sum", 6.0)])
def test_duplicates(duplicates, expected):
    text = b"1,7,1\n1,8,2\n2,7,4\n1,7,5\n"
    X, users, items = load_ratings(io.BytesIO(text), duplicates=duplicates)
    assert X.toarray().tolist() == [[expected, 2.0], [4.0, 0.0]]
    assert users.tolist() == [1, 2] and items.tolist() == [7, 8]
    with pytest.raises(ValueError, match=r"user 1 rated an item more than once; .*duplicates="):
        load_ratings(io.BytesIO(text))


def test_ids_of_two_kinds():
    X, users, items = load_ratings(io.BytesIO("10,x,1\n9,é,2\n9,7,3\n".encode()))
    assert users.dtype == np.int64 and users.tolist() == [9, 10]
    assert items.tolist() == ["7", "x", "é"]
    assert X.toarray().tolist() == [[3.0, 0.0, 2.0], [0.0, 1.0, 0.0]]
    padded = load_ratings(io.BytesIO(b"01,5,1\n1,6,2\n"))
    assert padded.users.tolist() == [1] and padded.X.toarray().tolist() == [[1.0, 2.0]]


def test_columns_may_be_chosen():
    text = b"time,stars,film,who\n5,2.5,a,3\n6,1.5,b,4\n"
    X, users, items = load_ratings(io.BytesIO(text), columns=(3, 2, 1))
    assert X.toarray().tolist() == [[2.5, 0.0], [0.0, 1.5]]
    assert users.tolist() == [3, 4] and items.tolist() == ["a", "b"]
    X, users, _ = load_ratings(io.BytesIO(b"who film\n3 1\n3 2\n4 2\n"), columns=(0, 1))
    assert X.toarray().tolist() == [[1.0, 1.0], [0.0, 1.0]] and users.tolist() == [3, 4]
    assert load_ratings(io.BytesIO(b"a b\nc d\n"), columns=[0, 1]).X.nnz == 2


def test_quotes_hide_separators():
    X, users, items = load_ratings(io.BytesIO(b'"a,b",1,2,"x,""y"""\n"a,c" , 2 , 3\n'), sep=",")
    assert users.tolist() == ["a,b", "a,c"] and items.tolist() == [1, 2] and X.sum() == 5


@pytest.mark.parametrize(
    "text, message",
    [
        (b"1,2,3\n1,3\n", "line 2: column 2 is needed, but there are only 2 fields, starting with '1,3'"),
        (b"1,2,3\n1,3,x\n", "line 2: the rating must be a finite number, got 'x'"),
        (b"1,2,3\n1,3,\n", "line 2: column 2 is empty"),
        (b"1,2,3\n,3,1\n", "line 2: column 0 is empty"),
        (b"1,2,3\n1,3,nan\n", "line 2: the rating must be a finite number, got 'nan'"),
        (b"1,2,3\n1,3,1e39\n", "line 2: the rating must be a finite number, got '1e39'"),
        (b'1,2,3\n"1,3,4\n', "line 2: a quoted field does not end"),
        (b'1,2,3\n"a""b",3,4\n', "line 2: column 0 holds quotes"),
        (b"1,2,3\n\xff,3,4\n", "is not UTF-8"),
        (b"\n\n", "holds no rating"),
        (b"user,item,rating\n", "holds no rating"),
        (b"", "holds no rating"),
    ],
)
def test_bad_ratings_are_named(text, message):
    with pytest.raises(ValueError) as error:
        load_ratings(io.BytesIO(text))
    assert message in str(error.value)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"sep": "e"}, "sep"),
        ({"sep": ""}, "sep"),
        ({"columns": (0, 0, 1)}, "columns"),
        ({"columns": (0,)}, "columns"),
        ({"columns": (0, -1)}, "columns"),
        ({"duplicates": "first"}, "duplicates"),
        ({"dtype": int}, "dtype"),
    ],
)
def test_bad_options_for_ratings(options, message):
    with pytest.raises(ValueError, match=message):
        load_ratings(io.BytesIO(b"1,2,3\n"), **options)


def test_readers_run_side_by_side(tmp_path):
    path = tmp_path / "data.svm"
    path.write_bytes(svmlight_text(np.random.default_rng(0), n_rows=500))
    expected = load_svmlight(path)[0]
    results = []

    def load():
        results.append(load_svmlight(path, n_jobs=2)[0])

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for X in results:
        same_rows(X, expected)
