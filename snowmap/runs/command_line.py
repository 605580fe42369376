"""From the command line to a run, or to those of a multirun.

The jobs of a multirun lie in folders named after what is swept, so the same command finds them again: finished ones are
left alone, unfinished ones are resumed. Imports neither torch nor xarray.
"""

import contextlib
import hashlib
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import env_override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from snowmap.config.checking import check_config, check_overrides, of_another_choice, one_line
from snowmap.errors import Interrupted, SnowmapError, explaining_exhaustion, shown
from snowmap.runs.configuration import refuse_foreign
from snowmap.runs.folder import SWEEP, is_finished
from snowmap.runs.launchers import LAUNCHERS, Job, command_of
from snowmap.runs.record import read_record, record_failure

LONGEST_VALUE = 40
"""Characters of a value in the name of a job's folder."""

Main = Callable[[dict[str, Any], Path], None]
AfterSweep = Callable[[Path, bool], None]
Choose = Callable[[Path], str | None]


def launch(
    main: Main, schema: type, file: Path, after_sweep: AfterSweep | None = None, choose: Choose | None = None
) -> None:
    """Compose the configuration, check it and run `main`; what the user can mend is one line, not a traceback.

    Not by a callback of Hydra, which turns errors into warnings.

    Args:
        main: Takes the checked configuration and the run folder.
        schema: `TrainConfig` or `EvaluateConfig`.
        file: The YAML file to compose.
        after_sweep: Takes the folder of a multirun and whether all its jobs are finished, once none is under way.
        choose: Takes the folder of a multirun over models and ablations, once each model was trained with all bands
            and one seed: the name of the one whose other jobs are run; None if none can be.
    """
    sweep = _Sweep(main, schema, choose)
    failed: list[Exception] = []
    existing: list[Path] = []

    def job(composed: DictConfig) -> None:
        folder = Path(HydraConfig.get().runtime.output_dir)
        try:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                sweep.take(composed, folder)
            else:
                settings: Any = HydraConfig.get()
                if not OmegaConf.select(settings, "run.dir"):  # by a variable, say, that is empty
                    raise SnowmapError("hydra.run.dir= is empty; give the name of a folder, or leave it out")
                with explaining_exhaustion():
                    main(check_config(composed, schema), folder)
        except Exception as error:
            failed.append(error)  # raised below: Hydra would print a line of its own
        finally:
            if folder.resolve() not in {*existing, Path.cwd()}:
                with contextlib.suppress(OSError):  # not empty: the job wrote something
                    folder.rmdir()

    os.environ["HYDRA_FULL_ERROR"] = "1"  # otherwise Hydra prints and exits before the error can be explained
    try:
        check_overrides(sys.argv[1:], schema, file.absolute().parent)
        existing += _check_folders(sys.argv[1:])
        hydra.main(version_base="1.3", config_path=str(file.absolute().parent), config_name=file.stem)(job)()
        if failed:
            raise failed[0]
        if sweep.folder and not sweep.finish(after_sweep):
            sys.exit(1)
    except Interrupted as interrupted:
        where = f" with hydra.sweep.dir={sweep.folder}" if sweep.folder else ""
        print(f"{interrupted}; the same command{where} resumes it", file=sys.stderr)
        sys.exit(128 + interrupted.signal)
    except (HydraException, OmegaConfBaseException) as error:
        sys.exit(f"error: {of_another_choice(str(error)) or one_line(error)}")
    except (SnowmapError, OSError) as error:
        sys.exit(f"error: {error}")


def _check_folders(arguments: Sequence[str]) -> list[Path]:
    """Refuse what Hydra, which makes the folders and writes ``multirun.yaml`` into that of a multirun, would take.

    Returns:
        The folders that exist already, which stay even if they are empty at the end.

    Raises:
        SnowmapError: On an empty name, which would be the current directory, and on a multirun among files of others.
    """
    existing = []
    for word in arguments:
        key, _, value = word.lstrip("+").partition("=")
        if key not in ("hydra.run.dir", "hydra.sweep.dir"):
            continue
        value = value.strip(" '\"")
        with contextlib.suppress(OmegaConfBaseException):  # of a key, or an error that Hydra explains
            value = str(OmegaConf.create({key: value})[key]).strip()
        if value in ("", "null"):
            raise SnowmapError(f"{word}: the name of the folder is empty; give one, or leave {key} out")
        if key == "hydra.sweep.dir":
            refuse_foreign(Path(value), "multirun.yaml", key)
        existing += [Path(value).resolve()] if Path(value).exists() else []
    return existing


class _Sweep:
    """The jobs of a multirun: run at once, or kept until all are known and then run by another launcher.

    Attributes:
        folder: Of the multirun; None before its first job.
        postponed: Jobs that are run if their model is chosen, with what Hydra knows of each.
    """

    def __init__(self, main: Main, schema: type, choose: Choose | None) -> None:
        self.main, self.schema, self.choose = main, schema, choose
        self.first_seed: int | None = None
        self.postponed: list[tuple[Any, DictConfig, Path]] = []
        self.folder: Path | None = None
        self.launcher: dict[str, Any] = {"name": "local"}
        self.folders: list[Path] = []
        self.waiting: list[Job] = []
        self.failed: dict[Path, str] = {}

    def take(self, composed: DictConfig, folder: Path) -> None:
        """Run or keep a job, or postpone it until a model is chosen; what goes wrong with it is kept for the end."""
        self.folder = Path(HydraConfig.get().sweep.dir).absolute()
        if self.choose and {"model", "ablation"} <= swept_keys():
            self.first_seed = composed.seed if self.first_seed is None else self.first_seed
            if (composed.ablation, composed.seed) != ("all", self.first_seed):
                self.postponed.append((HydraConfig.instance().cfg, composed, folder))
                return
        self._take(composed, folder)

    def _take(self, composed: DictConfig, folder: Path) -> None:
        assert self.folder is not None
        self.folders.append(folder)
        try:
            config = check_config(composed, self.schema)
            self.launcher = config.get("launcher", self.launcher)
            if self.launcher["name"] in LAUNCHERS:
                if is_finished(folder, config):
                    print(f"{folder.name}: finished before")
                else:
                    words = command_of(HydraConfig.get().overrides.task, folder)
                    self.waiting.append(Job(folder, words, self.folder))
            else:
                with env_override({SWEEP: str(self.folder)}):
                    self.main(config, folder)
        except Exception as error:
            if not isinstance(error, SnowmapError):
                traceback.print_exc()
            reason = str(error) if isinstance(error, SnowmapError) else f"{type(error).__name__}: {error}"
            self.failed[folder] = reason
            record_failure(folder, reason)
            print(f"{folder.name}: error: {error}", file=sys.stderr)

    def finish(self, after_sweep: AfterSweep | None) -> bool:
        """Run what waits, then say how the jobs ended: whether all are finished."""
        assert self.folder is not None
        self._run_waiting()
        if self.postponed:
            chosen = self._chosen_models()
            for hydra_config, composed, folder in self.postponed:
                if composed.model.name in chosen:
                    HydraConfig.instance().cfg = hydra_config
                    self._take(composed, folder)
            self._run_waiting()
        unfinished = {folder: state for folder in self.folders if (state := self._unfinished(folder))}
        if after_sweep and len(unfinished) < len(self.folders):
            after_sweep(self.folder, not unfinished)
        if unfinished:
            print(f"\n{len(unfinished)} of {len(self.folders)} jobs did not finish:", file=sys.stderr)
            for folder, state in unfinished.items():
                print(f"  {folder.name}: {state}\n    see {folder / 'run.log'}", file=sys.stderr)
            print(f"the same command with hydra.sweep.dir={self.folder} runs these again", file=sys.stderr)
        return not unfinished

    def _run_waiting(self) -> None:
        if self.waiting:
            LAUNCHERS[self.launcher["name"]](self.waiting, self.launcher, self._say)
            self.waiting = []

    def _chosen_models(self) -> set[str]:
        """Whose postponed jobs are run: of several models with a run to choose by, the one that `choose` names."""
        assert self.choose is not None
        assert self.folder is not None
        models = {composed.model.name for _, composed, _ in self.postponed}
        if len(models) == 1 or not self.folders:
            return models
        model = self.choose(self.folder)
        if model:
            print(f"the ablation is of model={model}, which the validation windows choose", flush=True)
        return {model} if model else set()

    def _unfinished(self, folder: Path) -> str:
        """How a job ended that did not finish, in one line."""
        if folder in self.failed:
            status, error = "failed", self.failed[folder]
        else:
            record = read_record(folder) or {"status": "not begun", "error": ""}
            status, error = record["status"], record["error"]
        if status == "finished":
            return ""
        return f"{status}, {shown(error, longest=200) if error else 'see its log'}"

    def _say(self, job: Job, status: int | None) -> None:
        number = f"{self.folders.index(job.folder) + 1}/{len(self.folders)}"
        if status is None:
            print(f"{number} {job.folder.name}: started", flush=True)
            return
        if status:
            by = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
            record_failure(job.folder, f"the process {by}")
        record = read_record(job.folder)
        state = self._unfinished(job.folder) or f"finished in {record['wall_s'] if record else 0:.0f} s"
        print(f"{number} {job.folder.name}: {state}", flush=True)


def swept_keys() -> set[str]:
    """The keys of which a multirun has several values, or may have."""
    typed = [word for word in sys.argv[1:] if "=" in word and not word.startswith("-")]
    return {
        override.get_key_element().lstrip("+")
        for override in OverridesParser.create().parse_overrides(typed)
        if override.is_sweep_override()
    } | {*(HydraConfig.get().sweeper.get("params") or {})}


def job_name(number: int) -> str:
    """Name of a job's folder: what is swept and its values, e.g. ``model-unet_seed-0``; its number if nothing is."""
    names, swept = [], swept_keys()
    for word in HydraConfig.get().overrides.task:
        key, _, value = word.partition("=")
        if key.lstrip("+") in swept:
            names.append(f"{key.lstrip('+')}-{_plain(value)}")
    return "_".join(names) or str(number)


def _plain(value: str) -> str:
    """A value as part of a file name; a long one or a path is distinguished by a hash."""
    plain = re.sub(r"[^\w.+-]+", "-", value.rpartition("/")[2]).strip("-")
    if len(plain) > LONGEST_VALUE or "/" in value:
        plain = f"{plain[:LONGEST_VALUE]}.{hashlib.sha256(value.encode()).hexdigest()[:6]}"
    return plain


OmegaConf.register_new_resolver("snowmap.job_name", job_name, replace=True)
