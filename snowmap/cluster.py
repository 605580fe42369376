"""Work that is dealt to processes: those of a local cluster, or of a dask.distributed scheduler that runs already."""

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from snowmap.errors import SnowmapError

if TYPE_CHECKING:
    from distributed import Client
    from tornado.ioloop import IOLoop

ANSWER_SECONDS = 15
"""In which a scheduler has to answer, and to have a worker."""

AHEAD = 2
"""Pieces of work for each worker that are under way at once: as one ends, the next one lies there."""

WORKERS_ENVIRONMENT = {
    "DASK_LOGGING__DISTRIBUTED": "critical",
    "MALLOC_TRIM_THRESHOLD_": None,  # dask's own makes every array new memory, which takes a third of the time
}
"""Of local workers, beside what dask sets; None: it is not set."""


@contextlib.contextmanager
def connect(workers: int | None = None, scheduler: str | None = None) -> Iterator["Client | None"]:
    """A client of `workers` local processes, or of the cluster at `scheduler`; None where neither is given.

    Each local worker is a process with one thread, which PyTorch and NumPy use as well. Whatever happens, local workers
    end and the connection is closed; a cluster that ran already keeps running.

    Args:
        workers: How many processes.
        scheduler: Address, e.g. ``tcp://node:8786``. Its workers must see the same files under the same paths.

    Raises:
        SnowmapError: When both are given, or the scheduler does not answer or has no worker.
    """
    if workers is None and scheduler is None:
        yield None
        return
    if workers is not None and scheduler is not None:
        raise SnowmapError("--workers starts a cluster, --scheduler names one; give one of them")
    if workers is not None and workers < 1:
        raise SnowmapError(f"--workers {workers}; expected at least 1")
    import dask.config
    from distributed import Client, LocalCluster

    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # here; what workers come and go is no news
    with contextlib.ExitStack() as stack:
        environment: dict[str, Any] = dask.config.get("distributed.nanny.pre-spawn-environ") | WORKERS_ENVIRONMENT
        stack.enter_context(dask.config.set({"distributed.nanny.pre-spawn-environ": environment}))
        loop = stack.enter_context(_event_loop())
        if scheduler is None:
            local = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None, "memory_limit": 0}
            cluster = stack.enter_context(LocalCluster(**local, silence_logs=False, loop=loop))
            yield stack.enter_context(Client(cluster))
            return
        try:
            client = stack.enter_context(Client(scheduler, timeout=ANSWER_SECONDS, loop=loop))
            client.wait_for_workers(1, timeout=ANSWER_SECONDS)
        except (OSError, ValueError) as error:
            raise SnowmapError(
                f"--scheduler {scheduler}: no cluster with a worker answers there within {ANSWER_SECONDS} s "
                f"({str(error).splitlines()[0]}); give the address that `dask scheduler` prints, or --workers"
            ) from error
        yield client


@contextlib.contextmanager
def _event_loop() -> Iterator["IOLoop"]:
    """Of a thread that ends with it; dask's own gives up where its thread takes 10 s to begin, and may outlive it."""
    from tornado.ioloop import IOLoop

    begun = Future[tuple[IOLoop, asyncio.Event]]()
    created = asyncio.new_event_loop()  # here, where an error is raised

    async def run() -> None:
        ended = asyncio.Event()
        begun.set_result((IOLoop.current(), ended))
        await ended.wait()

    def turn() -> None:
        with asyncio.Runner(loop_factory=lambda: created) as runner:
            runner.run(run())

    thread = threading.Thread(target=turn, name="dask", daemon=True)
    thread.start()
    loop, ended = begun.result()
    try:
        yield loop
    finally:
        loop.add_callback(ended.set)
        thread.join()


def deal(client: "Client | None", work: Callable[..., Any], common: Any, pieces: Iterable[Any]) -> Iterator[Any]:
    """What ``work(common, piece)`` gives for each piece, in their order, whoever did it.

    Args:
        client: Of `connect`; None does the work here.
        work: A function of a module; what it is given and gives is pickled.
        common: What every piece needs; it is sent to each worker once.
        pieces: The pieces; only `AHEAD` of each worker are taken at a time, so that few results wait.

    Raises:
        SnowmapError: When workers die over a piece; what `work` raises is raised here.
    """
    if client is None:
        yield from (work(common, piece) for piece in pieces)
        return
    from distributed import KilledWorker

    # by a key of its own: that of its content would be taken for one that was sent, and let go, before
    sent, waiting = client.scatter(common, broadcast=True, hash=False), deque[Any]()
    threads: Any = client.nthreads()
    most = AHEAD * max(1, sum(threads.values()))
    try:
        for piece in pieces:
            waiting.append(client.submit(work, sent, piece, pure=False))
            if len(waiting) >= most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except KilledWorker as error:
        raise SnowmapError(
            "the workers that were given a piece of the work died, most likely for want of memory; give fewer workers, "
            "or smaller pieces"
        ) from error
    finally:
        client.cancel(list(waiting), force=True)
