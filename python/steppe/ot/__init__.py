"""Optimal transport between points and sites."""

from steppe.ot._cells import assign_cells
from steppe.ot._semi_discrete import SemiDiscreteOT

__all__ = ["SemiDiscreteOT", "assign_cells"]
