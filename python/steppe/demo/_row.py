"""What a fit of the demo tells."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One fit: a line of the table and a curve of the picture."""

    estimator: str
    data: str
    way: str
    seconds: float
    measure: str
    quality: float
    curve: list[tuple[float, float]]
    """(seconds, objective) at every drain where the objective was evaluated."""
