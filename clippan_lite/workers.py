"""The same function on many places of one job: here in turn, or by the processes of dask.distributed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from dask.distributed import Future

#: Dask has workers give all memory back at once, so that every image is mapped anew: twice the time. Set for those that
#: are started here; for workers of your own, set the two variables before they start.
ENVIRONMENT = {
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": str(256 << 20),
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": str(32 << 20),
}
PATIENCE = 30  # seconds to wait for a dask scheduler
Run = Callable[[Callable, Any, list], Iterable]


@contextlib.contextmanager
def processes(count: int, scheduler: str | None = None) -> Iterator[Run]:
    """Yield ``run(function, job, places)``, which iterates over ``function(job, place)`` in any order.

    Args:
        count: 1 works in this process; more are a local cluster of dask.distributed, one thread each.
        scheduler: address of a running dask scheduler, whose workers are taken instead.

    Raises:
        ImportError: dask.distributed is needed and missing.
        OSError: the scheduler does not answer, or a worker was killed.
    """
    if count == 1 and scheduler is None:
        yield lambda function, job, places: (function(job, place) for place in places)
        return
    try:
        import dask
        from dask.distributed import Client, as_completed
    except ImportError as error:
        raise ImportError("several workers need dask: pip install 'clippan-lite[scenes]'") from error
    before = dict(os.environ)  # a local cluster sets OMP_NUM_THREADS=1, and leaves it to all later processes
    local = {"n_workers": count, "threads_per_worker": 1, "dashboard_address": None}
    try:
        with dask.config.set(ENVIRONMENT):
            client = Client(**({"address": scheduler} if scheduler else local), timeout=PATIENCE)
    except (OSError, RuntimeError) as error:
        _restore(before)
        told = f"no dask scheduler answers at {scheduler}: start one with `dask scheduler`"
        raise OSError(told if scheduler else f"the local dask cluster did not start ({error})") from error

    def run(function: Callable, job: object, places: list) -> Iterable:
        job = client.scatter(job, broadcast=True)
        tasks = as_completed([client.submit(_alone, function, job, place, pure=False) for place in places])
        return (_taken(task) for task in tasks)

    try:
        with client:
            yield run
    finally:
        _restore(before)


def _restore(before: dict[str, str]) -> None:
    """Undo what changed in the environment."""
    for name in {*os.environ, *before}:
        if name not in before:
            del os.environ[name]
        elif os.environ.get(name) != before[name]:
            os.environ[name] = before[name]


def _taken(task: Future) -> object:
    """A task's result, which its worker need not keep any longer."""
    from dask.distributed import KilledWorker

    try:
        result = task.result()
    except KilledWorker as error:
        raise OSError(f"a worker was killed ({error}): had it too little memory? take a smaller window") from error
    task.release()
    return result


def _alone(function: Callable, job: object, place: object) -> object:
    """A task of a worker process, one thread each: the processes share the cores."""
    torch.set_num_threads(1)
    return function(job, place)
