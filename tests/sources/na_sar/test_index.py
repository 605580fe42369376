"""Samples from the metadata: columns, filters, shards that do not match, and splits by geography."""

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from snowmap.config.splits import Geography
from snowmap.errors import SnowmapError
from snowmap.sources.na_sar.index import split_patches
from tests.shards import bounds_of, write_shards
from tests.sources.na_sar.conftest import EACH, SHARDS, opened


def places(patches) -> np.ndarray:
    return patches.table[["longitude", "latitude"]].to_numpy()


def centre(index: int) -> tuple[float, float]:
    west, south, east, north = bounds_of(index)
    return (west + east) / 2, (south + north) / 2


def test_filters_choose_before_any_shard_is_opened(whole, tmp_path, loader):
    root = tmp_path / "r"
    shutil.copytree(whole, root)
    for shard in (0, 2):
        (root / "data" / f"nasar-train-{shard:05d}.tar").unlink()
    west, south, east, north = *bounds_of(EACH)[:2], *bounds_of(2 * EACH - 1)[2:]
    patches = opened(root, bounds=[west, south, east, north], quality=0.6)
    assert patches.table.index.tolist() == [EACH + i for i in range(EACH) if 0.54 + 0.4 * ((EACH + i) % 10) / 10 >= 0.6]
    assert sum(len(members.window) for members in loader(patches)) == 2 * len(patches)
    with pytest.raises(SnowmapError, match=r"none of its 15 samples is within data.quality, data.polarisations and"):
        opened(root, quality=0.99)


def test_bounds_may_cross_the_180th_meridian(whole):
    first = centre(0)[0]
    assert opened(whole, bounds=[first + 1, 0, first - 1, 90]).table.index.tolist() == list(range(1, SHARDS * EACH))


def test_polarisations_that_a_patch_must_have(tmp_path):
    write_shards(tmp_path / "r", 1, 4, absent={1: ("cross_pol",), 2: ("co_pol",)})
    assert opened(tmp_path / "r", polarisations=["cross_pol"]).table.index.tolist() == [0, 2, 3]


@pytest.mark.parametrize("geometry", ["wkb", "wkt"])
def test_places_are_the_middle_of_outlines(tmp_path, geometry):
    write_shards(tmp_path / "r", 1, 3, geometry=geometry)
    np.testing.assert_allclose(places(opened(tmp_path / "r")), [centre(i) for i in range(3)], atol=1e-9)


def test_places_come_from_other_columns_by_their_names(tmp_path):
    columns = {"geometry": None, "lon": [350.0, 10.0], "y_middle": [50.0, 60.0]}
    write_shards(tmp_path / "r", 1, 2, columns=columns)
    patches = opened(tmp_path / "r", columns={"latitude": "y_middle"})
    assert places(patches).tolist() == [[-10.0, 50.0], [10.0, 60.0]]
    with pytest.raises(SnowmapError, match=r"gives 2 of 2 samples no place; name its columns, e.g. data.columns="):
        split_patches(opened(tmp_path / "r"), vars(Geography("geography")))


@pytest.mark.parametrize(
    ("columns", "keys", "told"),
    [
        (
            {"sample_key": None},
            {},
            "has no column sample_key, but shard_path, .*; name the one that is meant as",
        ),
        ({"quality_score": None}, {"quality": 0.6}, "has no column quality_score"),
        ({}, {"columns": {"quality": "q"}}, "data.columns.quality=q: .*metadata.parquet has the columns sample_key, "),
        ({}, {"columns": {"qualty": "q"}}, "data.columns: 'qualty' is none of key, shard"),
        ({"geometry": ["a", "b"]}, {}, "the column geometry is neither WKB nor WKT"),
        ({"lon": [5e5, 6e5], "lat": [4e6, 5e6]}, {}, "so they are no degrees"),
        ({"sample_key": ["a", "a"]}, {}, "lists a sample of a shard twice"),
        ({"sample_key": ["a", "b"]}, {}, "of other shards: .*nasar-train-00000.tar begins with patch_00000000, which"),
        ({"shard_path": ["data/x.tar"] * 2}, {}, r"has none of the 1 shards that metadata.parquet names \(x.tar\)"),
    ],
)
def test_metadata_that_does_not_fit_is_one_clear_line(tmp_path, columns, keys, told):
    write_shards(tmp_path / "r", 1, 2, columns=columns)
    with pytest.raises(SnowmapError, match=told):
        opened(tmp_path / "r", **keys)


def test_metadata_that_is_missing_or_cut_short_is_named(whole, tmp_path):
    with pytest.raises(SnowmapError, match=r"nowhere/metadata.parquet cannot be read: No such file"):
        opened(tmp_path / "nowhere")
    shutil.copytree(whole, tmp_path / "r")
    path = tmp_path / "r" / "metadata.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(SnowmapError, match="is no whole Parquet file"):
        opened(tmp_path / "r")


def test_some_of_the_shards_are_enough(whole, tmp_path, caplog):
    shutil.copytree(whole, tmp_path / "r")
    (tmp_path / "r" / "data" / "nasar-train-00001.tar").unlink()
    assert len(opened(tmp_path / "r")) == 2 * EACH
    assert "lacks 1 of the 3 shards that metadata.parquet names (nasar-train-00001.tar): their 5 samples" in caplog.text


def test_a_split_by_geography_keeps_blocks_whole_and_a_buffer_free(tmp_path):
    """No patch of the training is much nearer than the buffer to one of the test, as the great circle goes."""
    rng = np.random.default_rng(0)
    longitude, latitude = rng.uniform(-130, -70, 4000), rng.uniform(30, 60, 4000)
    columns = {"lon": longitude, "lat": latitude, "shard_path": ["data/nasar-train-00000.tar"] * 4000}
    patches = opened(_metadata(tmp_path, columns))
    options = vars(Geography("geography", degrees=5.0, buffer_km=100.0))
    parts = split_patches(patches, options)
    block = {name: {*map(tuple, (places(part) // 5).astype(int).tolist())} for name, part in parts.items()}
    assert not block["train"] & (block["test"] | block["validation"])
    assert not block["test"] & block["validation"]
    assert 0.05 < len(parts["test"]) / 4000 < 0.2
    train, test = np.radians(places(parts["train"])), np.radians(places(parts["test"]))
    cosine = np.sin(train[:, None, 1]) * np.sin(test[:, 1]) + np.cos(train[:, None, 1]) * np.cos(test[:, 1]) * np.cos(
        train[:, None, 0] - test[:, 0]
    )
    assert 6371 * np.arccos(cosine).min() > 90
    other = split_patches(patches, options | {"seed": 1})
    assert other["test"].table.index.tolist() != parts["test"].table.index.tolist()
    with pytest.raises(SnowmapError, match=r"leaves no sample for train: 4000 samples lie in 2 blocks of 50°; give a"):
        split_patches(patches, options | {"degrees": 50.0})


def _metadata(folder, columns):
    """Metadata alone beside an empty shard: splits open none."""
    count = len(columns["lon"])
    keys = {"sample_key": [f"patch_{i}" for i in range(count)], "sample_index_in_shard": list(range(count))}
    (folder / "data").mkdir()
    (folder / "data" / "nasar-train-00000.tar").touch()
    pq.write_table(pa.table(keys | columns), folder / "metadata.parquet")
    return folder
