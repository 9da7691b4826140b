"""Optimal transport between samples: sliced Wasserstein distances and what learning by them needs."""

from steppe.ot._sliced import separating_directions, sliced_wasserstein_distance, sorted_targets

__all__ = ["separating_directions", "sliced_wasserstein_distance", "sorted_targets"]
