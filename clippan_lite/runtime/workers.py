"""The same function on many places of one job: here in turn, or by the processes of dask.distributed."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING

import torch

from clippan_lite.runtime import notebooks

if TYPE_CHECKING:
    from dask.distributed import Client, Future

#: Dask has workers give all memory back at once, so that every image is mapped anew: twice the time. Set for those that
#: are started here; for workers of your own, set the two variables before they start.
ENVIRONMENT = {
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": str(256 << 20),
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": str(32 << 20),
}
PATIENCE = 30  # seconds to wait for a dask scheduler
Run = Callable[..., Iterable]


@contextlib.contextmanager
def processes(count: int, scheduler: str | None = None, threads: int = 1) -> Iterator[Run]:
    """Yield ``run(function, job, places, killed=None)``, which iterates over ``function(job, place)`` in any order.

    ``killed(place)``, where given, stands for the result of a place whose worker was killed, which raises otherwise.

    Args:
        count: 1 works in this process; more are a local cluster of dask.distributed.
        scheduler: address of a running dask scheduler, whose workers are taken instead.
        threads: of torch in each of several processes; 0 takes as many as dask gave to the worker.

    Raises:
        ImportError: dask.distributed is needed and missing.
        OSError: the scheduler does not answer or went away, or a worker was killed.
    """
    if count == 1 and scheduler is None:
        yield lambda function, job, places, killed=None: (function(job, place) for place in places)
        return
    try:
        import dask
        from dask.distributed import Client, KilledWorker
    except ImportError as error:
        raise ImportError(
            "several workers need dask: pip install 'clippan-lite[scenes]'"
        ) from error
    before = dict(
        os.environ
    )  # a local cluster sets OMP_NUM_THREADS, and leaves it to all later processes
    local = {"n_workers": count, "threads_per_worker": 1, "dashboard_address": ":0"}
    shared = {
        f"distributed.nanny.pre-spawn-environ.{name}": max(1, threads) for name in notebooks.THREADS
    }
    try:
        with dask.config.set(ENVIRONMENT | shared):
            client = Client(**({"address": scheduler} if scheduler else local), timeout=PATIENCE)
    except (OSError, RuntimeError) as error:
        _restore(before)
        told = f"no dask scheduler answers at {scheduler}: start one with `dask scheduler`"
        raise OSError(
            told if scheduler else f"the local dask cluster did not start ({error})"
        ) from error

    def run(
        function: Callable, job: object, places: list, killed: Callable | None = None
    ) -> Iterable:
        # scattered data is lost with its workers, what a task gives is made again
        job = (
            client.submit(_same, job, pure=False) if killed else client.scatter(job, broadcast=True)
        )
        tasks = {
            client.submit(_alone, threads, function, job, place, pure=False): place
            for place in places
        }

        def results() -> Iterator:
            lost = []
            for task in _ended(client, list(tasks)):
                if killed and task.status == "error" and isinstance(task.exception(), KilledWorker):
                    lost.append(tasks[task])
                else:
                    yield _taken(task, tasks[task], killed)
            for (
                place
            ) in lost:  # one by one: perhaps only another task of the same worker is to blame
                task = client.submit(_alone, threads, function, job, place, pure=False)
                try:
                    yield from (_taken(one, place, killed) for one in _ended(client, [task]))
                except OSError:  # it took the last worker with it
                    yield killed(place)

        return results()

    quiet = logging.root.manager.disable
    try:
        with client:
            try:
                yield run
            except KeyboardInterrupt:
                logging.disable(
                    logging.CRITICAL
                )  # processes that are stopped in mid-work complain at length
                raise
    finally:
        logging.disable(quiet)
        _restore(before)


def _restore(before: dict[str, str]) -> None:
    """Undo what changed in the environment."""
    for name in {*os.environ, *before}:
        if name not in before:
            del os.environ[name]
        elif os.environ.get(name) != before[name]:
            os.environ[name] = before[name]


def _ended(client: Client, tasks: list[Future]) -> Iterator[Future]:
    """Tasks as they end.

    Raises:
        OSError: no worker has been there for a while. Dask itself waits for one for ever, and does not start another in
            place of one that is killed in its first moments.
    """
    from dask.distributed import as_completed

    waiting, empty, look = as_completed(tasks), 0, time.monotonic() + PATIENCE / 2
    while not waiting.is_empty():
        if waiting.has_ready():
            yield next(waiting)
            continue
        time.sleep(0.02)
        if time.monotonic() > look:
            empty = 0 if client.nthreads() else empty + 1
            if empty == 2:  # not once, for a worker may be starting anew
                raise OSError(
                    f"dask has had no worker for {PATIENCE / 2:.0f} s: start some, and the same call goes on"
                )
            look = time.monotonic() + PATIENCE / 2


def _taken(task: Future, place: object, killed: Callable | None) -> object:
    """A task's result, which its worker need not keep any longer."""
    from dask.distributed import KilledWorker

    try:
        result = task.result()
    except CancelledError as error:
        raise OSError(
            f"dask's scheduler or workers are gone ({error}): the same command goes on"
        ) from error
    except KilledWorker as error:
        if killed:
            return killed(place)
        raise OSError(
            f"a worker was killed ({error}): had it too little memory? take a smaller window"
        ) from error
    task.release()
    return result


def _same(job: object) -> object:
    return job


def _alone(threads: int, function: Callable, job: object, place: object) -> object:
    """A task of a worker process: the processes share the cores."""
    if not threads:
        from dask.distributed import get_worker

        threads = get_worker().state.nthreads
    torch.set_num_threads(threads)
    return function(job, place)
