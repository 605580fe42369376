import re

import numpy as np
import pytest

from snowmap.data.plausibility import unlike_training
from snowmap.data.preprocessing import Preprocessor
from snowmap.data.splits.dates import rolling
from snowmap.runs.printing import warn_of_values
from snowmap.sources.synthetic import synthesize

BANDS = ["elevation", "unwrapped_phase", "mean_temperature"]


@pytest.fixture(scope="module")
def scene():
    return synthesize(seed=0, windows=64, shape=(46, 105))


@pytest.mark.parametrize("sign", [1, -1])
def test_a_phase_of_the_opposite_sign_shows_by_the_elevation_in_frost(scene, sign):
    trained = Preprocessor(BANDS, phase={"sign": sign})
    assert unlike_training(scene, range(64), Preprocessor(BANDS, phase={"sign": 1})) == []
    turned = scene.copy(deep=True)
    turned["features"].loc[{"band": "unwrapped_phase"}] *= -sign
    (doubt,) = unlike_training(turned, range(64), trained)
    assert f"phase {'falls' if sign == 1 else 'rises'} with elevation" in doubt
    # few windows tell nothing, and neither does an archive without phase
    assert unlike_training(turned, range(20, 24), trained) == []
    assert unlike_training(turned, range(64), Preprocessor(BANDS[::2], phase={"sign": sign})) == []


def test_archives_of_two_signs_are_a_warning_before_they_are_trained_on(scene, caplog):
    turned = scene.copy(deep=True)
    turned["features"].loc[{"band": "unwrapped_phase"}] *= -1
    scenes = [scene.assign_attrs(archive="a/one"), turned.assign_attrs(archive="a/two")]
    splits = [rolling(cube["start"].values, cube["end"].values) for cube in scenes]
    warn_of_values(splits, scenes, ["swe"], None)
    assert "training windows of two: the unwrapped phase falls with snow, against the opposite in" in caplog.text
    caplog.clear()
    warn_of_values(splits[:1], scenes[:1], ["swe"], -1)
    assert "training windows: the unwrapped phase grows with snow, against data.phase_sign=-1" in caplog.text
    caplog.clear()
    warn_of_values(splits[:1], scenes[:1], ["swe"], 1)
    assert not caplog.text


def test_what_lies_outside_the_training_range_is_named_with_both_ranges(scene):
    """Ground that is higher than the training's by less than its mean could tell, and weather that it knew."""
    trained = Preprocessor(BANDS, phase={"sign": 1})
    tensors = trained.tensors(scene)
    trained.normalizer.fit([(tensors, range(0, 64, 2))])
    assert unlike_training(scene, range(64), trained) == []
    higher = scene.copy(deep=True)
    higher["features"].loc[{"band": "elevation"}] += 600
    (doubt,) = unlike_training(higher, range(64), trained)
    height = scene["features"].sel(band="elevation").values[:, scene["mask"].values]
    beyond = (height + 600 > height.max()).mean()
    assert f"'elevation' is {height.min() + 600:.4g} … {height.max() + 600:.4g} m" in doubt
    assert f"the training windows of the checkpoint, {height.min():.4g} … {height.max():.4g} m" in doubt
    assert float(re.search(r"(\d+)% of it outside", doubt)[1]) == pytest.approx(100 * beyond, abs=2)


def test_an_atmosphere_without_snow_is_no_doubt(scene):
    calm = scene.copy(deep=True)
    height = scene["features"].sel(band="elevation").values
    random = np.random.default_rng(0).normal(0, 2e-3, (64, 1, 1))
    calm["features"].loc[{"band": "unwrapped_phase"}] = (random * height).astype(np.float32)
    for sign in (1, -1):
        assert unlike_training(calm, range(64), Preprocessor(BANDS, phase={"sign": sign})) == []
