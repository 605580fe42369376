"""Encoders that were pre-trained on patches begin runs that map: what is taken, exactly, and what is refused."""

import pytest
import torch

from snowmap.checkpoints.provenance import FORMAT
from snowmap.cli import main
from snowmap.errors import SnowmapError
from snowmap.tasks.load import load_model, load_source
from snowmap.tasks.pixel import SnowRegression
from snowmap.tasks.pretraining import Pretraining
from snowmap.tasks.transfer import transfer
from tests.archives import write_foreign_archive
from tests.commands import fail, succeed
from tests.models.inputs import SMALL
from tests.shards import write_shards
from tests.tasks.test_rescaling import NEW, UNITS, encoded, task_of

QUIET = ("trainer.enable_progress_bar=false", "logger=none")
BANDS = ("co_pol", "cross_pol", "coherence", "phase", "incidence", "elevation", "slope", "relief")
RANGES = {
    **{"co_pol": (0.15, 2.39), "cross_pol": (0.01, 1.09), "coherence": (0.0, 1.0), "incidence": (0.0, 90.0)},
    **{"elevation": (-100.0, 4000.0), "slope": (0.0, 45.0), "relief": (0.0, 1.0)},
}


def pretraining_of(form: str, **options) -> Pretraining:
    """Of random weights, with the ranges of NA-SAR, and with bands of their own dropped by `options`."""
    torch.manual_seed(3)
    units = {"co_pol": "1", "cross_pol": "1", "relief": "1", "slope": "degree", **UNITS}
    bands = options.pop("bands", BANDS)
    task = Pretraining(
        model={"name": form.partition("-")[0], **SMALL[form], **options},
        preprocessing={"bands": bands, "wrapped": ["phase"]},
        optimizer={},
        pretraining={"patch": 16, "mask_ratio": 0.75, "band_ratio": 0.0, "whole_ratio": 0.0, "width": 8},
        time=2,
        metadata={
            "task": "pretraining",
            "format": FORMAT,
            "units": {band: units[band] for band in bands},
            "archives": [{"archive": "shards", "origin": "synthetic", "fingerprint": "1"}],
        },
    ).eval()
    task.preprocessor.normalizer.set_ranges(RANGES)
    return task


def checkpoint_of(task: Pretraining, path):
    content = {"state_dict": task.state_dict(), "hyper_parameters": dict(task.hparams)}
    torch.save({**content, "pytorch-lightning_version": "2.6.0"}, path)
    return path


@pytest.mark.parametrize("form", SMALL)
def test_the_encoder_is_taken_and_sees_the_same(form):
    source, task = pretraining_of(form, bands=("phase", "elevation", "coherence")), task_of(NEW, 2, form)
    rows = {row.part: row for row in transfer(source, task)}
    for name, row in rows.items():
        if name in task.net.encoding_stages:
            assert row.new == 0
        else:
            assert (row.taken, row.notes) == (0, ("not pre-trained",))
    assert rows["encoder 1"].notes == (
        "rescaled: elevation, coherence",
        "new, from zero: pdd, phase_swe, incidence, mean_temperature",
    )
    for before, after in zip(encoded(source), encoded(task), strict=True):
        assert before.std() > 0.01
        torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-5)


def test_backscatter_in_other_units_is_left_out_and_the_table_says_so():
    task = task_of((*NEW, "intensity"), 2)
    row = transfer(pretraining_of("unet"), task)[0]
    assert row.notes[1].startswith("new, from zero: ")
    assert "intensity" in row.notes[1]
    assert row.notes[2] == "left out: co_pol, cross_pol, slope, relief"


@pytest.mark.parametrize(("freeze", "refused"), [("encoder", False), ("all_but_head", True)])
def test_what_was_pre_trained_can_be_frozen(freeze, refused):
    task = task_of(NEW, 2, freeze=freeze)
    if refused:
        with pytest.raises(SnowmapError, match=r"freeze=all_but_head would hold .* decoder 1 \(not pre-trained\)"):
            transfer(pretraining_of("unet"), task)
    else:
        rows = transfer(pretraining_of("unet"), task)
        assert rows[0].notes[-1] == "frozen: what begins at zero stays without influence"


def test_another_net_takes_the_encoder_alone():
    rows = {row.part: row for row in transfer(pretraining_of("unet", channels=[8, 16]), task_of(NEW, 2, "convlstm"))}
    assert rows["encoder 2"].taken == rows["encoder 2"].parameters
    assert rows["memory"].notes == ("not in the checkpoint",)
    assert rows["head"].notes == ("not pre-trained",)


def test_it_maps_nothing(tmp_path):
    path = checkpoint_of(pretraining_of("unet"), tmp_path / "best.ckpt")
    for load in (load_model, SnowRegression.load_from_checkpoint):
        with pytest.raises(SnowmapError, match=r"best\.ckpt holds a pre-training, .* train\.py init_from=.*best\.ckpt"):
            load(path)
    assert isinstance(load_source(path), Pretraining)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """The checkpoint of two steps, by the real command."""
    folder = tmp_path_factory.mktemp("pretrained")
    write_shards(folder / "shards", 1, 12)
    words = ("model.channels=[4,8]", "pretraining.width=4", "pretraining.probe=0", "data.workers=0")
    words += ("data.batch_size=4", "trainer.max_epochs=1", "trainer.limit_train_batches=2")
    said = succeed(
        *("train.py", "experiment=na_sar_pretraining", *words, *QUIET),
        *(f"data.root={folder}/shards", f"hydra.run.dir={folder}/run"),
    )
    assert f"init_from={folder}/run/checkpoints/best.ckpt" in said
    return folder / "run" / "checkpoints" / "best.ckpt"


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    root = tmp_path_factory.mktemp("archive") / "snow"
    write_foreign_archive(root, windows=16, shape=(12, 20))
    return root


def test_a_run_begins_with_the_encoder_as_a_user_types_it(pretrained, archive, tmp_path):
    words = (f"data.root={archive}", "model=unet", "model.channels=[4,8]", "data.derived=[slope]", *QUIET)
    begin = (f"init_from={pretrained}", "freeze=encoder", "debug=fast", "evaluate=none", f"hydra.run.dir={tmp_path}")
    said = " ".join(succeed("train.py", *words, *begin).replace("│", " ").split())
    assert "rescaled: coherence, elevation, incidence, slope" in said
    assert "not pre-trained" in said
    task = SnowRegression.load_from_checkpoint(tmp_path / "checkpoints" / "best.ckpt")
    assert task.metadata["weights_from"]["checkpoint"] == str(pretrained)
    _, *encoder = Pretraining.load_from_checkpoint(pretrained).net.encoder.parameters()
    assert all(map(torch.equal, encoder, [*task.net.encoder.parameters()][1:]))
    # the same physical patch has the same effect, as far as both have its bands
    for name in ("coherence", "elevation", "incidence", "slope"):
        assert task.net.encoder.blocks[0][0].weight[:, task.preprocessor.bands.index(name)].any()
    refused = ("train.py", "task=pretraining", f"ckpt={tmp_path}/checkpoints/best.ckpt", f"hydra.run.dir={tmp_path}/a")
    assert "holds no pre-training that could be resumed" in fail(*refused)


def test_what_maps_refuses_it_in_one_line(pretrained, archive, tmp_path, capsys):
    told = f"error: {pretrained} holds a pre-training, whose encoder maps nothing yet; begin a run with it: train.py "
    resumed = ("model=unet", f"data.root={archive}", f"hydra.run.dir={tmp_path}/run")
    for words in (("evaluate.py",), ("train.py", *resumed)):
        assert fail(*words, f"ckpt={pretrained}").startswith(told)
    assert main(["predict", str(pretrained), str(archive), str(tmp_path / "maps")]) == 1
    assert capsys.readouterr().err.startswith(told)
    assert not list(tmp_path.iterdir())
