"""What a fit remembers of its iterations, and the test of tolerance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

HISTORY_DTYPE = np.dtype([("iteration", "i8"), ("seconds", "f8"), ("objective", "f8"), ("updates", "i8")])

_LOOK_EVERY = 10


class History:
    """Grows by one row an iteration; `updates` and `seconds` are totals since the start of the fit."""

    def __init__(self, rows: NDArray[np.void] | None = None) -> None:
        self._rows: list[tuple[int, float, float, int]] = [] if rows is None else rows.tolist()

    def append(self, seconds: float, objective: float, updates: int) -> None:
        """One more iteration: its end in seconds, the objective or nan, and the updates that it made."""
        self._rows.append((len(self) + 1, seconds, objective, self.updates + updates))

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def seconds(self) -> float:
        return self._rows[-1][1] if self._rows else 0.0

    @property
    def objective(self) -> float:
        return self._rows[-1][2] if self._rows else np.nan

    @property
    def updates(self) -> int:
        return self._rows[-1][3] if self._rows else 0

    def as_array(self) -> NDArray[np.void]:
        return np.array(self._rows, dtype=HISTORY_DTYPE)

    def within(self, tol: float) -> bool:
        """Whether the last iteration changed the objective by at most `tol` times its size. Never for tol = 0."""
        if tol == 0 or len(self) < 2:
            return False
        before, now = self._rows[-2][2], self._rows[-1][2]
        return abs(now - before) <= tol * max(abs(now), abs(before))


def evaluation_is_due(iteration: int, max_iter: int, *, watched: bool) -> bool:
    """Whether to evaluate the objective after that iteration.

    A fit that somebody watches (a tolerance, a callback, verbose) evaluates every time; else the first, the last and
    each tenth, so that the history can be drawn at a few per cent of the cost.
    """
    return watched or iteration in (1, max_iter) or iteration % _LOOK_EVERY == 0
