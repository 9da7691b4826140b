"""Saving and loading fitted estimators: versioned, without pickle, arrays mappable into memory.

A model is one file of arrays (see `_arrays_file`), whose metadata holds the class, the parameters and the
fitted attributes as a tree in JSON with the arrays taken out. On a cluster, attributes that belong to rows
are spread: rank 0 writes `path` and rank r writes `path.rank<r>`; loading joins them in rank order.
"""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from steppe import _arrays_file

if TYPE_CHECKING:
    from os import PathLike

    from numpy.typing import NDArray

    from steppe._base import BaseSteppeEstimator

FORMAT = "steppe-model"
VERSION = 1

_NOT_SAVED = {"cluster": None, "callbacks": None, "checkpoint": None}
_SCALARS = (bool, int, float, str, type(None))


class Packer:
    """Turns values into JSON, putting arrays aside in `arrays`; `unpack` is its inverse."""

    def __init__(self) -> None:
        self.arrays: dict[str, NDArray[Any]] = {}

    def pack(self, value: Any, name: str) -> Any:
        """JSON for `value`; `name` says where it stands, in the file and in errors."""
        if isinstance(value, _SCALARS) and type(value) in _SCALARS:
            return value
        if isinstance(value, np.ndarray):
            return self._pack_array(value, name)
        if isinstance(value, np.generic):
            return {"$scalar": self._pack_array(np.asarray(value), name)}
        if isinstance(value, (list, tuple)):
            items = [self.pack(item, f"{name}.{i}") for i, item in enumerate(value)]
            return items if type(value) is list else {"$tuple": items}
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            return {"$dict": {key: self.pack(item, f"{name}.{key}") for key, item in value.items()}}
        raise TypeError(f"{name} is a {type(value).__name__}, which cannot be saved without pickle")

    def _pack_array(self, array: NDArray[Any], name: str) -> Any:
        kind = array.dtype.kind
        if _arrays_file.can_hold(array.dtype):
            self.arrays[name] = array
            return {"$array": name}
        if array.dtype.names is not None:
            return {
                "$record": {field: self._pack_array(array[field], f"{name}.{field}") for field in array.dtype.names}
            }
        if kind in "Mm":
            self.arrays[name] = array.view("i8")
            return {"$time": name, "dtype": array.dtype.str}
        if kind in "US":
            self._pack_strings(array, name)
            return {"$strings": name, "dtype": array.dtype.str, "shape": list(array.shape)}
        if kind == "T" or (kind == "O" and all(type(item) is str for item in array.flat)):
            self._pack_strings(array, name)
            return {"$strings": name, "dtype": "T" if kind == "T" else "O", "shape": list(array.shape)}
        if kind == "O":
            items = [self.pack(item, f"{name}.{i}") for i, item in enumerate(array.flat)]
            return {"$objects": items, "shape": list(array.shape)}
        raise TypeError(f"{name} is an array of {array.dtype}, which cannot be saved")

    def _pack_strings(self, array: NDArray[Any], name: str) -> None:
        encoded = [
            item if isinstance(item, bytes) else str(item).encode("utf-8", "surrogatepass") for item in array.flat
        ]
        self.arrays[f"{name}.ends"] = np.cumsum([len(item) for item in encoded], dtype=np.int64)
        self.arrays[f"{name}.text"] = np.frombuffer(b"".join(encoded), dtype=np.uint8)


def unpack(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    """The value that `Packer.pack` made `value` of."""
    if isinstance(value, list):
        return [unpack(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    match next(iter(value.items()), (None, None)):
        case "$array", name:
            return arrays[name]
        case "$scalar", array:
            return unpack(array, arrays)[()]
        case "$tuple", items:
            return tuple(unpack(item, arrays) for item in items)
        case "$dict", items:
            return {key: unpack(item, arrays) for key, item in items.items()}
        case "$record", fields:
            return _record({field: unpack(item, arrays) for field, item in fields.items()})
        case "$time", name:
            return arrays[name].view(value["dtype"])
        case "$strings", name:
            return _strings(arrays[f"{name}.text"], arrays[f"{name}.ends"], value["dtype"]).reshape(value["shape"])
        case "$objects", items:
            return _objects([unpack(item, arrays) for item in items]).reshape(value["shape"])
        case unknown, _:
            raise ValueError(f"the file holds a value of the unknown kind {unknown!r}")


def _record(fields: dict[str, NDArray[Any]]) -> NDArray[Any]:
    dtype = [(name, values.dtype) for name, values in fields.items()]
    record = np.empty(next(iter(fields.values())).shape, dtype=dtype)
    for name, values in fields.items():
        record[name] = values
    return record


def _strings(text: NDArray[np.uint8], ends: NDArray[np.int64], dtype: str) -> NDArray[Any]:
    data, starts = text.tobytes(), [0, *ends[:-1].tolist()]
    items: list[Any] = [data[first:last] for first, last in zip(starts, ends.tolist(), strict=False)]
    if np.dtype(dtype).kind != "S":
        items = [item.decode("utf-8", "surrogatepass") for item in items]
    return _objects(items).astype(dtype)


def _objects(items: list[Any]) -> NDArray[Any]:
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


def save(estimator: BaseSteppeEstimator, path: str | PathLike[str]) -> None:
    """Write the fitted `estimator`. Collective if it was fitted on a cluster."""
    cluster = estimator.cluster
    rank, size = (0, 1) if cluster is None else (cluster.rank, cluster.size)
    spread = size > 1 and bool(estimator._row_attributes)
    error: Exception | None = None
    try:
        if rank == 0 or spread:
            _write(estimator, path, rank, size if spread else 1)
    except (OSError, TypeError) as raised:
        error = raised
    if cluster is not None:
        cluster.agree_on(error)
    elif error is not None:
        raise error


def _write(estimator: BaseSteppeEstimator, path: str | PathLike[str], rank: int, n_parts: int) -> None:
    packer = Packer()
    fitted = {name: value for name, value in vars(estimator).items() if name in estimator._saved_attributes()}
    if rank > 0:
        fitted = {name: value for name, value in fitted.items() if name in estimator._row_attributes}
    params = {**estimator.get_params(deep=False), **_NOT_SAVED}
    if not isinstance(params["random_state"], (int, np.integer, type(None))):
        params["random_state"] = None
    model = {
        "class": f"{type(estimator).__module__}:{type(estimator).__qualname__}",
        "rank": rank,
        "parts": n_parts,
        "params": packer.pack(params, "params"),
        "fitted": packer.pack(fitted, "fitted"),
    }
    metadata = {"format": FORMAT, "version": str(VERSION), "model": json.dumps(model)}
    _arrays_file.write(_part(path, rank), packer.arrays, metadata)


def _part(path: str | PathLike[str], rank: int) -> Path:
    path = Path(path)
    return path if rank == 0 else path.with_name(f"{path.name}.rank{rank}")


def load(path: str | PathLike[str], *, mmap: bool = False) -> Any:
    """Load an estimator that was saved with ``estimator.save(path)``.

    Parameters
    ----------
    path : path
        The file; the parts that other ranks wrote are found beside it.
    mmap : bool, default=False
        Map the arrays from the file, read-only, instead of reading them: processes on one machine then share
        them.

    Returns
    -------
    estimator : fitted estimator
        Of the class that was saved. Its ``cluster``, ``callbacks`` and ``checkpoint`` are None.

    Raises
    ------
    ValueError
        If the file is no model of steppe, of a version that this one does not know, or names a class outside
        steppe.
    """
    first = _read(path, 0, mmap)
    kind = _class_of(path, first.of)
    parts = [first]
    for rank in range(1, first.n_parts):
        part = _read(path, rank, mmap)
        if (part.of, part.rank, part.n_parts) != (first.of, rank, first.n_parts):
            raise ValueError(f"{_part(path, rank)} is not part {rank} of {path}: save the model again")
        parts.append(part)
    with _arrays_file.intact(path):
        estimator = kind(**first.params)
        fitted = _joined(estimator, parts)
    estimator._set_fitted(fitted)
    return estimator


@dataclass(frozen=True)
class _Part:
    """What one file of a model holds."""

    of: str
    rank: int
    n_parts: int
    params: dict[str, Any]
    fitted: dict[str, Any]


def _joined(estimator: BaseSteppeEstimator, parts: list[_Part]) -> dict[str, Any]:
    """The fitted attributes, those of rows from all parts."""
    fitted = dict(parts[0].fitted)
    for name in estimator._row_attributes if len(parts) > 1 else ():
        pieces = [part.fitted[name] for part in parts if name in part.fitted]
        arrays = all(isinstance(piece, np.ndarray) for piece in pieces)
        fitted[name] = np.concatenate(pieces) if arrays else pieces[0]
    return fitted


def _read(path: str | PathLike[str], rank: int, mmap: bool) -> _Part:
    part = _part(path, rank)
    arrays, metadata = _arrays_file.read(part, mmap=mmap)
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{part} holds no model of steppe (its format is {metadata.get('format')!r})")
    if metadata.get("version") != str(VERSION):
        raise ValueError(
            f"{part} has version {metadata.get('version')} and this steppe reads version {VERSION}: update steppe"
        )
    with _arrays_file.intact(part):
        model = json.loads(metadata["model"])
        params, fitted = (dict(unpack(model[name], arrays)) for name in ("params", "fitted"))
        return _Part(str(model["class"]), int(model["rank"]), int(model["parts"]), params, fitted)


def _class_of(path: str | PathLike[str], name: str) -> type[BaseSteppeEstimator]:
    from steppe._base import BaseSteppeEstimator

    module, _, qualname = name.partition(":")
    if module.split(".")[0] != "steppe":
        raise ValueError(f"{path} names the class {name!r}: only classes of steppe are loaded")
    try:
        found: Any = importlib.import_module(module)
        for part in qualname.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        found = None
    if not (isinstance(found, type) and issubclass(found, BaseSteppeEstimator)):
        raise ValueError(f"{path} names the class {name!r}, which this steppe does not have: update steppe")
    return found
