"""All runs below a folder, compared by their validation scores; test scores stand beside them and decide nothing."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from snowmap.errors import SnowmapError
from snowmap.run_config import flat
from snowmap.sweeps.jobs import (
    PART,
    Job,
    differing_keys,
    evaluation_of,
    find_runs,
    grouped,
    mean_of,
    spread_of,
    telling_keys,
)
from snowmap.units import IN_UNITS, unit_factor

Scores = Mapping[str, Mapping[str, Any]]
"""The unit and the scores of each target."""

BEST = {
    **dict.fromkeys(("rmse", "mae", "nmad"), "smallest"),
    **dict.fromkeys(("bias", "median_error"), "nearest to 0"),
    **dict.fromkeys(("r2", "pearson_r", "spearman_r", "nse"), "largest"),
}
"""Which value of a score is the best."""


class Run(NamedTuple):
    """A run and what is known of its maps.

    Attributes:
        job: Its folder, configuration and record.
        scores: By part of the split, ``validation`` and ``test``; a part is empty as long as nothing is known of it.
        archive: Path, origin and fingerprint of its archive; empty where nobody says.
    """

    job: Job
    scores: Mapping[str, Scores]
    archive: Mapping[str, str]

    @property
    def state(self) -> str:
        """How it ended, as ``run.json`` says; ``unknown`` for a folder without one."""
        return self.job.record["status"] if self.job.record else "unknown"

    @property
    def targets(self) -> list[str]:
        """What it maps."""
        return list(self.scores[PART]) or (self.job.config.get("target") or {}).get("names", [])

    def value(self, part: str, target: str, score: str, unit: str | None = None) -> float | None:
        """A score of one target in a part of the split, converted to `unit` if it has one; None if it is not known."""
        entry = self.scores[part].get(target, {})
        value = entry.get(score)
        if value is None or unit is None or score not in IN_UNITS:
            return None if value is None else float(value)
        return value * unit_factor(entry["unit"], unit, target, str(self.job.folder))


class Row(NamedTuple):
    """The runs of one configuration, which differ in their seed alone.

    Attributes:
        settings: Its values of the keys that differ between the rows.
        runs: The finished runs whose score is known.
    """

    settings: Mapping[str, Any]
    runs: Sequence[Run]

    def mean(self, part: str, target: str, score: str, unit: str) -> tuple[float | None, float | None]:
        """Mean and spread (standard deviation, n − 1) over the runs; None where a run lacks it, or is the only one."""
        values = [run.value(part, target, score, unit) for run in self.runs]
        return mean_of(values), spread_of(values)

    def of_record(self, key: str) -> list[float]:
        """What the ``run.json`` of the runs say of `key`, as far as they do."""
        values = [(run.job.record or {}).get(key) for run in self.runs]
        return [float(value) for value in values if value is not None]


class Comparison(NamedTuple):
    """What is compared, and how.

    Attributes:
        target: Whose score it is.
        score: A key of `BEST`.
        units: Of each target that any run knows.
        keys: Keys of the configuration that differ, those that tell the rows apart first.
        told: How many of `keys` tell the rows apart; the others follow from the name of a model or split.
        rows: The best first.
        apart: Runs that enter no mean: unfinished, or without a validation score.
        notes: What has to be known to read the table.
        synthetic: Whether an archive is synthetic.
    """

    target: str
    score: str
    units: Mapping[str, str]
    keys: Sequence[str]
    told: int
    rows: Sequence[Row]
    apart: Sequence[Run]
    notes: Sequence[str]
    synthetic: bool


def compare(folder: Path, by: str = "rmse", each: bool = False) -> list[Comparison]:
    """Put the runs below a folder in order.

    Args:
        folder: Runs may lie in it at any depth.
        by: A validation score, as ``rmse`` (of each target that is a run's first) or ``swe.mae``.
        each: Whether runs that differ in their seed alone stay apart.

    Returns:
        One comparison for each target; a run of several targets stands in that of each. One alone where `by` names a
        target, or all runs have the same first one.

    Raises:
        SnowmapError: When there is no run, a file cannot be read, or `by` is no validation score.
    """
    runs = [_read(job) for job in find_runs(folder)]
    targets, score = _chosen(by, runs)
    if len(targets) == 1:
        return [_comparison(runs, targets[0], score, each)]
    return [
        _comparison([run for run in runs if target in (run.targets or targets[:1])], target, score, each)
        for target in targets
    ]


def _comparison(runs: Sequence[Run], target: str, score: str, each: bool) -> Comparison:
    ranked = [run for run in runs if run.state in ("finished", "unknown") and _known(run, target, score)]
    units = _units(ranked)
    keys = differing_keys([run.job for run in ranked])
    if (
        len({run.archive.get("fingerprint") for run in ranked} - {None})
        == 1
        == len({bool(run.archive) for run in ranked})
    ):
        keys -= {"data.root"}  # one archive at several places
    if each:
        keys |= {"seed"} if len({run.job.config.get("seed") for run in ranked}) > 1 else set()
    else:
        keys -= {"seed"}
    told = telling_keys([run.job for run in ranked], keys)
    ordered = told + sorted(keys - {*told})
    of_job = {run.job.folder: run for run in ranked}
    groups = [[run.job] for run in ranked] if each else grouped([run.job for run in ranked], keys)
    rows = [Row(_settings(own[0], ordered), sorted((of_job[job.folder] for job in own), key=_seed)) for own in groups]
    rows.sort(key=lambda row: (_rank(row, target, score, units), [str(value) for value in row.settings.values()]))
    return Comparison(
        target,
        score,
        units,
        ordered,
        len(told),
        rows,
        [run for run in runs if run.job.folder not in of_job],
        _notes(ranked, rows, each),
        any(run.archive.get("origin", "").startswith("synthetic") for run in runs),
    )


def reason(run: Run, target: str, score: str) -> str:
    """Why a run enters no mean, and what can be done."""
    if run.state not in ("finished", "unknown"):
        return (run.job.record or {}).get("error") or {"killed": "no process works there any more"}.get(run.state, "")
    if not run.scores[PART]:
        return f"no validation score; python evaluate.py ckpt={run.job.checkpoint} split={PART}"
    return f"no validation {score} of {target}"


def _read(job: Job) -> Run:
    evaluations = {part: evaluation_of(job, part) or {} for part in (PART, "test")}
    scores = {
        part: {name: {"unit": entry["unit"], **entry["model"]} for name, entry in found.get("target", {}).items()}
        for part, found in evaluations.items()
    }
    scores[PART] = (job.record or {}).get("validation") or scores[PART]
    evaluated = next((found["provenance"]["scored_archive"] for found in evaluations.values() if found), {})
    return Run(job, scores, (job.record or {}).get("archive") or evaluated)


def _chosen(by: str, runs: Sequence[Run]) -> tuple[list[str], str]:
    """Targets and score that `by` names; without a target, those that are the first of a run.

    Raises:
        SnowmapError: When it is a test score, or none.
    """
    if by.startswith("test"):
        raise SnowmapError(
            f"--by {by}: runs are never put in order by a test score. What was chosen on the test windows is no longer "
            f"tested by them; choose a validation score, as --by rmse"
        )
    words = by.removeprefix(f"{PART}.").split(".")
    known = sorted({name for run in runs for name in run.targets} or {"swe"})
    first = sorted({run.targets[0] for run in runs if run.targets} or {"swe"})
    targets, score = (words[:1], words[1]) if len(words) == 2 else (first, words[0])
    if len(words) > 2 or score not in BEST or not {*targets} <= {*known}:
        raise SnowmapError(
            f"--by {by} is no validation score; choose {' | '.join(BEST)}, of one target alone with its name before "
            f"it, as {known[-1]}.{score if score in BEST else 'rmse'} (targets here: {', '.join(known)})"
        )
    return targets, score


def _known(run: Run, target: str, score: str) -> bool:
    return run.value(PART, target, score) is not None


def _units(runs: Sequence[Run]) -> dict[str, str]:
    """Of each target, the unit that most runs have."""
    found: dict[str, Counter] = {}
    for run in runs:
        for target, entry in run.scores[PART].items():
            found.setdefault(target, Counter())[entry["unit"]] += 1
    return {target: min(units, key=lambda unit: (-units[unit], unit)) for target, units in sorted(found.items())}


def _seed(run: Run) -> int:
    return run.job.config.get("seed", 0)


def _settings(job: Job, keys: Sequence[str]) -> dict[str, Any]:
    config = flat(job.config)
    return {key: config.get(key) for key in keys}


def _rank(row: Row, target: str, score: str, units: Mapping[str, str]) -> float:
    mean, _ = row.mean(PART, target, score, units[target])
    assert mean is not None  # the runs of a row are those that know it
    return {"smallest": mean, "nearest to 0": abs(mean), "largest": -mean}[BEST[score]]


def _notes(runs: Sequence[Run], rows: Sequence[Row], each: bool) -> list[str]:
    notes = []
    if _differ([run.archive.get("fingerprint") for run in runs]):
        notes.append("the runs saw different archives: their scores are not of the same pixels")
    if _differ([run.job.config["split"] for run in runs]):
        notes.append("the runs have different splits or folds: their scores are not of the same windows")
    twice = [row for row in rows if len({run.job.config.get("seed") for run in row.runs}) < len(row.runs)]
    if twice and not each:
        folders = ", ".join(str(run.job.folder) for run in twice[0].runs)
        notes.append(f"runs of one configuration and seed count each: {folders}")
    return notes


def _differ(found: Sequence[Any]) -> bool:
    """Whether what is known is not the same everywhere."""
    return len({str(value) for value in found if value}) > 1
