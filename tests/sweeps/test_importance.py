import numpy as np
import pytest
import torch

from snowmap.data.ablation import shuffled_order
from snowmap.data.cube import window_names
from snowmap.models import Net
from snowmap.sources.trentino import open_archive
from snowmap.sweeps.importance import REPEATS, permutation_importance
from snowmap.tasks.pixel import SnowRegression
from tests.archives import write_foreign_archive
from tests.tasks.test_pixel import fit


class OneBand(Net):
    """A net that gives back one channel: the map is a straight line of one band."""

    def __init__(self, channel: int) -> None:
        super().__init__()
        self.channel = channel

    def forward(self, inputs):
        return inputs.x[:, -1:, self.channel, None]


def test_the_error_grows_by_what_the_other_windows_differ_and_not_for_bands_that_are_not_read(tmp_path, monkeypatch):
    write_foreign_archive(tmp_path / "a", windows=40, shape=(8, 12))
    cube = open_archive(tmp_path / "a")
    words = ("split=winters", "split.fold=0", "trainer.max_epochs=1", f"data.root={tmp_path}/a", "split.test=2")
    task = fit(cube, tmp_path / "run", *words)
    position = task.preprocessor.bands.index("pdd")
    restore = SnowRegression.restore.__func__

    def with_known_net(cls, content, path):
        restored = restore(cls, content, path)
        restored.net = OneBand(position)
        return restored

    monkeypatch.setattr(SnowRegression, "restore", classmethod(with_known_net))
    table = permutation_importance(tmp_path / "run" / "checkpoints" / "best.ckpt")
    assert {*table["target"]} == {"swe"}
    increases = table.groupby("name")["difference"].agg(list)
    names, parts = window_names(cube), task.metadata["archives"][0]["split"]
    windows = [names.index(name) for name in parts["validation"]]
    inside = cube["mask"].values

    def rmse(pdd: np.ndarray) -> float:
        scales = task.preprocessor.normalizer
        x = torch.from_numpy((pdd - scales.band_mean[position].item()) / scales.band_std[position].item())
        mapped = task.head.decode(torch.nan_to_num(x)[:, None])[:, 0].clamp(min=0).numpy()
        error = np.where(inside, mapped - cube["swe"].values[windows], np.nan)
        return float(np.sqrt(np.nanmean(error.astype(np.float64) ** 2)))

    pdd = cube["features"].sel(band="pdd").values
    known = [
        rmse(pdd[np.array(shuffled_order(names, parts, seed))[windows]]) - rmse(pdd[windows]) for seed in range(REPEATS)
    ]
    assert increases["pdd"] == pytest.approx(known, rel=1e-4, abs=1e-5)
    assert max(map(abs, increases["pdd"])) > 0.1
    assert all(increase == [0] * REPEATS for band, increase in increases.items() if band != "pdd")
