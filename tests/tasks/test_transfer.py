"""A new run that begins with the weights of another: other bands, targets, windows, nets; frozen, or slower below."""

import pytest
import torch
import xarray as xr
from torch import nn

from snowmap.baselines import build_baseline, save_baseline
from snowmap.checkpoints.provenance import metadata_of
from snowmap.config.checking import check_config
from snowmap.config.schema import TrainConfig
from snowmap.data.batch import Batch
from snowmap.data.splits.dates import rolling
from snowmap.errors import SnowmapError
from snowmap.models import NETS
from snowmap.runs.training import make_trainer
from snowmap.tasks.matching import Row
from snowmap.tasks.pixel import SnowRegression
from snowmap.tasks.transfer import transfer
from tests.archives import write_foreign_archive
from tests.commands import fail, succeed
from tests.config.test_checking import composed
from tests.cubes import make_cube
from tests.models.inputs import SMALL, make_inputs, make_net
from tests.tasks.test_pixel import fit, parts, same_weights

TINY = "model.channels=[4,8]"


def task_of(*overrides: str, cube: xr.Dataset | None = None) -> SnowRegression:
    return parts(make_cube() if cube is None else cube, TINY, *overrides)[1]


def with_bands(*bands: str, **options) -> xr.Dataset:
    return make_cube(bands=list(bands), **options)


def rows_of(source: SnowRegression, task: SnowRegression) -> dict[str, Row]:
    return {row.part: row for row in transfer(source, task)}


def outputs(task: SnowRegression, cube: xr.Dataset) -> torch.Tensor:
    """What the net gives in normalised units."""
    _, _, datamodule = parts(cube, TINY, f"data.derived={task.preprocessor.derived}")
    batch: Batch = datamodule.collate(datamodule.train[:4])
    with torch.no_grad():
        return task.eval()(batch)[:, :, -1]


class TestWhatIsTaken:
    def test_the_same_net_is_taken_whole(self):
        source, task = task_of(), task_of("seed=1")
        assert not same_weights(source, task)
        rows = transfer(source, task)
        assert same_weights(source, task)
        assert [row.part for row in rows] == ["encoder 1", "encoder 2", "decoder 1", "head"]
        assert sum(row.taken for row in rows) == sum(p.numel() for p in task.net.parameters())
        assert all(row.zero == row.new == 0 and not row.notes for row in rows)

    def test_on_another_archive_with_further_bands_the_first_maps_are_those_of_the_old_net(self):
        few, more = ("elevation", "unwrapped_phase"), ("coherence", "elevation", "phase", "unwrapped_phase", "pdd")
        source, task = task_of(cube=with_bands(*few)), task_of("seed=1", cube=with_bands(*more, shape=(9, 14), seed=3))
        statistics = [buffer.clone() for buffer in task.preprocessor.normalizer.buffers()]
        rows = rows_of(source, task)
        assert all(map(torch.equal, statistics, task.preprocessor.normalizer.buffers()))
        first, *others = rows.values()
        # bands, cos and sin of the phase, and a validity channel for each band
        assert first.zero == 4 * 9 * (4 + 1 + 4)
        rescaled = "rescaled: elevation, unwrapped_phase"
        assert first.notes == (rescaled, "new, from zero: coherence, phase, pdd, cumulative_pdd")
        assert not any(row.notes for row in others)
        found = (outputs(each, with_bands(*bands)) for each, bands in ((source, few), (task, more)))
        torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)

    def test_bands_that_are_gone_are_left_out_and_the_rest_is_matched_by_name(self):
        source = task_of("data.derived=[day_of_year]", cube=with_bands("coherence", "elevation", "phase", "pdd"))
        task = task_of("data.derived=[slope]", cube=with_bands("elevation", "phase"))
        row = rows_of(source, task)["encoder 1"]
        assert row.notes == ("new, from zero: slope", "left out: coherence, pdd, day_of_year_cos, day_of_year_sin")
        old, new = (each.net.encoder.blocks[0][0].weight for each in (source, task))
        # coherence elevation phase(cos) pdd doy doy phase(sin) known… → elevation phase(cos) slope phase(sin) known…
        assert torch.equal(new[:, [0, 1, 3, 4, 5]], old[:, [1, 2, 6, 8, 9]])
        assert not new[:, [2, 6]].any()

    def test_what_begins_at_zero_learns(self, tmp_path):
        fit(with_bands("elevation"), tmp_path / "a", TINY, "trainer.max_epochs=1")
        begin = f"init_from={tmp_path}/a/checkpoints/last.ckpt"
        task = fit(with_bands("elevation", "pdd"), tmp_path / "b", TINY, "trainer.max_epochs=1", begin)
        assert task.net.encoder.blocks[0][0].weight[:, 1].any()

    def test_targets_that_both_know_are_taken_by_name(self):
        source, task = task_of("target=swe"), task_of("target=both", "seed=1")
        fresh = task.net.head.weight.clone()
        row = rows_of(source, task)["head"]
        assert (row.taken, row.new) == (5, 5)
        assert row.notes == ("built anew: hs",)
        assert torch.equal(task.net.head.weight[1], source.net.head.weight[0])
        assert torch.equal(task.net.head.weight[0], fresh[0])
        back = task_of("target=hs")
        rows = rows_of(task, back)
        assert torch.equal(back.net.head.weight[0], task.net.head.weight[0])
        assert rows["the checkpoint"].notes == ("left out: the target swe",)

    def test_targets_of_a_head_with_spread_come_with_it_and_another_head_is_built_anew(self):
        source, task = task_of("head=quantile", "target=both"), task_of("head=quantile", "target=swe", "seed=1")
        transfer(source, task)
        assert torch.equal(task.net.head.weight, source.net.head.weight[5:])
        other = task_of("head=gaussian", "target=both", "seed=1")
        fresh = other.net.head.weight.clone()
        row = rows_of(source, other)["head"]
        assert row.notes == ("built anew: head=quantile in the checkpoint, gaussian here",)
        assert torch.equal(other.net.head.weight, fresh)

    @pytest.mark.parametrize(("before", "after"), [(3, 2), (2, 3), (1, 3), (3, 1)])
    def test_a_stack_keeps_its_most_recent_windows(self, before, after):
        def stack(steps: int, *more: str) -> SnowRegression:
            return task_of(*(() if steps == 1 else ("model.time=stack", f"model.steps={steps}")), *more)

        source, task = stack(before), stack(after, "seed=1")
        transfer(source, task)
        old, new = (each.net.encoder.blocks[0][0].weight for each in (source, task))
        channels = source.preprocessor.normalizer.channels
        a, b = (channels + 2 * (steps > 1) for steps in (before, after))
        last_old, last_new = (before - 1) * a, (after - 1) * b
        for back in range(min(before, after)):
            past_old, past_new = last_old - back * a, last_new - back * b
            assert torch.equal(new[:, past_new : past_new + channels], old[:, past_old : past_old + channels])
        if after > before:
            assert not new[:, : (after - before) * b].any()

    def test_a_longer_sequence_takes_all(self):
        source, task = (task_of("model=convlstm", "model.hidden=[4]", f"data.time={time}") for time in (3, 6))
        transfer(source, task)
        assert same_weights(source, task)

    def test_another_net_takes_encoder_decoder_and_head(self):
        source, task = task_of(), task_of("model=convlstm", "model.hidden=[4]", "seed=1")
        rows = rows_of(source, task)
        assert rows["encoder 1"].notes == ("new, from zero: days without a window, whether a season begins",)
        assert rows["memory"].taken == 0
        assert rows["memory"].notes == ("not in the checkpoint",)
        assert torch.equal(source.net.head.weight, task.net.head.weight)
        assert rows_of(task, task_of())["the checkpoint"].notes == ("left out: memory",)

    def test_the_mass_balance_takes_both_of_its_layers_that_read_bands(self):
        options = ("model=massbalance", "model.hidden=4", "head=gaussian")
        source = task_of(*options, "target=both")
        for parameter in source.net.parameters():
            nn.init.normal_(parameter)
        task = task_of(*options, "data.derived=[phase_swe,slope]", "seed=1")
        rows = rows_of(source, task)
        assert (rows["encoder 1"].zero, rows["head"].zero) == (2 * 4 * 9, 2 * 4)
        old, new = source.preprocessor.normalizer.channel_names, task.preprocessor.normalizer.channel_names
        common = [name for name in new if name in old]
        for before, after in ((s.net.begin[0].weight, t.net.begin[0].weight) for s, t in ((source, task),)):
            picked = [old.index(name) for name in common], [new.index(name) for name in common]
            assert torch.equal(after[:, picked[1]], before[:, picked[0]])
        assert torch.equal(task.net.spread[2].weight, source.net.spread[2].weight[1:])  # hs, swe → swe
        assert rows["the checkpoint"].notes == ("left out: the target hs",)

    def test_an_ensemble_takes_member_by_member(self):
        source, task = task_of("ensemble=3"), task_of("ensemble=2", "seed=1")
        rows = rows_of(source, task)
        for old, new in zip(source.net.members, task.net.members, strict=False):
            assert all(map(torch.equal, old.parameters(), new.parameters()))
        assert rows["the checkpoint"].notes == ("left out: 1 of 3 members",)

    def test_members_of_a_single_net_differ_by_their_heads(self):
        source, task = task_of(), task_of("ensemble=3", "seed=1")
        rows = rows_of(source, task)
        first, *others = task.net.members
        assert all(map(torch.equal, first.parameters(), source.net.parameters()))
        for other in others:
            assert all(map(torch.equal, other.encoder.parameters(), source.net.encoder.parameters()))
            assert not torch.equal(other.head.weight, first.head.weight)
        assert rows["head"].notes == ("new in repeated members, so that they differ",)

    def test_the_other_sign_of_the_phase_is_said(self):
        rows = rows_of(task_of("data.phase_sign=1"), task_of("data.phase_sign=-1"))
        assert "phase_sign=1 in the checkpoint, -1 here" in rows["the checkpoint"].notes[0]

    def test_nothing_fits(self):
        with pytest.raises(SnowmapError, match=r"nothing fits; the checkpoint .*\[4, 8\].*this run has .*\[6, 12\]"):
            transfer(task_of(), parts(make_cube(), "model.channels=[6,12]")[1])


@pytest.mark.parametrize("form", SMALL)
def test_every_net_names_its_stages_first_layers_and_output_layers(form):
    net = make_net(form)
    stages = net.stages
    assert next(iter(stages)) == "encoder 1"
    assert list(stages)[-1] == "head"
    assert set(NETS) - {"smp", "mae"} == {name.partition("-")[0] for name in SMALL}
    in_stages = [p for modules in stages.values() for module in modules for p in module.parameters()]
    assert {id(p) for p in in_stages} == {id(p) for p in net.parameters()}
    assert len(in_stages) == len(list(net.parameters()))
    dropouts = [module for module in net.modules() if isinstance(module, nn.Dropout2d)]
    held = [module for modules in stages.values() for part in modules for module in part.modules()]
    assert all(dropout in held for dropout in dropouts)
    modules, channels = dict(net.named_modules()), [f"channel {i}" for i in range(make_inputs().x.shape[2])]
    reads = net.reads(channels)
    for name, names in reads.items():
        assert modules[name].weight.shape[1] == len(set(names)) == len(names)
    # no other layer sees the channels: with their weights at zero, the inputs change nothing but what is physical
    with torch.no_grad():
        for name in reads:
            modules[name].weight.zero_()
        inputs = make_inputs(form)
        assert torch.equal(net(inputs), net(inputs._replace(x=torch.randn_like(inputs.x))))
    spread = make_net(form, targets=("swe", "hs"))
    for name in net.output_layers:
        if name in dict(spread.named_modules()):
            assert dict(spread.named_modules())[name].weight.shape[0] % 2 == 0


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    folder = tmp_path_factory.mktemp("first")
    fit(make_cube(), folder, TINY, "model.dropout=0.3", "trainer.max_epochs=2")
    return folder / "checkpoints" / "last.ckpt"


class TestRuns:
    def test_the_checkpoint_remembers_where_its_weights_came_from(self, first, tmp_path, capsys):
        words = (TINY, "target=both", f"init_from={first}")
        fit(make_cube(seed=2), tmp_path, *words, "trainer.max_epochs=1")
        said = capsys.readouterr().out
        assert "weights from" in said
        assert "built anew: hs" in said
        assert "statistics" in said
        last = tmp_path / "checkpoints" / "last.ckpt"
        found = SnowRegression.load_from_checkpoint(last).metadata["weights_from"]
        assert (found["checkpoint"], found["targets"]) == (str(first), {"swe": "cm"})
        assert found["archive"]["fingerprint"] == "seed 0"
        # a resumed run takes nothing anew, and remembers
        first_words = [word for word in words if "init_from" not in word]
        fit(make_cube(seed=2), tmp_path, *first_words, f"ckpt={last}", "trainer.max_epochs=2", ckpt=last)
        again = SnowRegression.load_from_checkpoint(last)
        assert again.metadata["weights_from"] == found
        assert "weights from" not in capsys.readouterr().out

    def test_a_fine_tuned_run_that_goes_on_is_that_which_never_stopped(self, first, tmp_path):
        words = (TINY, "model.dropout=0.3", f"init_from={first}", "freeze=encoder", "optimizer.layer_decay=0.5")
        words += ("callbacks.ema=0.9",)
        straight = fit(make_cube(), tmp_path / "a", *words, "trainer.max_epochs=4")
        fit(make_cube(), tmp_path / "b", *words, "trainer.max_epochs=2")
        last = tmp_path / "b" / "checkpoints" / "last.ckpt"
        config, task, datamodule = parts(make_cube(), *words, "trainer.max_epochs=4")
        make_trainer(config, tmp_path / "b").fit(task, datamodule, ckpt_path=last, weights_only=True)
        assert same_weights(straight, task)

    @pytest.mark.parametrize("freeze", ["encoder", "all_but_head"])
    @pytest.mark.parametrize("ema", ["null", "0.8"])
    def test_what_is_frozen_does_not_change_and_the_rest_does(self, first, tmp_path, freeze, ema):
        words = (TINY, "model.dropout=0.3", f"init_from={first}", f"freeze={freeze}", f"callbacks.ema={ema}")
        strong = ("optimizer.weight_decay=0.5", "optimizer.learning_rate=0.05", "seed=3", "trainer.max_epochs=2")
        fit(make_cube(), tmp_path, *words, *strong)  # of the same statistics: nothing is rescaled
        before, after = (
            dict(SnowRegression.load_from_checkpoint(path).net.named_parameters())
            for path in (first, tmp_path / "checkpoints" / "last.ckpt")
        )
        parts = ("encoder",) if freeze == "encoder" else ("encoder", "decoder")
        kept = {name for name in before if name.startswith(parts)}
        for name in before:
            assert torch.equal(before[name], after[name]) == (name in kept), name

    def test_what_is_frozen_draws_no_dropout_while_it_trains(self, first):
        task = task_of("model.dropout=0.3", f"init_from={first}", "freeze=encoder").train()
        assert task.training
        assert task.net.decoder.training
        assert not any(module.training for block in task.net.encoder.blocks for module in block.modules())
        assert not task.net.encoder.dropout.training
        assert task_of("model.dropout=0.3", f"init_from={first}").train().net.encoder.dropout.training

    def test_a_frozen_run_goes_on_unfrozen(self, first, tmp_path):
        words = (TINY, "model.dropout=0.3", f"init_from={first}")
        fit(make_cube(), tmp_path, *words, "freeze=all_but_head", "trainer.max_epochs=1")
        last = tmp_path / "checkpoints" / "last.ckpt"
        frozen = SnowRegression.load_from_checkpoint(last)
        free = fit(make_cube(), tmp_path, *words, "trainer.max_epochs=2", ckpt=last)
        assert not torch.equal(frozen.net.encoder.blocks[0][0].weight, free.net.encoder.blocks[0][0].weight)

    def test_the_learning_rate_falls_from_the_head_to_the_input(self):
        task = task_of("optimizer.layer_decay=0.5", "optimizer.learning_rate=0.8", "optimizer.warmup_steps=0")
        (optimizer,), _ = task.configure_optimizers()
        rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
        assert rates == pytest.approx({"head": 0.8, "decoder 1": 0.4, "encoder 2": 0.2, "encoder 1": 0.1})
        held = [id(p) for group in optimizer.param_groups for p in group["params"]]
        assert sorted(held) == sorted(map(id, task.net.parameters()))
        (plain,), _ = task_of().configure_optimizers()
        assert len(plain.param_groups) == 1

    def test_another_layer_decay_does_not_go_on(self, first, tmp_path):
        with pytest.raises(SnowmapError, match=r"optimizer\.layer_decay changed since the checkpoint"):
            fit(make_cube(), tmp_path, TINY, "model.dropout=0.3", "optimizer.layer_decay=0.5", ckpt=first)


class TestBadInput:
    @pytest.mark.parametrize(
        ("overrides", "told"),
        [
            (["ckpt=a.ckpt", "init_from=b.ckpt"], "ckpt=… resumes a run, init_from=… begins a new one"),
            (["freeze=encoder"], "freeze=encoder would hold random weights; give those of a run as init_from=…"),
            (["freeze=encodr", "init_from=b.ckpt"], "did you mean 'encoder'"),
            (["optimizer.layer_decay=0"], "expected a number > 0 and ≤ 1"),
            (["optimizer.layer_decay=1.5"], "expected a number > 0 and ≤ 1"),
        ],
    )
    def test_words_that_do_not_go_together(self, overrides, told):
        with pytest.raises(SnowmapError, match=told):
            check_config(composed(*overrides), TrainConfig)

    def test_a_checkpoint_that_is_not_there_or_is_a_baseline(self, tmp_path):
        with pytest.raises(SnowmapError, match=r"none\.ckpt does not exist"):
            task_of(f"init_from={tmp_path}/none.ckpt")
        cube = make_cube()
        baseline = build_baseline({"name": "climatology"}).fit(cube, range(12), ["swe"])
        baseline.metadata = metadata_of([cube], [rolling(cube["start"].values, cube["end"].values)], {"data": {}})
        path = save_baseline(baseline, tmp_path / "best.ckpt")
        with pytest.raises(SnowmapError, match="holds the baseline climatology, which has no weights"):
            task_of(f"init_from={path}")

    def test_bands_that_would_be_frozen_at_zero_are_said(self, first):
        task = task_of(f"init_from={first}", "freeze=encoder", "data.derived=[slope]")
        row = rows_of(SnowRegression.load_from_checkpoint(first), task)["encoder 1"]
        assert row.notes[-1] == "frozen: what begins at zero stays without influence"

    def test_weights_that_were_not_taken_are_not_frozen(self, first):
        with pytest.raises(SnowmapError, match=r"freeze=encoder would hold .* encoder 2 \(other shape: 8 × 4 ×"):
            parts(make_cube(), "model.channels=[4,6]", f"init_from={first}", "freeze=encoder")


@pytest.mark.slow
def test_fine_tuning_as_a_user_types_it_in_two_processes(first, tmp_path):
    old = first
    write_foreign_archive(tmp_path / "a", windows=16, shape=(12, 20), seed=5)
    words = (f"data.root={tmp_path}/a", TINY, f"init_from={old}", "experiment=finetune", "freeze=encoder")
    quiet = ("trainer.enable_progress_bar=false", "logger=none", "evaluate=none", "trainer.max_epochs=1")
    ddp = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true")
    said = succeed("train.py", *words, *quiet, *ddp, f"hydra.run.dir={tmp_path}/run")
    assert said.count("weights from") == 1
    before, after = map(SnowRegression.load_from_checkpoint, (old, tmp_path / "run" / "checkpoints" / "best.ckpt"))
    _, *frozen = zip(
        before.net.encoder.parameters(), after.net.encoder.parameters(), strict=True
    )  # the first: rescaled
    assert all(torch.equal(*pair) for pair in frozen)
    assert not torch.equal(before.net.decoder.after[0][0].weight, after.net.decoder.after[0][0].weight)
    assert not torch.allclose(before.preprocessor.normalizer.band_mean, after.preprocessor.normalizer.band_mean)
    told = fail("train.py", *words[:1], *words[2:3], "model=elevation", f"hydra.run.dir={tmp_path}/other")
    assert "init_from=… is for nets; model=elevation is a baseline" in told
