"""Asynchronous, distributed estimation of models that outgrow one core, one machine or one GPU.

The estimators live in submodules, imported when first used: ``steppe.recommend``, ``steppe.linear_model``, ...
"""

import importlib
from types import ModuleType

from steppe._core import ClusterError, __version__
from steppe._persistence import load

_SUBMODULES = ("datasets", "linear_model", "metric", "metrics", "ot", "parallel", "ranking", "recommend", "topics")

__all__ = ["ClusterError", "__version__", "load", *_SUBMODULES]


def __getattr__(name: str) -> ModuleType:
    if name in _SUBMODULES:
        return importlib.import_module(f"steppe.{name}")
    raise AttributeError(f"module 'steppe' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_SUBMODULES])
