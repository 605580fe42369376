"""The same physical patch has the same effect in a net that took its weights, whatever the statistics of either run."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snowmap.data.batch import Batch
from snowmap.models import Inputs
from snowmap.tasks.matching import Row
from snowmap.tasks.pixel import SnowRegression
from snowmap.tasks.pretraining import Pretraining
from snowmap.tasks.transfer import transfer
from tests.models.inputs import SMALL, make_inputs

RANGES = {
    "phase_swe": (-40.0, 60.0),
    "coherence": (0.0, 1.0),
    "mean_temperature": (-12.0, 8.0),
    "pdd": (0.0, 60.0),
    "elevation": (500.0, 3000.0),
    "phase": (-math.pi, math.pi),
    "incidence": (20.0, 60.0),
    "intensity": (-20.0, 0.0),
}
UNITS = dict(zip(RANGES, ("mm", "1", "degC", "degC d", "m", "rad", "degree", "dB"), strict=True))
OLD = ("phase_swe", "coherence", "mean_temperature", "pdd", "phase", "elevation")
NEW = ("elevation", "pdd", "phase_swe", "incidence", "mean_temperature", "phase", "coherence")


def task_of(bands: tuple[str, ...], seed: int, form: str = "unet", **options: Any) -> SnowRegression:
    """Of random weights and statistics; nothing of it begins at zero."""
    torch.manual_seed(seed)
    task = SnowRegression(
        model={"name": form.partition("-")[0], **SMALL[form]},
        preprocessing={"bands": bands, "wrapped": ["phase"]},
        targets={"swe": {"units": "cm"}},
        optimizer={},
        head={"name": "point"},
        **{"metadata": {"units": {band: UNITS[band] for band in bands}}, **options},
    ).eval()
    normalizer = task.preprocessor.normalizer
    for position, band in enumerate(bands):
        low, high = RANGES[band]
        normalizer.band_least[position], normalizer.band_greatest[position] = low, high
        wrapped = band == "phase"
        share = torch.rand(2).tolist()
        normalizer.band_mean[position] = 0 if wrapped else low + share[0] * (high - low)
        normalizer.band_std[position] = 1 if wrapped else (0.2 + share[1]) * (high - low) / 2
    for parameter in task.net.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.3)
    return task


def patch(bands: tuple[str, ...], time: int = 5, size: tuple[int, int] = (13, 18)) -> Batch:
    """The same values whatever the order of the bands; a tenth of the pixels, a corner and a step are missing."""
    shape, x, valid = (2, time, *size), [], []
    for position, (low, high) in enumerate(RANGES.values()):
        random = torch.Generator().manual_seed(position)
        x.append(low + (high - low) * torch.rand(shape, generator=random))
        valid.append(torch.rand(shape, generator=random) > 0.1)
    order = [list(RANGES).index(band) for band in bands]
    values, known = torch.stack(x, 2)[:, :, order], torch.stack(valid, 2)[:, :, order]
    known[..., :4, :5] = False
    values[~known] = torch.nan
    given = make_inputs(time=time)
    step_valid = torch.arange(time).expand(2, time) > 0
    dates = (given.days, given.gap_days, given.length_days, given.added_days, given.season_start, given.day_of_year)
    target = torch.zeros(2, 1, 1, *size)
    return Batch(
        values, known & step_valid[:, :, None, None, None], step_valid, *dates, target, target > 0, torch.arange(2)
    )


@torch.no_grad()
def effects(task: SnowRegression) -> dict[str, Tensor]:
    """What the whole net gives, its encoder at each resolution, and each layer that reads the bands."""
    found = {}
    layers = dict(task.net.named_modules())
    for name in task.net.reads(task.preprocessor.normalizer.channel_names):
        layers[name].register_forward_hook(lambda _, inputs, output, name=name: found.update({name: output}))
    features = {f"encoder {level}": values for level, values in enumerate(encoded(task))}
    return {"maps": task.net(task._inputs(patch(tuple(task.preprocessor.bands)))), **features, **found}


@torch.no_grad()
def encoded(task: SnowRegression | Pretraining) -> list[Tensor]:
    """What the encoder makes of the patch."""
    batch, normalizer = patch(tuple(task.preprocessor.bands)), task.preprocessor.normalizer
    return task.net.encode(Inputs.of(batch, normalizer.encode(batch.x, batch.x_valid)))


def rows_of(source: SnowRegression, task: SnowRegression) -> dict[str, Row]:
    return {row.part: row for row in transfer(source, task)}


@pytest.mark.parametrize("form", SMALL)
def test_other_statistics_and_another_order_of_bands_change_nothing(form):
    source, task = task_of(OLD, 1, form), task_of(NEW, 2, form)
    first = rows_of(source, task)["encoder 1"]
    assert first.notes[:2] == (
        "rescaled: elevation, pdd, phase_swe, mean_temperature, coherence",
        "new, from zero: incidence",
    )
    before, after = effects(source), effects(task)
    assert len(before) == 1 + len(source.net.encoded) + (2 if form == "massbalance" else 1)
    for name, values in before.items():
        assert values.std() > 0.01
        torch.testing.assert_close(after[name], values, rtol=1e-5, atol=1e-5, msg=name)


def test_without_the_constant_the_borders_would_differ():
    """What the test above would miss, if the patch had neither borders nor gaps."""
    source, task = task_of(OLD, 1), task_of(NEW, 2)
    rows_of(source, task)
    weight, names = task.net.encoder.blocks[0][0].weight, task.preprocessor.normalizer.channel_names
    with torch.no_grad():
        weight[:, [position for position, name in enumerate(names) if "known" in name]] = 0
    before, after = (effects(each)["encoder.blocks.0.0"] for each in (source, task))
    assert not torch.allclose(before, after, atol=0.01)


def test_a_band_that_was_constant_in_the_checkpoint_brings_no_values():
    source, task = task_of(OLD, 1), task_of(NEW, 2)
    normalizer = source.preprocessor.normalizer
    position = source.preprocessor.bands.index("elevation")
    for statistic, value in {"band_mean": 800, "band_std": 1, "band_least": 800, "band_greatest": 800}.items():
        getattr(normalizer, statistic)[position] = value
    notes = rows_of(source, task)["encoder 1"].notes
    assert "constant in the checkpoint, so its values begin at zero: elevation" in notes
    assert not task.net.encoder.blocks[0][0].weight[:, NEW.index("elevation")].any()
    source_batch, batch = patch(OLD), patch(NEW)
    for each, bands in ((source_batch, OLD), (batch, NEW)):
        each.x[:, :, bands.index("elevation")] = 800
    with torch.no_grad():
        before, after = (each.net(each._inputs(of_each)) for each, of_each in ((source, source_batch), (task, batch)))
    torch.testing.assert_close(before, after, rtol=1e-5, atol=1e-5)


def test_a_band_in_another_unit_begins_at_zero():
    task = task_of(NEW, 2, metadata={"units": {**{band: UNITS[band] for band in NEW}, "elevation": "km"}})
    row = rows_of(task_of(OLD, 1), task)["encoder 1"]
    assert row.notes[-1] == "from zero: elevation, which is in m in the checkpoint, in km here"
    channels = [i for i, name in enumerate(task.preprocessor.normalizer.channel_names) if "elevation" in name]
    assert len(channels) == 2
    assert not task.net.encoder.blocks[0][0].weight[:, channels].any()
