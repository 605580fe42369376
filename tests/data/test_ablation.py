"""What the net sees when bands are taken away or shuffled, and that its checkpoint remembers it."""

from dataclasses import fields

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from snowmap.baselines import baseline_maps
from snowmap.checkpoints.provenance import windows_of
from snowmap.config.schema import TrainConfig
from snowmap.data.ablation import WORDS, ablate, plan_ablation, shuffled_order
from snowmap.data.cube import check, window_names
from snowmap.data.features import with_derived
from snowmap.data.splits import make_split
from snowmap.data.splits.dates import rolling
from snowmap.errors import SnowmapError
from snowmap.sources.trentino.quantities import STANDARD_BANDS
from snowmap.tasks.pixel import SnowRegression
from tests.cubes import make_cube
from tests.tasks.test_pixel import fit, parts, same_weights

WEATHER = {"mean_temperature", "pdd"}
SAR = [band for band in STANDARD_BANDS if band not in {"elevation", *WEATHER}]


def altered_for(name: str, cube: xr.Dataset, seed: int = 0) -> xr.Dataset:
    start, end = cube["start"].values, cube["end"].values
    split = rolling(start, end)
    return ablate(cube, plan_ablation(name, [cube], [split], seed))


def test_the_schema_knows_every_word():
    (ablation,) = (entry for entry in fields(TrainConfig) if entry.name == "ablation")
    holds = ablation.metadata["expected"].holds
    assert all(holds(word) for word in (*WORDS, "without_phase", "without_sigma0_x"))
    assert not any(holds(word) for word in ("no_phase", "without_", "without phase"))


@pytest.mark.parametrize(
    ("name", "removed"),
    [
        ("all", set()),
        ("no_sar", set(SAR)),
        ("weather_only", set(STANDARD_BANDS) - WEATHER),
        *((f"without_{band}", {band}) for band in STANDARD_BANDS),
    ],
)
def test_a_band_that_is_taken_away_is_held_at_its_training_mean_and_the_others_stay(name, removed):
    cube = make_cube()
    whole = cube.copy(deep=True)
    seen = altered_for(name, cube)
    check(seen)
    xr.testing.assert_identical(cube, whole)
    train = rolling(cube["start"].values, cube["end"].values).train
    for band in STANDARD_BANDS:
        before, after = (maps["features"].sel(band=band).values for maps in (cube, seen))
        if band in removed:
            known = before[train][:, cube["mask"].values].astype(np.float64)
            expected = 0 if "phase" in band else np.float32(np.nanmean(known))
            np.testing.assert_allclose(after, np.full_like(after, expected), rtol=1e-6)
        else:
            np.testing.assert_array_equal(before, after)


def test_the_mean_is_that_of_the_training_area():
    cube = make_cube()
    split = make_split("spatial", cube["start"].values, cube["end"].values, shape=(12, 17), buffer=2)
    known = cube["features"].sel(band="coherence").values[split.train]
    known = known[:, cube["mask"].values & split.train_area].astype(np.float64)
    planned = plan_ablation("without_coherence", [cube], [split], 0)["values"]["coherence"]
    assert planned == pytest.approx(np.nanmean(known))


def test_of_several_cubes_the_mean_is_pooled_and_each_is_shuffled_within_its_own_split():
    cubes = [make_cube(), make_cube(26, (9, 11), seed=1).isel(window=slice(4, None))]
    splits = [rolling(cube["start"].values, cube["end"].values) for cube in cubes]
    known = np.concatenate(
        [
            cube["features"].sel(band="coherence").values[split.train][:, cube["mask"].values].ravel()
            for cube, split in zip(cubes, splits, strict=True)
        ]
    )
    planned = plan_ablation("without_coherence", cubes, splits, 0)["values"]["coherence"]
    assert planned == pytest.approx(np.nanmean(known.astype(np.float64)))
    plan = plan_ablation("shuffled_sar", cubes, splits, 3)
    for cube, split in zip(cubes, splits, strict=True):
        names = split.named(cube["start"].values, cube["end"].values)
        order = shuffled_order(window_names(cube), names, seed=3)
        before, after = (maps["features"].sel(band="phase").values for maps in (cube, ablate(cube, plan)))
        np.testing.assert_array_equal(after, before[order])


def test_derived_inputs_come_from_what_is_left():
    seen = with_derived(
        altered_for("no_sar", make_cube()), ["cumulative_phase_swe", "coherent_phase_swe", "cumulative_pdd"]
    )
    for name in ("cumulative_phase_swe", "coherent_phase_swe"):
        np.testing.assert_array_equal(seen["features"].sel(band=name).values, 0)
    flat = with_derived(altered_for("weather_only", make_cube()), ["slope", "aspect"])
    np.testing.assert_array_equal(flat["features"].sel(band=["aspect_east", "aspect_north"]).values, 0)
    np.testing.assert_allclose(flat["features"].sel(band="slope").values, 0, atol=1e-9)  # degrees: rounding of a plain


def test_sar_bands_are_shuffled_together_and_the_rest_stays():
    cube = make_cube()
    seen = altered_for("shuffled_sar", cube, seed=3)
    start, end = cube["start"].values, cube["end"].values
    order = shuffled_order(window_names(cube), rolling(start, end).named(start, end), seed=3)
    for band in STANDARD_BANDS:
        before, after = (maps["features"].sel(band=band).values for maps in (cube, seen))
        np.testing.assert_array_equal(after, before[order] if band in SAR else before)
    xr.testing.assert_identical(cube["swe"], seen["swe"])


@given(sides=st.lists(st.integers(0, 3), min_size=1, max_size=40), seed=st.integers(0, 99))
def test_windows_are_shuffled_within_their_part_and_none_keeps_its_own(sides, seed):
    names = [str(number) for number in range(len(sides))]
    split = {str(part): [n for n, side in zip(names, sides, strict=True) if side == part] for part in range(3)}
    order = shuffled_order(names, split, seed)
    assert sorted(order) == list(range(len(sides)))
    assert [sides[other] for other in order] == sides
    for window, other in enumerate(order):
        assert window != other or sides.count(sides[window]) == 1
    assert order == shuffled_order(names, split, seed)


def test_other_seeds_shuffle_otherwise():
    names = [str(number) for number in range(30)]
    assert len({tuple(shuffled_order(names, {}, seed)) for seed in range(5)}) == 5


def test_an_ablation_that_would_change_nothing_is_refused():
    cube = make_cube(bands=["elevation", "mean_temperature", "pdd"])
    for name in ("no_sar", "shuffled_sar", "without_phase"):
        with pytest.raises(SnowmapError, match=f"ablation={name} would change nothing: data.bands has none of"):
            altered_for(name, cube)


@pytest.mark.parametrize("model", ["unet", "massbalance"])
def test_a_net_without_sar_is_blind_to_it_and_its_checkpoint_stays_so(tmp_path, model):
    cube, words = make_cube(), (f"model={model}", "model.channels=[8,16]", "data.augment=none", "trainer.max_epochs=1")
    task = fit(cube, tmp_path, *words, "ablation=no_sar")
    planted = cube.copy(deep=True)
    planted["features"].loc[{"band": list(SAR)}] = 0.5
    loaded = SnowRegression.load_from_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    xr.testing.assert_identical(loaded.predict(cube), loaded.predict(planted))
    xr.testing.assert_identical(loaded.predict(cube), task.predict(cube))
    planted["features"].loc[{"band": "mean_temperature"}] = 0.5
    assert not loaded.predict(cube).equals(loaded.predict(planted))


def test_values_of_a_left_out_band_change_no_weight(tmp_path):
    cube = make_cube()
    clean = fit(cube, tmp_path / "a", "ablation=no_sar", "trainer.max_epochs=2")
    planted = cube.copy(deep=True)
    planted["features"].loc[{"band": list(SAR)}] = np.linspace(0, 1, cube.sizes["x"], dtype=np.float32)
    assert same_weights(clean, fit(planted, tmp_path / "b", "ablation=no_sar", "trainer.max_epochs=2"))
    assert not same_weights(clean, fit(cube, tmp_path / "c", "ablation=all", "trainer.max_epochs=2"))


def test_a_shuffled_net_sees_the_shuffle_when_it_predicts(tmp_path):
    cube = make_cube()
    task = fit(cube, tmp_path, "ablation=shuffled_sar", "trainer.max_epochs=1", "seed=2")
    order = shuffled_order(window_names(cube), task.metadata["archives"][0]["split"], seed=2)
    shuffled = cube.copy(deep=True)
    shuffled["features"].loc[{"band": list(SAR)}] = cube["features"].sel(band=list(SAR)).values[order]
    maps = task.predict(cube)
    task.preprocessor.ablation = None
    xr.testing.assert_identical(maps, task.predict(shuffled))
    assert not maps.equals(task.predict(cube))


def test_a_run_does_not_go_on_with_other_bands(tmp_path):
    cube = make_cube()
    fit(cube, tmp_path, "trainer.max_epochs=1")
    with pytest.raises(SnowmapError, match="ablation changed"):
        fit(cube, tmp_path, "trainer.max_epochs=2", "ablation=no_sar", ckpt=tmp_path / "checkpoints" / "last.ckpt")


def test_it_is_said_what_the_net_does_not_see_and_the_baselines_see_it_all(caplog):
    cube = make_cube()
    _, task, _ = parts(cube, "ablation=without_phase")
    assert "ablation=without_phase: the net does not see phase as they are" in caplog.text
    train, windows = (windows_of(task.metadata, subset, cube) for subset in ("train", "validation"))
    known = baseline_maps(make_cube(), train, windows, ["swe"])
    for name, maps in baseline_maps(cube, train, windows, ["swe"]).items():
        np.testing.assert_array_equal(maps["swe"], known[name]["swe"])
