"""What a fit remembers of its iterations, and the test of tolerance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

HISTORY_DTYPE = np.dtype([("iteration", "i8"), ("seconds", "f8"), ("objective", "f8"), ("updates", "i8")])


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

    def as_array(self, fields: Mapping[str, NDArray[Any]] | None = None) -> NDArray[np.void]:
        """The rows, with the model's own `fields` of at least as many entries behind the common ones."""
        rows = np.array(self._rows, dtype=HISTORY_DTYPE)
        if not fields:
            return rows
        wider = np.empty(len(rows), dtype=[*HISTORY_DTYPE.descr, *((name, "f8") for name in fields)])
        for name in HISTORY_DTYPE.names or ():
            wider[name] = rows[name]
        for name, values in fields.items():
            wider[name] = values[: len(rows)]
        return wider

    def within(self, tol: float, every: int = 1) -> bool:
        """Whether an iteration now changes the objective by at most `tol` times its size; never for 0.

        Judged in the iterations 1, 1 + every, 1 + 2 every, ... by the change since the one before of these:
        who else has the objective evaluated does not change when a fit ends.
        """
        if tol == 0 or len(self) <= every or (len(self) - 1) % every:
            return False
        before, now = self._rows[-1 - every][2], self._rows[-1][2]
        return abs(now - before) <= tol * every * max(abs(now), abs(before))
