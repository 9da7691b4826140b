"""Where and how a fit runs: ranks, threads, schedule, device, seed, memory."""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
from sklearn.utils import check_random_state

from steppe import _device
from steppe._digest import digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steppe import _core
    from steppe.parallel import Cluster

SCHEDULES = ("serial", "bsp", "nomad", "hogwild", "batch", "svi")
TOKEN_SCHEDULES = SCHEDULES[:4]  # of models that meet the data token by token, and so of most

_OF_A_RANK = frozenset(("n_jobs", "cluster", "callbacks", "verbose", "random_state"))  # the seed is that of rank 0
_SHOWN = 5


@dataclass(frozen=True)
class FitPlan:
    """The resolved common parameters of one fit.

    Attributes
    ----------
    cluster : Cluster
    n_threads : int
        Threads of this rank.
    schedule : str
        Never "auto".
    device : {"cpu", "cuda"}
    seed : int
        64 bits, equal on all ranks.
    verbose : int
        0 on all ranks but the first.
    fitted : dict
        Fitted attributes that are known before the fit, such as `classes_`: the estimator gets them together with the
        parameters, so that a fit that fails leaves the last one whole.
    """

    cluster: Cluster
    n_threads: int
    schedule: str
    device: str
    seed: int
    verbose: int
    fitted: dict[str, Any] = field(default_factory=dict)

    @property
    def link(self) -> _core.Link:
        return self.cluster.link

    def check_memory(self, n_bytes: int, n_model_bytes: int = 0) -> None:
        """Collective. State the bytes that this rank will allocate, and refuse what cannot fit.

        `n_model_bytes` are those of the parameters that end whole on every rank.

        Raises
        ------
        MemoryError
            On the rank where it does not fit (a ClusterError on the others).
        ValueError
            If the parameters are larger than the cluster's gather_limit.
        """
        available = available_memory()
        if self.verbose:
            print(f"memory: about {_readable(n_bytes)} for this fit, {_readable(available)} available")
        with self.cluster.agree():
            if self.cluster.size > 1 and n_model_bytes > self.cluster.gather_limit:
                raise ValueError(
                    f"cluster: this model takes {_readable(n_model_bytes)} and would end whole on every rank, beyond "
                    f"gather_limit={self.cluster.gather_limit}; raise gather_limit, or use float32 or a smaller model"
                )
            if n_bytes > available:
                raise MemoryError(
                    f"this fit needs about {_readable(n_bytes)} and {_readable(available)} are available: "
                    "use float32, a smaller model, or more ranks (cluster=)"
                )


def check_same_parameters(estimator: Any, cluster: Cluster, *, more: bool) -> None:
    """Collective. Refuse ranks that were given different parameters, or that go on from different fits.

    Raises
    ------
    ValueError
        On every rank; it names the parameter and says which rank holds what.
    """
    if cluster.size == 1:
        return
    with cluster.agree():
        params = {"estimator": type(estimator).__qualname__, **estimator.get_params(deep=False)}
        mine = {name: digest(value) for name, value in params.items() if name not in _OF_A_RANK}
        if more or estimator.warm_start:
            mine["the fit to go on from"] = _fitted_so_far(estimator)
    told = cluster.gather(mine)
    for name in {key: None for one in told for key in one}:
        refuse_differing(name, [one.get(name, "absent") for one in told])


def refuse_differing(name: str, values: Sequence[Any]) -> None:
    """A ValueError if not all ranks hold the same value; `values` are those of all ranks, gathered."""
    held: dict[Any, list[int]] = {}
    for rank, value in enumerate(values):
        held.setdefault(value, []).append(rank)
    if len(held) > 1:
        parts = [f"{value} on rank{'s' * (len(ranks) > 1)} {_listed(ranks)}" for value, ranks in held.items()]
        raise ValueError(f"{name}: the ranks hold different values, {_listed(parts, '; ')}; give all the same")


def _listed(items: Sequence[Any], separator: str = ", ") -> str:
    shown = separator.join(map(str, items[:_SHOWN]))
    return shown if len(items) <= _SHOWN else f"{shown}{separator}..."


def _fitted_so_far(estimator: Any) -> str:
    """What must be equal on all ranks of the fit that a new one starts from: which arrays there are."""
    own = set(estimator._saved_attributes()) - set(estimator._row_attributes)
    shapes = {name: getattr(estimator, name).shape for name in own if hasattr(getattr(estimator, name), "shape")}
    return digest(shapes) if shapes else "not fitted"


def make_plan(estimator: Any, cluster: Cluster, seed: int | None) -> FitPlan:
    """Collective. Resolves the common parameters of `estimator`, which have been validated.

    `seed`, that of a checkpoint, takes the place of a random_state that is not an int.
    """
    with cluster.agree():
        n_threads = resolve_n_jobs(estimator.n_jobs)
        schedule = resolve_schedule(estimator, n_threads * cluster.size, cluster.size)
        device = resolve_device(estimator)
        if seed is None or isinstance(estimator.random_state, (int, np.integer)):
            seed = make_seed(estimator.random_state)
    return FitPlan(
        cluster=cluster,
        n_threads=1 if schedule == "serial" else n_threads,
        schedule=schedule,
        device=device,
        seed=cluster.broadcast(seed),
        verbose=int(estimator.verbose) if cluster.rank == 0 else 0,
    )


def make_seed(random_state: Any) -> int:
    """A seed of 64 bits from what scikit-learn takes as random_state."""
    return int(check_random_state(random_state).randint(0, 2**64, dtype=np.uint64))


def resolve_n_jobs(n_jobs: int | None) -> int:
    """Threads for `n_jobs`, with scikit-learn's meaning.

    None is 1 unless in a joblib context. Negative numbers count from the cores that affinity and cgroups
    allow; in a process that joblib started they share these cores with its siblings.

    Raises
    ------
    ValueError
        If `n_jobs` is 0.
    """
    if n_jobs == 0:
        raise ValueError("n_jobs: got 0; give a positive number of threads, -1 for all cores, or None for 1")
    threads = int(joblib.effective_n_jobs(n_jobs))
    share = os.environ.get("OMP_NUM_THREADS", "")  # joblib sets it in its workers: cores / workers
    if n_jobs is not None and n_jobs < 0 and multiprocessing.parent_process() is not None and share.isdigit():
        threads = min(threads, max(int(share), 1))
    return threads


def resolve_schedule(estimator: Any, n_workers: int, n_ranks: int) -> str:
    """The schedule that `estimator` runs on with that many workers on that many ranks."""
    schedule: str = estimator.schedule
    if schedule == "auto":
        return "serial" if n_workers == 1 else estimator._auto_schedule
    if schedule not in estimator._schedules:
        raise ValueError(
            f"schedule: {type(estimator).__name__} does not run on {schedule!r}; "
            f"choose one of {['auto', *estimator._schedules]}"
        )
    if schedule in ("serial", "hogwild") and n_ranks > 1:
        raise ValueError(
            f"schedule: {schedule!r} runs in one process and the cluster has {n_ranks} ranks; "
            "choose 'bsp', 'nomad' or 'auto'"
        )
    return schedule


def resolve_device(estimator: Any) -> str:
    """The device that `estimator` runs on."""
    if estimator.device == "cpu":
        return "cpu"
    why = _why_no_cuda(estimator)
    if why is None:
        return "cuda"
    if estimator.device == "auto":
        return "cpu"
    raise ValueError(f"device: 'cuda' was asked for, but {why}; use device='cpu' or device='auto'")


def _why_no_cuda(estimator: Any) -> str | None:
    if "cuda" not in estimator._devices:
        return f"{type(estimator).__name__} has no CUDA kernels"
    return _device.why_no_cuda()


def available_memory() -> int:
    """Bytes that this process may still allocate: what the machine, and its cgroup, have free."""
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            free = 1024 * int(line.split()[1])
    limit, used = _lines("/sys/fs/cgroup/memory.max"), _lines("/sys/fs/cgroup/memory.current")
    if limit and used and limit[0].isdigit():
        free = min(free, max(int(limit[0]) - int(used[0]), 0))
    return free


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().split("\n")
    except OSError:
        return []


def _readable(n_bytes: float) -> str:
    for unit in ("B", "kB", "MB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.3g} GB"
