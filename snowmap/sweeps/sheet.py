"""A comparison of runs as columns of words, for the screen and for Markdown alike."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from snowmap.sweeps.comparison import Comparison, Row, reason
from snowmap.sweeps.jobs import PART
from snowmap.units import IN_UNITS

LABELS = {
    "rmse": "RMSE",
    "mae": "MAE",
    "nmad": "NMAD",
    "bias": "bias",
    "median_error": "median error",
    "r2": "R²",
    "pearson_r": "Pearson r",
    "spearman_r": "Spearman r",
    "nse": "NSE",
}
UNKNOWN = "–"
LONGEST = 18
"""Characters of a value of the configuration; what is longer is cut."""

LONGEST_HEAD = 9
"""Characters of a key that stands on one line."""


class Column(NamedTuple):
    """A column.

    Attributes:
        heads: The lines of its heading.
        kind: Whether it holds a key of the configuration, a fact of the run, a score, or a test score.
        cells: One for each row.
    """

    heads: Sequence[str]
    kind: Literal["key", "fact", "score", "test"]
    cells: Sequence[str]

    @property
    def width(self) -> int:
        """Characters of its longest line."""
        return max(map(len, [*self.heads, *self.cells]))


def columns(found: Comparison) -> list[Column]:
    """The keys that tell the rows apart, validation scores, facts, and test scores where there are any."""
    keys = [
        Column(_lines(short_key(key, found.keys)), "key", [short(row.settings[key]) for row in found.rows])
        for key in found.keys[: found.told]
    ]
    targets = sorted(found.units, key=lambda target: target != found.target)
    scores = {
        part: [_score_column(found, part, target) for target in targets if _any_known(found, part, target)]
        for part in (PART, "test")
    }
    seeds = (
        [_facts(found, "seeds", lambda row: str(len(row.runs)))] if any(len(row.runs) > 1 for row in found.rows) else []
    )
    facts = [
        _facts(found, "epochs", lambda row: _range(row.of_record("epochs"))),
        _facts(found, "weights", lambda row: _range(row.of_record("parameters"), thousands)),
        _facts(found, "time", lambda row: duration(row.of_record("wall_s"))),
    ]
    known = [column for column in facts if set(column.cells) != {UNKNOWN}]
    return keys + seeds + scores[PART] + known + scores["test"]


def columns_apart(found: Comparison, folder: Path) -> list[Column]:
    """The runs that enter no mean: where, how far, and why."""
    cells = [
        (
            str(run.job.folder.relative_to(folder)),
            run.state,
            _range(Row({}, [run], found.target).of_record("epochs")),
            duration(Row({}, [run], found.target).of_record("wall_s")),
            reason(run, found.target, found.score),
        )
        for run in found.apart
    ]
    kinds: list[tuple[str, Any]] = [
        ("run", "key"),
        ("state", "key"),
        ("epochs", "fact"),
        ("time", "fact"),
        ("reason", "key"),
    ]
    return [Column([head], kind, [row[i] for row in cells]) for i, (head, kind) in enumerate(kinds)]


def label(target: str, score: str, unit: str) -> str:
    """A score in words, with its unit: ``SWE RMSE cm``."""
    return f"{target.upper()} {LABELS[score]}" + (f" {unit}" if score in IN_UNITS else "")


def short_key(key: str, keys: Sequence[str]) -> str:
    """What is enough to know a key among others: ``model`` for ``model.name``, ``dropout`` for ``model.dropout``."""
    words = key.split(".")
    if words[-1] in ("name", "names"):
        return words[0]
    alike = [other for other in keys if other.split(".")[-1] == words[-1]]
    return words[-1] if len(alike) == 1 else key


def short(value: Any) -> str:
    """A value of the configuration in few characters."""
    if value is None:
        return UNKNOWN
    if isinstance(value, float):
        return f"{value:.3g}"
    said = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return said if len(said) <= LONGEST else f"{said[: LONGEST - 1]}…"


def thousands(number: int) -> str:
    """A number of weights: 512, 24.1 k, 1.3 M."""
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return str(number)


def duration(seconds: Sequence[float]) -> str:
    """The mean of durations: 42 s, 3:20 min, 2:05 h."""
    if not seconds:
        return UNKNOWN
    mean = round(sum(seconds) / len(seconds))
    if mean < 60:
        return f"{mean} s"
    return f"{mean // 60}:{mean % 60:02} min" if mean < 3600 else f"{mean // 3600}:{mean % 3600 // 60:02} h"


def with_spread(mean: float | None, spread: float | None, score: str) -> str:
    """``4.21 ± 0.13``; two digits behind the point of what has a unit, three of what has none."""
    digits = 2 if score in IN_UNITS else 3
    if mean is None:
        return UNKNOWN
    return f"{mean:.{digits}f}" + ("" if spread is None else f" ± {spread:.{digits}f}")


def _score_column(found: Comparison, part: str, target: str) -> Column:
    unit = found.units[target]
    cells = [with_spread(*row.mean(part, target, found.score, unit), found.score) for row in found.rows]
    return Column([part, label(target, found.score, unit)], "test" if part == "test" else "score", cells)


def _any_known(found: Comparison, part: str, target: str) -> bool:
    return any(run.value(part, target, found.score) is not None for row in found.rows for run in row.runs)


def _facts(found: Comparison, head: str, tell: Callable[[Row], str]) -> Column:
    return Column([head], "fact", [tell(row) for row in found.rows])


def _lines(key: str) -> list[str]:
    """A long key on two lines: ``learning_``, ``rate``."""
    cuts = [place + 1 for place, letter in enumerate(key) if letter in "_."]
    cut = min(cuts, key=lambda place: abs(2 * place - len(key)), default=0)
    return [key[:cut], key[cut:]] if len(key) > LONGEST_HEAD and cut else [key]


def _range(values: Sequence[float], told: Callable[[int], str] = str) -> str:
    """The whole number, or the least and the largest."""
    if not values:
        return UNKNOWN
    least, largest = int(min(values)), int(max(values))
    return told(least) if least == largest else f"{told(least)}–{told(largest)}"
