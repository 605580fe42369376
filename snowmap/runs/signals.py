"""Signals that end a run: Ctrl-C, the end of a batch job, and the warning that SLURM sends before it."""

import contextlib
import logging
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from types import FrameType

from snowmap.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
REQUEUE = signal.SIGUSR1
"""What ``#SBATCH --signal=USR1@120`` sends: the job then asks for its own return to the queue."""

logger = logging.getLogger(__name__)


class StopSignal:
    """Whether a signal requested the end.

    At once by `Interrupted`, or, while a training defers it, at the end of the step, by `received`. A second signal
    does not wait.

    Attributes:
        received: The signal that came while it was deferred.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._deferred = False

    def install(self) -> None:
        """Take the signals; where this is not the main thread they go where they went."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                signal.signal(number, self._receive)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Within it, the signal is kept in `received`; afterwards it ends the run.

        Raises:
            Interrupted: At the end, when there was a signal.
        """
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        if self.received is not None:
            raise Interrupted(self.received)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if not self._deferred or self.received is not None:
            raise Interrupted(number)
        self.received = number
        print(f"\n{signal.Signals(number).name}: the run saves and ends after this step", flush=True)


@contextlib.contextmanager
def stoppable() -> Iterator[StopSignal]:
    """Take the signals, and give them back afterwards."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    stop = StopSignal()
    stop.install()
    try:
        yield stop
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


def requeue(interrupted: Interrupted) -> None:
    """Put the SLURM job back into the queue, if this is one and SLURM warned it of its end.

    Where the whole job is preempted, SLURM requeues it by itself.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if interrupted.signal != REQUEUE or not job:
        return
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    try:
        subprocess.run(["scontrol", "requeue", job], check=True)
        print(f"SLURM job {job} is back in the queue", flush=True)
    except (OSError, subprocess.CalledProcessError) as error:
        logger.warning("SLURM job %s could not be put back into the queue (%s)", job, error)
