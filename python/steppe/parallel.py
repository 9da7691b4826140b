"""Ranks that fit one model together."""

from __future__ import annotations

import os
import pickle
import sys
import threading
import time
import traceback
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import numpy as np

from steppe import _core
from steppe._core import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

    from numpy.typing import ArrayLike, NDArray

__all__ = ["Cluster", "ClusterError"]

T = TypeVar("T")

_SIZE_VARIABLES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS")
_BAD_INPUT = (ValueError, TypeError)
_KIND_OF_VALUE = {"U": "text", "S": "text", "T": "text", "M": "time", "m": "duration", "O": "object"}
_LAST_WORDS = 1.0  # seconds between the traceback of a rank and the end of the job


class Cluster:
    """The ranks that fit one model together; hand it to an estimator as ``cluster=``.

    Each rank passes its own rows to ``fit``; columns, classes and ids are unified over the ranks. Every
    method is collective: all ranks call it, in the same order, or all wait for the one that does not.

    Parameters
    ----------
    comm : mpi4py communicator or None, default=None
        None is one process. The communicator must outlive the cluster.
    gather_limit : int, default=2**30
        Bytes that a model may take on every rank. It ends whole on each, so that predicting is local; a fit of a larger
        one is refused before it starts.
    timeout : float, default=300
        Seconds for which ranks wait for one that stays silent before they name it and give up. Ranks may
        arrive at `fit` that far apart.

    Attributes
    ----------
    rank : int
        The number of this process, from 0.
    size : int
        Number of ranks.

    Examples
    --------
    >>> from steppe.parallel import Cluster
    >>> Cluster().size
    1
    """

    def __init__(self, comm: Any = None, *, gather_limit: int = 2**30, timeout: float = 300.0) -> None:
        if gather_limit < 0:
            raise ValueError(f"gather_limit: got {gather_limit}; give a number of bytes, 0 or more")
        self.gather_limit = gather_limit
        self._link = _core.LocalLink() if comm is None else _mpi_link(comm, timeout)
        self._comm = comm  # keeps the communicator alive as long as the link that uses it

    @classmethod
    def world(cls, *, gather_limit: int = 2**30, timeout: float = 300.0) -> Cluster:
        """All processes that ``mpiexec`` started; one process without it.

        From then on an exception that nothing catches ends the whole job, after its traceback is printed: the
        other ranks would wait for this one for ever.

        Raises
        ------
        ImportError
            If mpi4py is missing; ``pip install steppe[mpi]`` brings it.
        """
        try:
            from mpi4py import MPI
        except ImportError as error:
            raise ImportError("Cluster.world() needs mpi4py: pip install 'steppe[mpi]'") from error
        if MPI.COMM_WORLD.size > 1:
            _end_job_when_uncaught(MPI.COMM_WORLD.Abort)
        return cls(MPI.COMM_WORLD, gather_limit=gather_limit, timeout=timeout)

    @classmethod
    def _of_link(cls, link: _core.Link, *, gather_limit: int = 2**30) -> Cluster:
        cluster = cls(gather_limit=gather_limit)
        cluster._link = link
        return cluster

    @classmethod
    def _threads(cls, size: int, work: Callable[[Cluster], T], *, timeout: float = 60.0) -> list[T]:
        """Run `work` as `size` ranks, each a thread of this process, and return what they returned.

        Raises
        ------
        BaseException
            What a rank raised: that of the lowest rank whose exception is not merely an echo of another's.
        """
        results: list[Any] = [None] * size
        errors: list[BaseException | None] = [None] * size
        links = _core.make_thread_links(size, timeout)

        def run(rank: int, link: _core.Link) -> None:
            try:
                results[rank] = work(cls._of_link(link))
            except BaseException as error:  # noqa: BLE001 - handed to the caller's thread below
                errors[rank] = error

        threads = [threading.Thread(target=run, args=(rank, links.pop(0))) for rank in range(size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        raised = [error for error in errors if error is not None]
        for error in sorted(raised, key=lambda error: isinstance(error, ClusterError)):
            raise error
        return results

    @property
    def rank(self) -> int:
        return self._link.rank

    @property
    def size(self) -> int:
        return self._link.size

    @property
    def link(self) -> _core.Link:
        """What native code sends through."""
        return self._link

    def __repr__(self) -> str:
        return f"Cluster(rank={self.rank}, size={self.size})"

    def __deepcopy__(self, memo: Mapping[int, Any]) -> Cluster:
        return self  # a clone of an estimator works on the same ranks

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Cluster belongs to a running job and cannot be pickled; make one with Cluster.world()")

    def gather(self, value: T) -> list[T]:
        """The values of all ranks, in rank order, on every rank. Small Python values or arrays."""
        if self.size == 1:
            return [value]
        return [pickle.loads(data) for data in self._link.allgather(pickle.dumps(value))]

    def broadcast(self, value: T, root: int = 0) -> T:
        """The value of rank `root`, on every rank."""
        return self.gather(value if self.rank == root else None)[root]  # type: ignore[return-value]

    def sum(self, value: Any) -> Any:
        """The sum over ranks, made in rank order so that all ranks hold the same bits. Numbers or arrays."""
        first, *others = self.gather(value)
        for other in others:
            first = first + other
        return first

    def unify(self, values: ArrayLike) -> NDArray[Any]:
        """The sorted distinct values of all ranks: classes, ids, words.

        Raises
        ------
        ValueError
            If the ranks hold values that cannot be compared, such as numbers and strings.
        """
        with self.agree():
            mine = np.unique(np.asarray(values))
        return np.unique(concatenated(self.gather(mine)))

    @contextmanager
    def agree(self) -> Iterator[None]:
        """Around checks of this rank's own input: what one rank raises ends the fit on all, naming the rank.

        The block must not hold a collective call. ValueError and TypeError are bad input, and so are they on
        every rank; anything else is a ClusterError on the ranks where it did not happen.
        """
        error: Exception | None = None
        try:
            yield
        except Exception as raised:
            if self.size == 1:
                raise
            error = raised
        self.agree_on(error)

    def agree_on(self, error: BaseException | None) -> None:
        """Collective: raise here what was met here, and elsewhere what the lowest failing rank met."""
        if self.size == 1:
            if error is not None:
                raise error
            return
        told = self.gather(None if error is None else _describe(error))
        if error is not None:
            raise error
        for rank, description in enumerate(told):
            if description is not None:
                _raise_echo(rank, *description)


def concatenated(parts: list[NDArray[Any]]) -> NDArray[Any]:
    """The values of all ranks, as gathered; those of ranks that hold none have no say in the type.

    Raises
    ------
    ValueError
        If the ranks hold values that cannot be compared, such as numbers and strings.
    """
    filled = [part for part in parts if part.size] or parts[:1]
    dtypes = {part.dtype for part in filled}
    if len({_KIND_OF_VALUE.get(dtype.kind, "number") for dtype in dtypes}) > 1:
        kinds = [str(part.dtype) for part in parts]
        raise ValueError(f"the ranks hold values of different kinds, {kinds}: pass the same type on every rank")
    together = np.concatenate(filled)
    if together.dtype.kind == "f" and all(dtype.kind in "iu" for dtype in dtypes):  # int64 beside uint64
        if min(int(part.min()) for part in filled) < 0:
            raise ValueError("the ranks hold negative integers and uint64: pass the same type on every rank")
        together = np.concatenate([part.astype(np.uint64) for part in filled])
    return together


def _describe(error: BaseException) -> tuple[str, str, str]:
    kind = next((bad.__name__ for bad in _BAD_INPUT if isinstance(error, bad)), "")
    return kind, f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error))


def _raise_echo(rank: int, kind: str, message: str, trace: str) -> NoReturn:
    for bad in _BAD_INPUT:
        if kind == bad.__name__:
            raise bad(f"rank {rank}: {message}")
    error = ClusterError(f"rank {rank} failed: {message}\n\nOn rank {rank}:\n{trace}")
    error.rank = rank
    raise error


def _mpi_link(comm: Any, timeout: float) -> _core.Link:
    if not hasattr(comm, "handle"):
        raise TypeError(f"comm: expected an mpi4py communicator such as MPI.COMM_WORLD, got {type(comm).__name__}")
    try:
        from steppe import _mpi
    except ImportError as error:
        raise ImportError(
            f"this steppe cannot use MPI ({error}); install 'steppe[mpi]', or build steppe where MPI is found"
        ) from error
    link: _core.Link = _mpi.make_link(comm.handle, timeout)
    return link


def _end_job_when_uncaught(abort: Callable[[int], object]) -> None:
    """Once: after the traceback of an uncaught exception, end all ranks, as ``python -m mpi4py`` does."""
    if getattr(sys.excepthook, "ends_job", False):
        return
    show = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        show(kind, error, trace)
        sys.stderr.flush()
        time.sleep(_LAST_WORDS)  # the other ranks may be about to show what they met
        abort(1)

    hook.ends_job = True  # type: ignore[attr-defined]
    sys.excepthook = hook


def _started_ranks() -> int:
    """How many processes the launcher started, as far as can be told without starting MPI."""
    mpi = sys.modules.get("mpi4py.MPI")
    if mpi is not None and mpi.Is_initialized() and not mpi.Is_finalized():
        return int(mpi.COMM_WORLD.size)
    return max((int(os.environ[name]) for name in _SIZE_VARIABLES if os.environ.get(name, "").isdigit()), default=1)


_warned_alone = False


def cluster_or_alone(cluster: Cluster | None) -> Cluster:
    """`cluster`, or one process; warns once if it is one of several that know nothing of each other."""
    global _warned_alone
    if isinstance(cluster, Cluster):
        return cluster
    if cluster is not None:
        raise TypeError(f"cluster: got a {type(cluster).__name__}; give a steppe.parallel.Cluster or None")
    if not _warned_alone and (ranks := _started_ranks()) > 1:
        _warned_alone = True
        warnings.warn(
            f"{ranks} ranks were started and cluster=None: each trains its own model on its data. To train "
            "one model together, pass cluster=Cluster.world() of steppe.parallel, and each rank its rows.",
            UserWarning,
            stacklevel=4,
        )
    return Cluster()
