"""Synthetic NA-SAR: the layout of the dataset card, and the physics of the radar, as other code reads them."""

import io
import json
import tarfile

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely

from snowmap.cli import main
from snowmap.sources.synthetic.na_sar import synthesize_na_sar
from tests.shards import CHANNELS, SIZE, write_shards

PATCHES, CORRUPT = 24, 3


def members(root):
    """Member -> its bytes, of all shards in order."""
    found = {}
    for path in sorted(root.glob("data/nasar-train-*.tar")):
        with tarfile.open(path) as tar:
            found |= {f"{path.relative_to(root)}/{member.name}": tar.extractfile(member).read() for member in tar}
    return found


def arrays_of(content):
    with np.load(io.BytesIO(content)) as archive:
        return {name: archive[name] for name in archive.files}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    out = tmp_path_factory.mktemp("na_sar") / "root"
    assert main(["synthesize", str(out), "--kind", "na_sar", "--patches", str(PATCHES), "--shards", "3"]) == 0
    return out


@pytest.fixture(scope="module")
def table(root):
    return pq.read_table(root / "metadata.parquet").to_pylist()


@pytest.fixture(scope="module")
def patches(root):
    return [arrays_of(content) for content in members(root).values()]


def test_layout_is_that_of_the_card(root, table, patches, tmp_path):
    assert len(patches) == PATCHES
    for patch in patches:
        assert {name: values.shape for name, values in patch.items()} == {
            name: (channels, SIZE, SIZE) for name, channels in CHANNELS.items()
        }
        assert all(values.dtype == np.float32 and np.isfinite(values).all() for values in patch.values())
    places = [f"{row['shard_path']}/{row['sample_key']}.npz" for row in table]
    assert places == list(members(root))
    assert [(row["shard_index"], row["sample_index_in_shard"]) for row in table] == [
        divmod(number, PATCHES // 3) for number in range(PATCHES)
    ]
    assert set(table[0]) == set(write_shards(tmp_path / "other", 1, 1).column_names)
    assert all(0.53 < row["quality_score"] <= 1 for row in table)
    summary = json.loads((root / "webdataset_summary.json").read_text())
    assert (summary["num_samples"], summary["num_shards"]) == (PATCHES, 3)
    for origin in (summary["origin"], table[0]["source"]):
        assert origin.startswith("synthetic: snowmap")


def test_patches_are_spread_over_the_continent(table):
    boxes = np.array([shapely.from_wkb(row["geometry"]).bounds for row in table])
    assert np.ptp(boxes[:, 0]) > 30
    assert np.ptp(boxes[:, 1]) > 15
    height, latitude = boxes[:, 3] - boxes[:, 1], boxes[:, 1]
    np.testing.assert_allclose(height * 111_195, SIZE * 30, rtol=1e-3)
    np.testing.assert_allclose((boxes[:, 2] - boxes[:, 0]) * np.cos(np.radians(latitude)), height, rtol=0.01)
    assert len({(row["prime_date"], row["secondary_date"]) for row in table}) > 3
    for row in table:
        assert np.datetime64(row["secondary_date"]) - np.datetime64(row["prime_date"]) == 12


def test_values_agree_with_one_another(table, patches):
    for row, patch in zip(table, patches, strict=True):
        for name, values in patch.items():
            if "rtc" in name:
                assert (values[1].any(), values[0].any()) == (row["has_cross_pol"], row["has_co_pol"])
                assert values.min() >= 0
            elif "ifg" in name:
                length = np.hypot(*values)
                assert np.all(np.isclose(length, 1, atol=1e-3) | (length == 0))
            elif "coh" in name:
                assert 0 <= values.min() <= values.max() <= 1
        slope = np.degrees(np.arctan(np.hypot(*np.gradient(patch["dem"][0].astype(float), 30))))
        inside = np.s_[2:-2, 2:-2]
        np.testing.assert_allclose(slope[inside], patch["slope_deg"][0][inside], atol=0.4)  # of rounded heights


def test_tracks_look_from_opposite_sides(patches):
    """What one track sees steeply, the other sees at a grazing angle."""
    steep = max(patches, key=lambda patch: patch["slope_deg"].mean())
    angles = [steep[f"inc_angle_view_{view}"].ravel() for view in (0, 1)]
    assert np.corrcoef(angles)[0, 1] < -0.5


def test_backscatter_spans_the_range_of_the_card(patches):
    """1 and 99 % of log1p(20 x) are 0.15 and 2.39 of co-pol, 0.01 and 1.09 of cross-pol in the data set."""
    for channel, (low, high) in enumerate([(0.15, 2.39), (0.01, 1.09)]):
        values = np.log1p(
            20
            * np.stack(
                [patch["prime_rtc_view_0"][channel] for patch in patches if patch["prime_rtc_view_0"][channel].any()]
            )
        )
        found = np.quantile(values, [0.01, 0.99])
        np.testing.assert_allclose(found, [low, high], atol=0.35)


def test_snow_that_becomes_wet_is_dark_and_incoherent(patches):
    """Coherence of 16 looks of noise is √(π/64) = 0.22 (Touzi & Lopes 1996); wet snow lies 3 dB or more below dry."""
    prime, secondary = (
        np.stack([blocks(patch[f"{date}_rtc_view_0"][0]) for patch in patches]) for date in ("prime", "secondary")
    )
    coherence = np.stack([blocks(patch["coh_view_0"][0]) for patch in patches])
    wet = secondary < 0.5 * prime
    assert 0.05 < wet.mean() < 0.5
    assert abs(np.median(coherence[wet]) - np.sqrt(np.pi / 64)) < 0.02
    assert np.median(coherence[~wet]) > 0.35


def blocks(values):
    """Means of 16 × 16 px."""
    return values.reshape(8, 16, 8, 16).mean((1, 3))


def test_patch_follows_from_seed_and_number_alone(root, tmp_path):
    for name, seed in (("same", 0), ("other", 1)):
        synthesize_na_sar(tmp_path / name, seed=seed, patches=2, shards=1)
    first, same, other = (
        list(members(folder).values())[:2] for folder in (root, tmp_path / "same", tmp_path / "other")
    )
    assert same == first
    assert other[0] != first[0]


def test_corrupt_members_are_named_and_no_others_are_faulty(tmp_path, capsys):
    words = ["--patches", "6", "--shards", "2", "--corrupt", str(CORRUPT)]
    assert main(["synthesize", str(tmp_path / "root"), "--kind", "na_sar", *words]) == 0
    printed = capsys.readouterr().out
    assert "SYNTHETIC" in printed
    faulty = []
    for name, content in members(tmp_path / "root").items():
        try:
            patch = arrays_of(content)
        except Exception:
            faulty.append(name)
            continue
        if set(patch) != set(CHANNELS) or not all(np.isfinite(values).all() for values in patch.values()):
            faulty.append(name)
    assert len(faulty) == CORRUPT
    for name in faulty:
        assert name.rsplit("/", 1)[1].removesuffix(".npz") in printed


@pytest.mark.parametrize(
    "words",
    [("--patches", "0"), ("--shards", "9", "--patches", "8"), ("--corrupt", "9", "--patches", "8"), ("--seed", "-1")],
)
def test_impossible_options_are_refused(words, tmp_path, capsys):
    assert main(["synthesize", str(tmp_path / "new"), "--kind", "na_sar", *words]) == 1
    assert " ".join(words[:2]) in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_folder_of_others_is_left_alone(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["synthesize", str(tmp_path), "--kind", "na_sar"]) == 1
    assert "not an empty folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
