"""The text formats, read the slow way: what the native readers must agree with."""

import re

import numpy as np


def read_svmlight(text, *, base=0, begin=-1, end=None):
    """Rows {column: value}, labels and query ids of the lines that start in the bytes (begin, end]."""
    rows, labels, query_ids = [], [], []
    start = 0
    for raw in text.split(b"\n"):
        tokens = raw.split(b"#")[0].split()
        inside = begin < start <= (len(text) if end is None else end)
        start += len(raw) + 1
        if not inside or not tokens:
            continue
        labels.append(float(tokens[0]))
        if len(tokens) > 1 and tokens[1].startswith(b"qid:"):
            query_ids.append(int(tokens.pop(1)[4:]))
        pairs = [token.split(b":") for token in tokens[1:]]
        rows.append({int(index) - base: float(value) for index, value in pairs})
    return rows, labels, query_ids


def dense(rows, n_columns, dtype=np.float64):
    """The rows as a matrix."""
    matrix = np.zeros((len(rows), n_columns), dtype=dtype)
    for row, entries in enumerate(rows):
        for column, value in entries.items():
            matrix[row, column] = value
    return matrix


def read_ratings(text, sep, columns=(0, 1, 2)):
    """{(user, item): [ratings in the file's order]}, ids as text."""
    ratings = {}
    for line in text.split("\n"):
        if not line.strip():
            continue
        fields = line.split() if sep == " " else line.split(sep)
        user, item, value = (re.sub(r'^"|"$', "", fields[column].strip()) for column in columns)
        ratings.setdefault((user, item), []).append(float(value))
    return ratings


def read_bag_of_words(text, *, uci, base):
    """[{word from 0: count}], one for each document."""
    lines = [line.split() for line in text.split("\n") if line.strip()]
    if not uci:
        pairs = [[pair.split(":") for pair in line[1:]] for line in lines]
        return [{int(word) - base: int(count) for word, count in document if int(count)} for document in pairs]
    documents = [{} for _ in range(int(lines[0][0]))]
    for document, word, count in lines[3:]:
        if int(count):
            documents[int(document) - base][int(word) - base] = int(count)
    return documents
