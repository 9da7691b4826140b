"""Optimal transport between points and sites."""

from steppe.ot._cells import assign_cells

__all__ = ["assign_cells"]
