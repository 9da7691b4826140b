"""Optimal transport: points and sites, and samples by their projections."""

from steppe.ot._cells import assign_cells
from steppe.ot._directions import separating_directions
from steppe.ot._semi_discrete import SemiDiscreteOT
from steppe.ot._sliced import sliced_wasserstein_distance, sorted_targets

__all__ = [
    "SemiDiscreteOT",
    "assign_cells",
    "separating_directions",
    "sliced_wasserstein_distance",
    "sorted_targets",
]
