"""One function on many places of one job: here in turn, or in the processes of dask.distributed."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING
from unittest import mock

import torch

from clippan_lite.runtime import notebooks

if TYPE_CHECKING:
    from distributed import Client, Future

#: Dask has its workers give all memory back at once. Every image is then mapped anew, which takes
#: twice the time. These settings keep the memory. They hold for workers that are started here; set
#: the two variables yourself before you start workers of your own.
ENVIRONMENT = {
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": str(256 << 20),
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": str(32 << 20),
}
PATIENCE = 30  # seconds to wait for a dask scheduler
Run = Callable[..., Iterable]


@contextlib.contextmanager
def processes(count: int, scheduler: str | None = None, threads: int = 1) -> Iterator[Run]:
    """Yield ``run(function, job, places, killed=None)``.

    ``run`` iterates over the results of ``function(job, place)`` in any order. A worker that is
    killed raises, unless ``killed`` is given: then ``killed(place)`` stands for the result.

    Args:
        count: 1 works in this process. More are a local cluster of dask.distributed.
        scheduler: address of a running dask scheduler, whose workers are used instead.
        threads: of torch in each of several processes. 0 takes as many as dask gave the worker.

    Raises:
        ValueError: no worker, or several beside a scheduler.
        ImportError: dask.distributed is needed and missing.
        OSError: the scheduler does not answer or went away, or a worker was killed.
    """
    if count < 1:
        raise ValueError(f"expected 1 worker or more, found {count}")
    if scheduler and count > 1:
        raise ValueError(
            f"{count} workers and a scheduler are both given: a scheduler has its own workers"
        )
    if count == 1 and scheduler is None:
        yield _run_here
        return
    with contextlib.ExitStack() as stack:
        # A local cluster sets OMP_NUM_THREADS. This restores the environment afterwards.
        stack.enter_context(mock.patch.dict(os.environ))
        stack.callback(logging.disable, logging.root.manager.disable)
        client = stack.enter_context(_connect(count, scheduler, threads))
        try:
            yield functools.partial(_run_on_dask, client, threads)
        except KeyboardInterrupt:
            # Processes that are stopped in mid-work complain at length.
            logging.disable(logging.CRITICAL)
            raise


def _run_here(
    function: Callable, job: object, places: Iterable, killed: Callable | None = None
) -> Iterator:
    """The results one after the other, in this process."""
    return (function(job, place) for place in places)


def _connect(count: int, scheduler: str | None, threads: int) -> Client:
    """A client of the scheduler, or of a new local cluster."""
    try:
        import dask
        from distributed import Client
    except ImportError as error:
        raise ImportError(
            "several workers need dask: pip install 'clippan-lite[scenes]'"
        ) from error
    settings: dict[str, object] = {
        f"distributed.nanny.pre-spawn-environ.{name}": max(1, threads) for name in notebooks.THREADS
    }
    local = {"n_workers": count, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    cluster = {"address": scheduler} if scheduler else local
    try:
        with dask.config.set(settings | ENVIRONMENT):
            return Client(**cluster, timeout=PATIENCE)
    except (OSError, RuntimeError) as error:
        silent = f"no dask scheduler answers at {scheduler}: start one with `dask scheduler`"
        failed = f"the local dask cluster did not start ({error}): try again, or take 1 worker"
        raise OSError(silent if scheduler else failed) from error


def _run_on_dask(
    client: Client,
    threads: int,
    function: Callable,
    job: object,
    places: Iterable,
    killed: Callable | None = None,
) -> Iterator:
    """The results as the workers give them."""
    from distributed import KilledWorker
    from tlz import identity

    # The job is the result of a task, because dask makes that again when its worker is lost.
    shared_job = client.submit(identity, job, pure=False)
    submit = functools.partial(client.submit, _with_threads, threads, function, pure=False)
    tasks = {submit(shared_job, place): place for place in places}
    lost = []
    try:
        for task in _as_they_finish(client, list(tasks)):
            if killed and isinstance(task.exception(), KilledWorker):
                lost.append(tasks[task])
            else:
                yield task.result()
                task.release()  # the worker need not keep the result
    except CancelledError as error:
        raise OSError(
            f"dask's scheduler or workers are gone ({error}): the same command goes on"
        ) from error
    except KilledWorker as error:
        raise OSError(
            f"a worker was killed ({error}): had it too little memory? take a smaller window"
        ) from error
    for place in lost:
        assert killed is not None
        # Each alone, with a job of its own: another task of the same worker may have been at fault.
        again = submit(job, place)
        try:
            yield from (task.result() for task in _as_they_finish(client, [again]))
        except (KilledWorker, CancelledError, OSError):  # OSError: there is no worker any more
            yield killed(place)


def _as_they_finish(client: Client, tasks: list[Future]) -> Iterator[Future]:
    """Tasks in the order in which they end.

    Raises:
        OSError: there has been no worker for a while. Dask itself waits for ever. It does not
            replace a worker that is killed in its first moments.
    """
    from distributed import as_completed

    interval = PATIENCE / 2
    finished, checks_without_worker = as_completed(tasks), 0
    next_check = time.monotonic() + interval
    while not finished.is_empty():
        if finished.has_ready():
            yield next(finished)
        elif time.monotonic() < next_check:
            time.sleep(0.02)
        else:
            checks_without_worker = 0 if client.nthreads() else checks_without_worker + 1
            if checks_without_worker == 2:  # at the first check a worker may be starting anew
                raise OSError(
                    f"dask has had no worker for {interval:.0f} s: start some, and the same call "
                    "goes on"
                )
            next_check = time.monotonic() + interval


def _with_threads(threads: int, function: Callable, job: object, place: object) -> object:
    """Call the function in a worker process. Processes share the cores, so threads are set."""
    if not threads:
        from distributed import get_worker

        threads = get_worker().state.nthreads
    torch.set_num_threads(threads)
    return function(job, place)
