"""Parallel readers of data files, and generators that know the truth they planted."""

from steppe.datasets._bag_of_words import BagOfWords, iter_bag_of_words, load_bag_of_words
from steppe.datasets._generators import (
    RatingsTruth,
    TextTruth,
    make_ratings,
    make_text_classification,
    split_ratings,
)
from steppe.datasets._letor import RankedDocuments, load_letor
from steppe.datasets._ratings import Ratings, load_ratings
from steppe.datasets._svmlight import iter_svmlight, load_svmlight
from steppe.datasets._topics import TopicsTruth, make_topics

__all__ = [
    "BagOfWords",
    "RankedDocuments",
    "Ratings",
    "RatingsTruth",
    "TextTruth",
    "TopicsTruth",
    "iter_bag_of_words",
    "iter_svmlight",
    "load_bag_of_words",
    "load_letor",
    "load_ratings",
    "load_svmlight",
    "make_ratings",
    "make_text_classification",
    "make_topics",
    "split_ratings",
]
