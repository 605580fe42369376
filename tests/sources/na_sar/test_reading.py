"""Bands of patches against NumPy, and members that are not what the dataset card says."""

import io
import math
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from snowmap.config.sources import NaSarRanges
from snowmap.data.normalize import Normalizer
from snowmap.errors import SnowmapError
from snowmap.sources.na_sar.datamodule import PatchDataModule
from snowmap.sources.na_sar.layout import BANDS, SIDE
from snowmap.sources.na_sar.loader import Feeding, _write_row
from tests.shards import packed, patch_arrays, write_shards
from tests.sources.na_sar.conftest import opened


def expected(arrays: dict[str, np.ndarray], view: int, date: str) -> dict[str, np.ndarray]:
    """Channels of a view at a date as the dataset card scales them, NaN where there is nothing; in float64."""
    arrays = {key: values.astype(np.float64) for key, values in arrays.items()}
    rtc, dem = arrays[f"{date}_rtc_view_{view}"], arrays["dem"][0]

    def scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
        return np.clip((values - low) / (high - low), 0, 1)

    low, high = np.percentile(dem, [5, 95])
    cosine, sine = arrays[f"ifg_view_{view}"] if date == "secondary" else np.full((2, *dem.shape), np.nan)
    coherence = arrays[f"coh_view_{view}"][0] if date == "secondary" else np.full_like(dem, np.nan)
    backscatter = {
        name: np.where(rtc[index] > 0, scaled(np.log1p(20 * rtc[index]), *ends), np.nan)
        for index, (name, ends) in enumerate({"co_pol": (0.15, 2.39), "cross_pol": (0.01, 1.09)}.items())
    }
    return {
        **backscatter,
        "coherence": coherence,
        "phase (cos)": cosine,
        "phase (sin)": sine,
        "incidence": arrays[f"inc_angle_view_{view}"][0] / 90,
        "elevation": scaled(dem, -100, 4000),
        "slope": scaled(arrays["slope_deg"][0], 0, 45),
        "relief": scaled(dem, low, high),
    }


@pytest.mark.parametrize("time", [1, 2])
def test_channels_are_those_of_numpy_for_each_view_and_date(tmp_path, loader, time):
    write_shards(tmp_path / "r", 1, 3, absent={1: ("cross_pol",)})
    normalizer = Normalizer(list(BANDS), ["phase"])
    normalizer.set_ranges(vars(NaSarRanges()))
    compared = 0
    for members in loader(tmp_path / "r", time=time):
        batch = members.batch()
        channels = normalizer.encode(batch.x, batch.x_valid).numpy()
        for item, (window, view) in enumerate(zip(members.window.tolist(), members.view.tolist(), strict=True)):
            arrays = patch_arrays(window, absent=("cross_pol",) if window == 1 else ())
            for step, date in enumerate(("prime", "secondary")[-time:]):
                for name, values in expected(arrays, view, date).items():
                    found = channels[item, step, normalizer.channel_names.index(name)]
                    known = channels[item, step, normalizer.channel_names.index(f"{name.partition(' ')[0]} (known)")]
                    np.testing.assert_allclose(found, np.nan_to_num(values), rtol=0, atol=1e-6, err_msg=name)
                    np.testing.assert_array_equal(known, np.isfinite(values), err_msg=name)
                    compared += 1
    assert compared == 3 * 2 * time * 9


def test_a_band_alone_reads_only_what_it_is_made_of(whole, loader):
    members = next(iter(loader(whole, bands=("elevation",), time=1)))
    assert members.arrays.shape[1] == 1
    assert members.batch().x[0, 0, 0, 0, 0] == members.window[0]


def test_dates_are_those_of_the_metadata_and_usual_ones_without(tmp_path, whole, loader):
    batch = next(iter(loader(whole))).batch()
    assert batch.days[0].tolist() == [12, 0]
    assert batch.day_of_year[0].tolist() == [5, 17]
    dates = {"prime_date": ["2024-02-20", None], "secondary_date": ["2024-03-15T02:00:00Z", None]}
    numbers = {"prime_date": [20240220, 20240302], "secondary_date": [20240315, 20240302]}
    for name, columns, expected in (
        ("texts", dates, [[24, 51, 75], [12, 1, 1]]),
        ("numbers", numbers, [[24, 51, 75], [12, 62, 62]]),
    ):
        write_shards(tmp_path / name, 1, 2, columns=columns)
        patches = opened(tmp_path / name)
        assert patches.table[["days", "prime_day", "secondary_day"]].to_numpy().tolist() == expected


TOLD = {
    "text": "is no npz",
    "empty": "is no npz",
    "truncated": "is no whole npz",
    "flipped": "is no whole npz",
    "lacks_key": "lacks coh_view_0",
    "other_shape": "has dem as float32 (1, 64, 64), not as floating-point numbers (1, 128, 128)",
    "whole_numbers": "has dem as int16 (1, 128, 128), not as floating-point numbers (1, 128, 128)",
    "nan": "has NaN or infinity in coh_view_1",
    "all_invalid": "has no value at any pixel",
}


def test_a_faulty_member_keeps_its_place_and_is_named_and_counted_once(tmp_path, loader, caplog):
    root = tmp_path / "r"
    write_shards(root, 1, len(TOLD) + 2, faults={index + 1: fault for index, fault in enumerate(TOLD)})
    patches = opened(root)
    module = PatchDataModule({"train": patches}, Feeding(batch_size=4, shuffle=3))
    for epoch in range(2):
        batches = module.loader("train", shuffle=True)
        batches.set_epoch(epoch)
        usable = {}
        for members in batches:
            module.note(members.faults)
            usable |= dict(
                zip(members.window.tolist(), members.batch().x_valid.flatten(1).any(1).tolist(), strict=True)
            )
        assert len(usable) == len(patches)
        unusable = {index + 1 for index, fault in enumerate(TOLD) if fault != "nan"}
        assert {window for window, known in usable.items() if not known} == unusable
    assert module.faults.keys() == {f"patch_{index + 1:08d}" for index in range(len(TOLD))}
    for index, fault in enumerate(TOLD):
        key = f"patch_{index + 1:08d}"
        assert TOLD[fault] in module.faults[key]
        assert caplog.text.count(f"nasar-train-00000.tar: {key} ") == 1


def test_a_worker_hands_over_the_very_bits_that_this_process_reads(tmp_path, loader):
    root = tmp_path / "r"
    write_shards(root, 1, 4, faults={1: "nan", 2: "truncated"})
    here, there = (list(loader(root, workers)) for workers in (0, 1))
    assert [members.faults for members in here] == [members.faults for members in there]
    for own, handed in zip(here, there, strict=True):
        assert torch.equal(own.arrays.view(torch.int32), handed.arrays.view(torch.int32))
        assert torch.equal(own.window, handed.window)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="of Linux")
def test_full_shared_memory_is_one_clear_error():
    with Path("/dev/full").open("wb") as file, pytest.raises(SnowmapError, match=r"fewer data\.workers"):
        _write_row(file.fileno(), 4 * SIDE, 0, [np.zeros(SIDE, np.float32)])


def test_a_shard_cut_short_gives_what_is_whole_and_one_line(tmp_path, loader, caplog):
    root = tmp_path / "r"
    write_shards(root, 2, 5, cut={1: 512 + 2 * 10_240}, leave_out=(2,))
    module = PatchDataModule({"train": opened(root)}, Feeding(batch_size=20, shuffle=2))
    (members,) = module.loader("train")
    module.note(members.faults)
    batch = members.batch()
    good = members.window[batch.x_valid.flatten(1).any(1)].unique().tolist()
    size = (root / "data" / "nasar-train-00001.tar").stat().st_size
    kept = sum(512 + 512 * math.ceil(len(packed(patch_arrays(5 + i))) / 512) <= size for i in range(1))
    assert good[:4] == [0, 1, 3, 4]
    assert len(good) == 4 + kept
    assert module.faults["patch_00000002"] == "is not in the shard where the metadata has it"
    assert caplog.text.count("is cut short or damaged") == 1
    assert len(module.faults) == 10 - len(good)


def test_other_npz_of_numpy_are_read(tmp_path, loader):
    """Not compressed, in Fortran order and of double precision."""
    root = tmp_path / "r"
    write_shards(root, 1, 1)
    buffer = io.BytesIO()
    np.savez(buffer, **{key: np.asfortranarray(v.astype(np.float64)) for key, v in patch_arrays(0).items()})
    sound = next(iter(loader(root))).batch()
    with tarfile.open(root / "data" / "nasar-train-00000.tar", "w") as tar:
        member = tarfile.TarInfo("./patch_00000000.npz")
        member.size = len(buffer.getvalue())
        tar.addfile(member, io.BytesIO(buffer.getvalue()))
    other = next(iter(loader(root))).batch()
    assert torch.equal(sound.x_valid, other.x_valid)
    assert torch.equal(sound.x[sound.x_valid], other.x[sound.x_valid])
