"""Who reads what and in which order, interrupted or not; shards that lie elsewhere."""

import shutil
import tracemalloc
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytorch_lightning as pl
import torch

from snowmap.errors import SnowmapError
from snowmap.sources.na_sar import stream
from snowmap.sources.na_sar.datamodule import PatchDataModule
from snowmap.sources.na_sar.loader import Feeding
from tests.hub_server import Hub, serve_hub
from tests.shards import write_shards
from tests.sources.na_sar.conftest import EACH, SHARDS, opened

REPOSITORY = "somebody/NA-SAR"


def windows(batches) -> list[list[int]]:
    return [members.window.tolist() for members in batches]


@pytest.mark.parametrize(("processes", "workers"), [(1, 0), (1, 2), (2, 2), (4, 0)])
def test_each_sample_is_in_one_batch_of_an_epoch_and_all_processes_take_as_many(whole, loader, processes, workers):
    epochs = []
    for epoch in range(2):
        of_ranks = [loader(whole, workers, (processes, rank)) for rank in range(processes)]
        for batches in of_ranks:
            batches.set_epoch(epoch)
        read = [windows(batches) for batches in of_ranks]
        assert {len(batches) for batches in read} == {len(batches) for batches in of_ranks}
        assert len({len(batches) for batches in read}) == 1
        counts = Counter(window for batches in read for batch in batches for window in batch)
        counts.pop(-1, None)
        assert counts == dict.fromkeys(range(SHARDS * EACH), 2)
        epochs.append(read)
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize("workers", [0, 2])
def test_at_any_step_the_rest_of_the_epoch_is_that_of_an_uninterrupted_one(whole, loader, workers):
    steps = range(len(loader(whole, workers)))
    uninterrupted = [members.batch().x.nan_to_num() for members in loader(whole, workers)]
    for step in steps if workers == 0 else [3]:
        resumed = loader(whole, workers)
        resumed.passed = step
        rest = [members.batch().x.nan_to_num() for members in resumed]
        assert len(rest) == len(uninterrupted) - step
        assert all(map(torch.equal, rest, uninterrupted[step:]))


def test_passed_shards_are_not_opened_again(whole, loader, tmp_path):
    root = tmp_path / "r"
    shutil.copytree(whole, root)
    first = windows(loader(root, batch_size=2 * EACH, shuffle=1))
    assert [sorted({w // EACH for w in batch}) for batch in first] == [[first[i][0] // EACH] for i in range(SHARDS)]
    resumed = loader(root, batch_size=2 * EACH, shuffle=1)
    resumed.passed = 2
    for batch in first[:2]:
        (root / "data" / f"nasar-train-{batch[0] // EACH:05d}.tar").unlink()
    assert windows(resumed) == first[2:]


class _Recorder(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.weight, self.seen = torch.nn.Parameter(torch.zeros(())), []

    def training_step(self, batch, index):
        self.seen.append((self.current_epoch, batch.window.tolist(), torch.rand(()).item()))
        return self.weight * batch.x.nan_to_num().mean()

    def validation_step(self, batch, index):
        """None: the data module has a loader for it."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

    def on_train_batch_end(self, outputs, batch, batch_idx):
        if self.global_step == 5:
            self.trainer.save_checkpoint(Path(self.trainer.default_root_dir) / "five.ckpt")


def _fit(folder: Path, root: Path, checkpoint: Path | None = None) -> tuple[list, float]:
    torch.manual_seed(0 if checkpoint else 1)  # what a step draws must not depend on it
    module = PatchDataModule({"train": opened(root)}, Feeding(batch_size=4, shuffle=2))
    trainer = pl.Trainer(
        max_steps=13, default_root_dir=folder, logger=False, enable_checkpointing=False, accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
    )  # fmt: skip
    recorder = _Recorder()
    trainer.fit(recorder, module, ckpt_path=checkpoint)
    return recorder.seen, float(recorder.weight.detach())


def test_a_training_that_is_resumed_sees_and_draws_what_an_uninterrupted_one_does(whole, tmp_path):
    uninterrupted, weight = _fit(tmp_path, whole)  # of 8 steps in an epoch
    (tmp_path / "five.ckpt").rename(tmp_path / "kept.ckpt")
    resumed, resumed_weight = _fit(tmp_path, whole, tmp_path / "kept.ckpt")
    assert resumed == uninterrupted[5:]
    assert [epoch for epoch, *_ in uninterrupted] == 8 * [0] + 5 * [1]
    assert resumed_weight == weight


def test_other_readers_are_told_that_the_epoch_is_not_the_same(whole, caplog):
    module = PatchDataModule({"train": opened(whole)}, Feeding(), 2)
    module.note([stream.Fault("s", "key", "is no npz")])
    other = PatchDataModule({"train": opened(whole)}, Feeding(), 3)
    other.load_state_dict(module.state_dict())
    assert "written with 1 processes × 2 workers, and is resumed with 1 × 3: some patches" in caplog.text
    caplog.clear()
    other.note([stream.Fault("s", "key", "is no npz")])
    assert not caplog.text
    assert other.faults == module.faults


def test_fewer_samples_than_readers_are_said_or_refused(whole, loader, caplog):
    with pytest.raises(SnowmapError, match=r"15 samples for 16 processes; use fewer trainer.devices"):
        loader(whole, 0, (16, 0))
    few = loader(whole, 8, (4, 0))
    assert few.workers == 3
    assert "15 samples are too few for 8 workers; 3 read them" in caplog.text
    assert "12 readers share 3 shards" in caplog.text


def test_memory_does_not_grow_with_the_number_of_shards(loader, tmp_path):
    peaks = []
    for shards in (2, 12):
        root = tmp_path / str(shards)
        table = write_shards(root, 1, EACH)
        paths = [f"data/copy-{shard:02d}.tar" for shard in range(shards)]
        for path in paths:
            (root / path).hardlink_to(root / "data" / "nasar-train-00000.tar")
        copies = pa.concat_tables([table] * shards).drop_columns("shard_path")
        pq.write_table(copies.append_column("shard_path", [sorted(paths * EACH)]), root / "metadata.parquet")
        batches = loader(root)
        tracemalloc.start()
        assert sum(len(members.window) for members in batches) == 2 * EACH * shards
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]


@pytest.fixture
def hub(whole, monkeypatch, tmp_path):
    """The shards behind a server that speaks the hub's protocol; its client keeps no pause between attempts."""
    constants = pytest.importorskip("huggingface_hub.constants")
    files = {path.relative_to(whole).as_posix(): path.read_bytes() for path in whole.rglob("*") if path.is_file()}
    with serve_hub(Hub(REPOSITORY, files)) as served:
        template = served.endpoint + constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", served.endpoint)
        monkeypatch.setattr(stream, "PAUSE_S", 0.01)
        monkeypatch.setenv("SNOWMAP_CACHE", str(tmp_path / "cache"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "none"))
        yield served


def test_a_url_and_a_path_of_the_hub_give_what_the_folder_gives(whole, loader, hub):
    here = windows(loader(whole))
    assert windows(loader(opened(f"hf://datasets/{REPOSITORY}@main"))) == here
    address = f"{hub.endpoint}/datasets/{REPOSITORY}/resolve/main"
    pattern = f"{address}/data/nasar-train-{{00000..0000{SHARDS - 1}}}.tar"
    assert windows(loader(opened(whole, shards=[pattern]))) == here


def test_a_broken_transfer_goes_on_where_it_broke_off(whole, loader, hub):
    patches = opened(f"{hub.endpoint}/datasets/{REPOSITORY}/resolve/main")
    size = (whole / "data" / "nasar-train-00000.tar").stat().st_size
    hub.drop_after += [size // 2, size // 3]
    batches = list(loader(patches))
    assert windows(batches) == windows(loader(whole))
    assert not any(members.faults for members in batches)
    assert len(hub.ranges) == 1 + SHARDS + 2  # the metadata, the shards and two attempts more


@pytest.mark.parametrize("cache_gb", [None, 1.0])
def test_a_url_that_breaks_off_again_and_again_is_named(loader, hub, cache_gb, tmp_path):
    patches = opened(f"{hub.endpoint}/datasets/{REPOSITORY}/resolve/main")
    hub.drop_after += [2000] * 20
    with pytest.raises(
        SnowmapError, match=r"data/nasar-train-0000\d.tar could not be read to its end in 3 attempts: curl "
    ):
        list(loader(patches, opening=stream.Opening(cache_gb, 2)))
    assert not list(tmp_path.glob("cache/na_sar/shards/*"))


def test_no_such_url_is_named(hub):
    with pytest.raises(SnowmapError, match=r"nobody/x/resolve/main/metadata.parquet could not be read .* status 22"):
        opened(f"{hub.endpoint}/datasets/nobody/x/resolve/main", retries=0)


def test_the_cache_saves_transfers_and_keeps_to_its_size(whole, loader, hub, tmp_path):
    patches = opened(f"{hub.endpoint}/datasets/{REPOSITORY}/resolve/main")
    hub.ranges.clear()
    for _ in range(2):
        assert windows(loader(patches, opening=stream.Opening(1.0))) == windows(loader(whole))
    assert len(hub.ranges) == SHARDS
    size = max(path.stat().st_size for path in (whole / "data").iterdir())
    for _ in loader(patches, opening=stream.Opening(1.5e-9 * size)):
        held = [path.stat().st_size for path in (tmp_path / "cache" / "na_sar" / "shards").iterdir()]
        assert sum(held) <= 1.5 * size
