"""Where the jobs of a multirun run: ``launcher=local | joblib | slurm``.

``local`` runs them one after the other in this process; the two others start each as a command of its own, so that what
kills one process ends one job. Hydra's own joblib launcher keeps workers that take several jobs: one that is killed
takes all others with it (docs/decisions/0011-a-job-is-a-command.md).
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snowmap.errors import SnowmapError
from snowmap.runs.folder import SWEEP
from snowmap.runs.signals import StopSignal, stoppable

POLL_S = 0.2


@dataclass
class Job:
    """One job of a multirun as a command.

    Attributes:
        folder: Its run folder; what the command prints goes to ``run.log`` there.
        command: Words of the command.
        sweep: Folder of the multirun.
        threads: That PyTorch may use; None leaves it to the machine.
    """

    folder: Path
    command: list[str]
    sweep: Path
    threads: int | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> subprocess.Popen[bytes]:
        """Start the command; signals to this process are not passed on by themselves."""
        environment = {**os.environ, SWEEP: str(self.sweep), "PYTHONUNBUFFERED": "1"}
        if self.threads and "OMP_NUM_THREADS" not in os.environ:
            environment["OMP_NUM_THREADS"] = str(self.threads)
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "run.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        return self.process

    def __call__(self) -> int:
        """Run to the end, as submitit asks for it: the exit status."""
        return self.start().wait()

    def checkpoint(self) -> Any:
        """What submitit calls before the job's time is over: end the command, which saves, and queue it again."""
        import submitit

        if self.process:
            self.process.terminate()
            self.process.wait()
        return submitit.helpers.DelayedSubmission(Job(self.folder, self.command, self.sweep, self.threads))


Say = Callable[[Job, int | None], None]
"""Called with a job that starts (None) and with its exit status."""


def run_with_joblib(jobs: Sequence[Job], options: Mapping[str, Any], say: Say) -> None:
    """Run so many jobs at a time as ``launcher.jobs`` says.

    Raises:
        Interrupted: On a signal, once the jobs that were running have saved and ended.
    """
    from joblib import Parallel, cpu_count, delayed

    def run(job: Job, stop: StopSignal) -> None:
        if stop.received is not None:
            return
        say(job, None)
        process = job.start()
        while process.poll() is None and stop.received is None:
            time.sleep(POLL_S)
        process.terminate()  # unless it has ended
        say(job, process.wait())

    for job in jobs:
        job.threads = max(1, cpu_count() // options["jobs"])
    with stoppable() as stop, stop.deferred():
        Parallel(n_jobs=options["jobs"], backend="threading")(delayed(run)(job, stop) for job in jobs)


def run_with_submitit(jobs: Sequence[Job], options: Mapping[str, Any], say: Say) -> None:
    """Submit the jobs as one array and wait for them; ``launcher.cluster=local`` starts processes here instead.

    Raises:
        SnowmapError: When submitit is not installed, or there is no such cluster.
        Interrupted: On a signal; the jobs stay in the queue.
    """
    try:
        import submitit
    except ImportError as error:
        raise SnowmapError('launcher=slurm needs submitit; pip install "snowmap[slurm]"') from error
    limits = ("timeout_min", "cpus_per_task", "gpus_per_node", "mem_gb", "nodes")
    settings = {key: options[key] for key in limits if options[key] is not None} | {"name": "snowmap"}
    of_slurm = {"slurm_array_parallelism": options["jobs"], "slurm_additional_parameters": dict(options["sbatch"])}
    of_slurm |= {f"slurm_{key}": options[key] for key in ("partition", "account", "setup", "signal_delay_s")}
    try:
        executor = submitit.AutoExecutor(jobs[0].sweep / ".submitit", cluster=options["cluster"])
        executor.update_parameters(**settings, **{key: value for key, value in of_slurm.items() if value})
        with executor.batch():
            submitted = [executor.submit(job) for job in jobs]
    except (RuntimeError, ValueError, OSError) as error:
        raise SnowmapError(f"launcher=slurm launcher.cluster={options['cluster']}: {error}") from error
    for job in jobs:
        say(job, None)
    waiting = list(zip(submitted, jobs, strict=True))
    with stoppable() as stop, stop.deferred():
        while waiting and stop.received is None:
            for task, job in [pair for pair in waiting if pair[0].done()]:
                waiting.remove((task, job))
                say(job, 1 if task.exception() else task.result())
            time.sleep(POLL_S)


def command_of(overrides: Sequence[str], folder: Path) -> list[str]:
    """The words that run one job of this multirun by itself."""
    kept = [word for word in overrides if not word.lstrip("+~").startswith("launcher")]
    quoted = str(folder).replace("'", "\\'")
    return [sys.executable, sys.argv[0], *kept, "hydra.mode=RUN", f"hydra.run.dir='{quoted}'"]


LAUNCHERS = {"joblib": run_with_joblib, "slurm": run_with_submitit}
"""Those that start jobs as commands, by the word that users type."""
