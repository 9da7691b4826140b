"""Parallel readers of data files, and generators that know the truth they planted."""

from steppe.datasets._generators import (
    RatingsTruth,
    TextTruth,
    make_ratings,
    make_text_classification,
    split_ratings,
)

__all__ = [
    "RatingsTruth",
    "TextTruth",
    "make_ratings",
    "make_text_classification",
    "split_ratings",
]
