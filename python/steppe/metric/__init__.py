"""Learned Mahalanobis distances."""

from steppe.metric._gmml import GMML
from steppe.metric._itml import ITML

__all__ = ["GMML", "ITML"]
