"""Linear probes: what a linear classifier reads off an encoder's features of ground that it was not shown.

Two questions, cell by cell of the map, each asked without the bands that answer it:

- ``elevation``: to which class of mountains (Kapos et al. 2000) does the mean elevation belong? Elevation and relief
  are hidden at every step; radar and slope are not, since radar alone knows little of elevation.
- ``wet``: did snow or soil become wet or dry between prime and secondary image, so that the co-polarised backscatter
  changed by `WETTED_DB` or more? Both polarisations of the secondary are hidden. A net of one step sees coherence,
  phase, incidence and terrain; one of two steps sees the prime's backscatter, too, which by itself tells of no change.

The encoder is frozen; a multinomial logistic regression with balanced classes is fitted on cells of the training ground
and scored on those of held-out ground by balanced accuracy, which is 1 ÷ classes by chance. Least squares with a line
for each class would not do: of classes in order it loses those in the middle (Hastie et al. 2009, 4.2).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn import functional

from snowmap.data.batch import Batch
from snowmap.evaluation.figures import spaced
from snowmap.models import Inputs
from snowmap.sources.na_sar.datamodule import PatchDataModule
from snowmap.sources.na_sar.stream import is_remote

VIEWS, AT_ONCE = 2, 16
"""Views of a patch, and those that are read and encoded together."""

CELL = 16
"""Height and width of the cells that are classified, px."""

MOUNTAINS_M = (300.0, 1000.0, 1500.0, 2500.0)
"""Between one class of elevation and the next."""

WETTED_DB = 1.0
"""Wet snow is darker by 3 dB (Nagler & Rott 2000) and wet soil brighter by 1 dB or more; speckle moves the mean of a
cell by some 0.2 dB."""

PENALTY = 1e-3
"""Of the squared weights of the classifier, for each cell that it is fitted on; chosen on other patches than those
of docs/pretraining.md."""

LEAST_VALID = 0.5
"""Share of the pixels of a cell that have a value, from which on it counts."""

HEIGHT, BACKSCATTER = ("elevation", "relief"), ("co_pol", "cross_pol")
STEPS = 2
"""Of the views that are read: the change needs both images, whatever the net sees."""

Values = Float[Tensor, "view row column"]


class Probe(NamedTuple):
    """A question.

    Attributes:
        hidden: Bands that the encoder does not see; the first one answers the question.
        steps: Of which steps.
        values: ``(batch, bands) -> value of each cell``, NaN where it is unknown.
        edges: Values between one class and the next.
    """

    hidden: tuple[str, ...]
    steps: slice
    values: Callable[[Batch, Sequence[str]], Values]
    edges: tuple[float, ...]


def probe(task: Any, training: Iterable[Batch], held_out: Iterable[Batch]) -> dict[str, float]:
    """Balanced accuracy, on held-out ground, of those of `PROBES` that the bands answer; NaN where there is one class.

    Args:
        task: A `snowmap.tasks.pretraining.Pretraining` in evaluation mode.
        training: Views of the training ground, of `STEPS` steps.
        held_out: Of held-out ground.
    """
    training, held_out = list(training), list(held_out)
    asked = {name: question for name, question in PROBES.items() if question.hidden[0] in task.preprocessor.bands}
    return {name: _score(task, question, training, held_out) for name, question in asked.items()}


def make_classifier(cells: int) -> Pipeline:
    """A linear classifier that is to be fitted on so many cells."""
    logistic = LogisticRegression(C=1 / (PENALTY * cells), class_weight="balanced", max_iter=1000)
    return make_pipeline(StandardScaler(), logistic)


def fixed_views(datamodule: PatchDataModule, subset: str, count: int) -> list[Batch]:
    """So many views of a subset, of `STEPS` steps, always the same; two of a patch.

    They lie evenly in the subset where its shards are on this machine. Of remote ones they are the first.
    """
    patches = datamodule.subsets[subset]
    most = max(1, count // VIEWS)
    remote = any(is_remote(shard) for shard in patches.shards)
    chosen = range(min(most, len(patches))) if remote else spaced(len(patches), most)
    feeding = datamodule.feeding._replace(time=STEPS, batch_size=AT_ONCE)
    loader = PatchDataModule({subset: patches.where(np.array(chosen))}, feeding).loader(subset)
    return [members.batch() for members in loader]


def _score(task: Any, question: Probe, training: Sequence[Batch], held_out: Sequence[Batch]) -> float:
    (x, values), (other_x, other_values) = (_cells(task, question, batches) for batches in (training, held_out))
    if not (values.size and other_values.size):
        return float("nan")
    labels, other_labels = (np.digitize(each, question.edges) for each in (values, other_values))
    if min(len(np.unique(labels)), len(np.unique(other_labels))) < 2:
        return float("nan")
    guessed = make_classifier(len(x)).fit(x, labels).predict(other_x)
    return float(recall_score(other_labels, guessed, labels=np.unique(other_labels), average="macro"))


def _cells(task: Any, question: Probe, batches: Sequence[Batch]) -> tuple[np.ndarray, np.ndarray]:
    """Features ``(cell, feature)`` and values ``(cell,)`` of all cells that have a value."""
    features, values = [], []
    for batch in batches:
        value = question.values(batch, task.preprocessor.bands).flatten()
        feature = _features(task, question, batch.to(task.device)).cpu()
        known = value.isfinite()
        features.append(feature[known])
        values.append(value[known])
    return torch.cat(features).numpy(), torch.cat(values).numpy()


@torch.no_grad()
def _features(task: Any, question: Probe, batch: Batch) -> Float[Tensor, "cell feature"]:
    """Means over each cell of all that the encoder gives of the last step, at every resolution."""
    hidden = torch.zeros_like(batch.x_valid)
    for position, name in enumerate(task.preprocessor.bands):
        hidden[:, question.steps, position] = name in question.hidden
    rows, columns = (size // CELL for size in batch.x.shape[-2:])
    seen = last_steps(batch._replace(x_valid=batch.x_valid & ~hidden), task.time)
    levels = task.net.encode(Inputs.of(seen, task.preprocessor.normalizer.encode(seen.x, seen.x_valid)))
    cells = [functional.adaptive_avg_pool2d(level[:, -1].float(), (rows, columns)) for level in levels]
    return torch.cat(cells, dim=1).permute(0, 2, 3, 1).flatten(0, 2)


def last_steps(batch: Batch, steps: int) -> Batch:
    """The last steps of the views alone."""
    of_target = {"y", "y_valid", "window"}
    kept = {name: values[:, -steps:] for name, values in batch._asdict().items() if name not in of_target}
    return batch._replace(**kept)


def _means(values: Tensor, valid: Tensor) -> Values:
    """Of each cell, NaN where too few pixels are valid."""
    share = functional.avg_pool2d(valid.float(), CELL)
    mean = functional.avg_pool2d(torch.where(valid, values, 0).float(), CELL) / share
    return torch.where(share >= LEAST_VALID, mean, torch.nan)


def _elevation(batch: Batch, bands: Sequence[str]) -> Values:
    position = bands.index("elevation")
    return _means(batch.x[:, -1, position], batch.x_valid[:, -1, position])


def _change_db(batch: Batch, bands: Sequence[str]) -> Values:
    """By how much the co-polarised backscatter of prime and secondary differ."""
    position = bands.index("co_pol")
    both = batch.x_valid[:, :, position].all(dim=1)
    prime, secondary = (_means(batch.x[:, step, position].expm1(), both) for step in range(STEPS))  # log1p(20 x)
    return 10 * (secondary / prime).log10().abs()


PROBES = {
    "elevation": Probe(HEIGHT, slice(None), _elevation, MOUNTAINS_M),
    "wet": Probe(BACKSCATTER, slice(-1, None), _change_db, (WETTED_DB,)),
}
"""By name."""
