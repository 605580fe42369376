"""Masked pre-training on Batches made by hand, with every net."""

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from snowmap.checkpoints.provenance import FORMAT
from snowmap.data.batch import Batch
from snowmap.errors import SnowmapError
from snowmap.models.masking import random_mask
from snowmap.tasks.pretraining import Pretraining
from tests.models.inputs import SMALL

BANDS = {"co_pol": (0.15, 2.39), "coherence": (0.0, 1.0), "phase": (-3.14, 3.14), "elevation": (-100.0, 4000.0)}
"""With the ends of their ranges."""

OPTIMIZER = {
    **{"name": "adamw", "learning_rate": 3e-3, "weight_decay": 0.01, "layer_decay": 1.0},
    **{"schedule": "half_life", "warmup_steps": 1, "half_life_steps": 1000},
}
SIZE, PATCH = 64, 16


def make_task(form: str = "unet", time: int = 2, patch: int = PATCH, groups=(), **options) -> Pretraining:
    torch.manual_seed(0)
    task = Pretraining(
        model={"name": form.partition("-")[0], **SMALL[form], **options},
        preprocessing={"bands": list(BANDS), "wrapped": ["phase"]},
        optimizer=OPTIMIZER,
        pretraining={"patch": patch, "mask_ratio": 0.75, "band_ratio": 0.0, "whole_ratio": 0.0, "width": 16},
        groups=groups,
        time=time,
        metadata={"format": FORMAT, "task": "pretraining"},
    )
    normalizer = task.preprocessor.normalizer
    for position, (name, (low, high)) in enumerate(BANDS.items()):
        ends = (low, high) if name != "phase" else (0.0, 1.0)
        normalizer.band_mean[position], normalizer.band_std[position] = ends[0], ends[1] - ends[0]
        normalizer.band_least[position], normalizer.band_greatest[position] = low, high
    return task


def make_patches(time: int = 2, items: int = 4, seed: int = 0, size: int = SIZE) -> Batch:
    """Smooth waves in the middle of each range; coherence and phase belong to the last step, a corner is missing."""
    random = torch.Generator().manual_seed(seed)
    along = torch.linspace(0, 1, size)
    waves = 2 + 4 * torch.rand(3, items, 1, len(BANDS), 1, 1, generator=random)
    unit = 0.5 + 0.4 * torch.sin(waves[0] * along[:, None] + waves[1] * along + 6 * waves[2])
    low, high = torch.tensor([*BANDS.values()])[:, :, None, None].unbind(1)
    x = (low + (high - low) * unit).repeat(1, time, 1, 1, 1)
    x[:, :-1, 1:3] = torch.nan
    x[:, :, :, :3, :5] = torch.nan
    none = torch.zeros(items, time)
    return Batch(
        x=x,
        x_valid=x.isfinite(),
        step_valid=none == 0,
        days=none + 12 * torch.arange(time - 1, -1, -1),
        gap_days=none,
        length_days=none + 12,
        added_days=none + 12,
        season_start=none > 0,
        day_of_year=none + 40,
        y=torch.zeros(items, 1, 0, size, size),
        y_valid=torch.zeros(items, 1, 0, size, size, dtype=torch.bool),
        window=torch.arange(items),
    )


@pytest.mark.filterwarnings("ignore:You are trying to `self.log")
@pytest.mark.parametrize("time", [1, 2])
@pytest.mark.parametrize("form", SMALL)
def test_every_net_learns_in_each_layer_that_encodes_and_in_no_other(form, time):
    task, batch = make_task(form, time), make_patches(time)
    loss = task.training_step(batch, 0)
    loss.backward()
    encoding = {p for name in task.net.encoding_stages for part in task.net.stages[name] for p in part.parameters()}
    assert encoding
    for parameter in task.parameters():
        learns = parameter in encoding or not any(parameter is other for other in task.net.parameters())
        assert parameter.requires_grad == learns == (parameter.grad is not None)
        if learns:
            assert parameter.grad.isfinite().all()
            assert parameter.grad.any() or time == 1  # to weigh one step there is nothing to learn
    steps = time if task.net.maps_every_step else 1
    assert task.reconstruct(batch, task.draw_mask(batch)).shape == (4, steps, len(BANDS), SIZE, SIZE)


@pytest.mark.parametrize("form", ["unet", "convlstm"])
def test_a_reconstruction_does_not_look_at_what_is_masked(form):
    task, batch = make_task(form), make_patches()
    keep = task.draw_mask(batch)
    hidden = batch._replace(x=batch.x.masked_fill(~keep[:, None], torch.nan))
    first, second = task.reconstruct(batch, keep), task.reconstruct(hidden, keep)
    assert torch.equal(first, second)
    assert first.isfinite().all()
    shown = (batch.x_valid & keep[:, None])[:, -first.shape[1] :]
    assert torch.equal(first[shown], batch.x[:, -first.shape[1] :][shown])
    other = batch._replace(x=batch.x.masked_fill(keep[:, None], 0.5))
    assert not torch.equal(task.reconstruct(other, keep)[~shown], first[~shown])


@pytest.mark.filterwarnings("ignore:You are trying to `self.log")
def test_a_few_steps_reconstruct_better_than_the_mean_of_the_visible_pixels():
    task, batch = make_task(channels=[8, 16, 24]), make_patches(time=1)
    optimizer = torch.optim.AdamW(task.parameters(), lr=5e-3)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        losses.append(task.training_step(batch, 0))
        losses[-1].backward()
        optimizer.step()
    assert torch.stack(losses[-10:]).mean() < 0.85 * losses[0]
    keep = random_mask(len(batch.x), SIZE, SIZE, PATCH, 0.75, seed=99)
    shown, scored = (batch.x_valid & mask[:, None] for mask in (keep, ~keep))
    for position in (0, 1, 3):
        x, of_band = batch.x[:, 0, position], (slice(None), 0, position)
        means = [values[visible].mean() for values, visible in zip(x, shown[of_band], strict=True)]
        mean = torch.stack(means)[:, None, None].expand_as(x)
        errors = [
            (maps - x)[scored[of_band]].square().mean() for maps in (task.reconstruct(batch, keep)[of_band], mean)
        ]
        assert errors[0] < 0.9 * errors[1], (position, errors)


def test_a_trainer_logs_each_band_in_its_unit_and_the_checkpoint_is_whole(tmp_path):
    task, batches = make_task(), [make_patches(seed=seed) for seed in range(2)]
    loader = DataLoader(batches, batch_size=None)
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    trainer = pl.Trainer(max_epochs=1, default_root_dir=tmp_path, enable_model_summary=False, **options)
    trainer.fit(task, loader, loader)
    logged = trainer.callback_metrics
    bands = ("rmse_co_pol", "rmse_coherence", "cosine_distance_phase", "rmse_elevation")
    assert {*logged} == {"train/loss", "validation/loss", *(f"validation/{band}" for band in bands)}
    squares, cosines = [], []
    for number, batch in enumerate(batches):
        keep = random_mask(len(batch.x), SIZE, SIZE, PATCH, 0.75, seed=number)
        scored = (batch.x_valid & ~keep[:, None])[:, -1]
        error = task.reconstruct(batch, keep)[:, -1] - batch.x[:, -1]
        squares += error[:, 3][scored[:, 3]].square().tolist()
        weight = batch.x[:, -1, 1][scored[:, 2]]
        cosines += [(weight, 1 - error[:, 2][scored[:, 2]].cos())]
    assert logged["validation/rmse_elevation"] == pytest.approx(torch.tensor(squares).mean().sqrt().item(), rel=1e-4)
    weight, distance = map(torch.cat, zip(*cosines, strict=True))
    expected = ((weight * distance).sum() / weight.sum()).item()
    assert logged["validation/cosine_distance_phase"] == pytest.approx(expected, rel=1e-4)
    path = tmp_path / "last.ckpt"
    trainer.save_checkpoint(path)
    loaded = Pretraining.load_from_checkpoint(path)
    keep = task.draw_mask(batches[0], seed=1)
    assert torch.equal(loaded.reconstruct(batches[0], keep), task.reconstruct(batches[0], keep))


def test_a_hidden_band_is_scored_but_not_seen_at_any_step():
    task, batch = make_task(), make_patches()
    keep, hidden = task.draw_mask(batch), torch.zeros(4, len(BANDS), 1, 1, dtype=torch.bool)
    hidden[1:, 0] = hidden[2:, 3] = True
    other = batch._replace(x=batch.x.masked_fill(hidden[:, None], 0.7))
    first, second = task(batch, keep, hidden), task(other, keep, hidden)
    assert all(map(torch.equal, first, second))
    assert not torch.equal(task(batch, keep).pattern[1:], first.pattern[1:])
    losses = [task.reconstruction.loss(first, task._truth(each, keep, first, hidden)) for each in (batch, other)]
    assert losses[0] != losses[1]
    losses = []
    for task.band_ratio in (0.0, 1.0):
        torch.manual_seed(2)
        losses.append(task.drawn_loss(batch))
    assert losses[1] > losses[0]


def test_without_masked_patches_a_group_of_hidden_bands_alone_is_scored(monkeypatch):
    task, batch = make_task(groups=[["co_pol", "coherence"], ["phase", "elevation"]]), make_patches(items=8)
    task.band_ratio = task.whole_ratio = 1.0
    truths = []
    monkeypatch.setattr(task.reconstruction, "loss", lambda _, truth: truths.append(truth) or torch.zeros(()))
    torch.manual_seed(1)
    task.drawn_loss(batch)
    (truth,) = truths
    hidden = truth.hidden[:, :, 0, 0]
    assert torch.equal(hidden[:, 0], hidden[:, 1])
    assert torch.equal(hidden[:, 2], hidden[:, 3])
    assert {*hidden.sum(dim=1).tolist()} == {0, 2}
    share = truth.keep.float().mean(dim=(1, 2, 3))
    assert torch.equal(share, torch.where(hidden.any(dim=1), 1.0, 0.25))


def test_a_batch_without_a_value_costs_nothing():
    task, batch = make_task(), make_patches()
    batch = batch._replace(x=torch.full_like(batch.x, torch.nan), x_valid=torch.zeros_like(batch.x_valid))
    keep = task.draw_mask(batch)
    patterns = task(batch, keep)
    loss = task.reconstruction.loss(patterns, task._truth(batch, keep, patterns))
    loss.backward()
    assert loss == 0
    assert all(p.grad is None or p.grad.isfinite().all() for p in task.parameters())


def test_patches_that_do_not_fit_are_one_clear_line():
    with pytest.raises(SnowmapError, match=r"pretraining\.patch=2 does not hold whole cells of 4 px, the coarsest of"):
        make_task("unet", patch=2)
    task, batch = make_task("unet"), make_patches(size=72)
    with pytest.raises(SnowmapError, match=r"pretraining\.patch=16 does not divide 72 × 72 px"):
        task.draw_mask(batch)
    with pytest.raises(SnowmapError, match=r"model\.name=climatology is unknown"):
        Pretraining(
            model={"name": "climatology"},
            preprocessing={"bands": list(BANDS)},
            optimizer=OPTIMIZER,
            pretraining={"patch": 16, "mask_ratio": 0.75, "band_ratio": 0.0, "whole_ratio": 0.0, "width": 16},
            metadata={},
        )
