"""Checkpoints: the state of a fit at the end of an iteration, on disk, whole at every moment.

One process keeps everything in `path`. On a cluster rank r writes `path.<iteration>.rank<r>`; when all have,
rank 0 renames a small index into `path`, and only then do the parts of the checkpoint before go: a job killed
at any moment leaves a complete checkpoint behind.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from steppe import _arrays_file
from steppe._digest import digest
from steppe._history import History

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

    from numpy.typing import NDArray

    from steppe._loop import Session
    from steppe._plan import FitPlan
    from steppe.parallel import Cluster

FORMAT = "steppe-checkpoint"
VERSION = 1

# Parameters that do not change what an iteration computes, or that the plan resolves.
_FREE = frozenset(
    ("max_iter", "tol", "n_jobs", "cluster", "schedule", "device", "random_state")
    + ("checkpoint", "callbacks", "verbose")
)


def identity_of(estimator: Any, plan: FitPlan, problem: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint must agree with to be resumed: class, parameters, layout and data of this rank."""
    identity = {"class": type(estimator).__qualname__, "ranks": plan.cluster.size, "threads": plan.n_threads}
    identity |= {"schedule": plan.schedule, "device": plan.device, "seed": plan.seed}
    params = estimator.get_params(deep=False)
    identity |= {name: digest(value) for name, value in sorted(params.items()) if name not in _FREE}
    identity |= {f"data {name}": digest(value) for name, value in problem.items()}
    return identity


def check_path(path: str | PathLike[str]) -> None:
    """Refuse, before the fit begins, a path that no checkpoint can be written to.

    Raises
    ------
    ValueError
        If it is empty, a folder, or in a folder that does not exist or cannot be written to.
    """
    place = Path(path)
    if not os.fspath(path) or place.is_dir():
        raise ValueError(f"checkpoint: {os.fspath(path)!r} is a folder or empty; give the path of a file")
    if not place.parent.is_dir():
        raise ValueError(f"checkpoint: the folder of {os.fspath(path)!r} does not exist; make it first")
    if not os.access(place.parent, os.W_OK | os.X_OK):
        raise ValueError(f"checkpoint: the folder of {os.fspath(path)!r} cannot be written to; give another path")


def seed_of(path: str | PathLike[str] | None, cluster: Cluster) -> int | None:
    """Collective. The seed that the checkpoint at `path` was made with, for a fit that has none."""
    seed = None
    with cluster.agree():
        if path is not None and cluster.rank == 0 and Path(path).exists():
            header = _read(Path(path))[1]
            with _arrays_file.intact(path):
                seed = int(header["identity"]["seed"])
    return cluster.broadcast(seed)


class Checkpoint:
    """Reads and writes the checkpoint of one fit. Collective, but for `restore`."""

    def __init__(self, path: str | PathLike[str], cluster: Cluster, identity: dict[str, Any]) -> None:
        self._path = Path(path)
        self._cluster = cluster
        self._identity = identity
        self._part: Path | None = None

    def read(self) -> tuple[dict[str, NDArray[Any]], History] | None:
        """The state of this rank and the history, or None if there is no checkpoint yet.

        Raises
        ------
        ValueError
            If the checkpoint belongs to another fit; the message says what differs.
        """
        exists = self._cluster.broadcast(self._path.exists())
        if not exists:
            return None
        state: dict[str, NDArray[Any]] = {}
        history = History()
        with self._cluster.agree():
            state, header = _read(self._path)
            if header["parts"]:
                self._part = self._path.with_name(header["parts"][self._cluster.rank % len(header["parts"])])
                state, header = _read(self._part)
            self._refuse_another(header["identity"])
            with _arrays_file.intact(self._part or self._path):
                history = History(_history_of(state))
        return state, history

    def _refuse_another(self, written: dict[str, Any]) -> None:
        mine = self._identity
        differs = [
            f"{name} was {written.get(name, 'absent')} and is {mine.get(name, 'absent')}"
            for name in {**written, **mine}
            if written.get(name) != mine.get(name)
        ]
        if differs:
            raise ValueError(
                f"checkpoint: {self._path} belongs to another fit: {'; '.join(differs)}. "
                "Fit with what it was made with, or remove the file to start anew."
            )

    def restore(self, session: Session, state: dict[str, NDArray[Any]]) -> None:
        """Put `session` into the state that `read` found. Local: what one rank meets, it has to tell the others.

        Raises
        ------
        ValueError
            If the file is damaged, though it can be read; the message names it.
        """
        try:
            session.restore(state)
        except ValueError as error:
            raise ValueError(
                f"checkpoint: {self._part or self._path} holds no state that this fit can resume from: {error}. "
                "Restore the file from a copy, or remove the checkpoint to start anew."
            ) from error

    def write(self, state: Mapping[str, NDArray[Any]], history: History) -> None:
        """Put the checkpoint of this iteration in the place of the one before."""
        cluster = self._cluster
        rows = history.as_array()
        arrays = {
            **state,
            **{f"history.{name}": np.ascontiguousarray(rows[name]) for name in rows.dtype.names or ()},
        }
        if cluster.size == 1:
            _write(self._path, arrays, self._identity, [])
            return
        names = [f"{self._path.name}.{len(history)}.rank{rank}" for rank in range(cluster.size)]
        part = self._path.with_name(names[cluster.rank])
        with cluster.agree():
            _write(part, arrays, self._identity, [])
        with cluster.agree():
            if cluster.rank == 0:
                _write(self._path, {}, self._identity, names)
        if self._part is not None and self._part != part:
            with contextlib.suppress(OSError):
                self._part.unlink()
        self._part = part


def _write(path: Path, arrays: Mapping[str, NDArray[Any]], identity: dict[str, Any], parts: list[str]) -> None:
    header = {"identity": identity, "parts": parts}
    _arrays_file.write(path, arrays, {"format": FORMAT, "version": str(VERSION), "checkpoint": json.dumps(header)})


def _read(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    arrays, metadata = _arrays_file.read(path)
    if metadata.get("format") != FORMAT or metadata.get("version") != str(VERSION):
        raise ValueError(
            f"checkpoint: {path} is no checkpoint of this version of steppe "
            f"(format {metadata.get('format')!r}, version {metadata.get('version')!r}); give another path"
        )
    with _arrays_file.intact(path):
        header = json.loads(metadata["checkpoint"])
        return arrays, {**header, "identity": dict(header["identity"]), "parts": list(header["parts"])}


def _history_of(arrays: dict[str, NDArray[Any]]) -> NDArray[np.void]:
    """Takes the history out of `arrays`."""
    from steppe._history import HISTORY_DTYPE

    columns = {name: arrays.pop(f"history.{name}") for name in HISTORY_DTYPE.names or ()}
    rows = np.empty(len(columns["iteration"]), dtype=HISTORY_DTYPE)
    for name, values in columns.items():
        rows[name] = values
    return rows
