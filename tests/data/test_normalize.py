import numpy as np
import pytest
import torch

from snowmap.data.batch import CubeTensors
from snowmap.data.cube import quantities_of
from snowmap.data.normalize import Normalizer
from snowmap.errors import SnowmapError
from snowmap.sources.trentino.quantities import STANDARD_BANDS
from tests.cubes import make_cube

TRAIN = [0, 1, 2, 4, 6]


def fitted(cube):
    wrapped = [name for name, quantity in quantities_of(cube).items() if quantity.wrapped]
    normalizer = Normalizer(cube["band"].values.tolist(), wrapped)
    normalizer.fit([(CubeTensors.of(cube, normalizer.bands, []), TRAIN)])
    return normalizer


def test_statistics_are_those_of_valid_training_pixels_inside_the_study_area():
    cube = make_cube()
    normalizer = fitted(cube)
    inside = cube["mask"].values
    for index, name in enumerate(STANDARD_BANDS):
        values = cube["features"].sel(band=name).values[TRAIN][:, inside].astype(np.float64)
        mean, std = (0, 1) if name == "phase" else (np.nanmean(values), np.nanstd(values))
        assert normalizer.band_mean[index].item() == pytest.approx(mean, rel=1e-5, abs=1e-6)
        assert normalizer.band_std[index].item() == pytest.approx(std, rel=1e-5)


def test_values_of_other_windows_and_outside_the_mask_change_nothing():
    cube = make_cube()
    before = fitted(cube).state_dict()
    others = [i for i in range(cube.sizes["window"]) if i not in TRAIN]
    for name in ("features", "swe"):
        cube[name].values[others] = 1e6
        cube[name].values[..., ~cube["mask"].values] = -1e6
    after = fitted(cube).state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_encoding_scales_keeps_wrapped_phase_continuous_and_marks_what_is_missing():
    cube = make_cube()
    normalizer = fitted(cube)
    x = torch.from_numpy(cube["features"].values[:2, None])
    valid = x.isfinite()
    encoded = normalizer.encode(x, valid)
    assert encoded.shape == (2, 1, normalizer.channels, *x.shape[-2:])
    assert torch.isfinite(encoded).all()
    bands, validity = encoded[:, :, :10], encoded[:, :, 10:]
    assert torch.equal(validity.bool(), valid)
    phase = list(STANDARD_BANDS).index("phase")
    cos, sin = bands[:, :, phase], bands[:, :, 9]
    shown = valid[:, :, phase]
    torch.testing.assert_close(torch.atan2(sin, cos)[shown], x[:, :, phase][shown])
    assert (cos[~shown] == 0).all()
    assert (sin[~shown] == 0).all()
    torch.testing.assert_close(normalizer.decode(bands)[valid], x[valid], rtol=1e-4, atol=1e-4)
    elevation = list(STANDARD_BANDS).index("elevation")
    known = (x[:, :, elevation] - normalizer.band_mean[elevation]) / normalizer.band_std[elevation]
    torch.testing.assert_close(bands[:, :, elevation][valid[:, :, elevation]], known[valid[:, :, elevation]])


def test_every_wrapped_phase_goes_in_as_cosine_and_sine_whatever_its_name():
    normalizer = Normalizer(["phase_x", "elevation", "phase_ku"], ["phase_ku", "phase_x"])
    normalizer.band_mean[:], normalizer.band_std[:] = torch.tensor([0.0, 100, 0]), torch.tensor([1.0, 50, 1])
    x, valid = torch.tensor([0.5, 150, -2.0])[:, None, None], torch.tensor([True, True, False])[:, None, None]
    assert normalizer.channels == len(normalizer.channel_names) == 8
    encoded = dict(zip(normalizer.channel_names, normalizer.encode(x, valid).flatten().tolist(), strict=True))
    expected = {"phase_x (cos)": np.cos(0.5), "phase_x (sin)": np.sin(0.5), "elevation": 1, "phase_ku (cos)": 0}
    expected |= {"phase_ku (sin)": 0, "phase_x (known)": 1, "elevation (known)": 1, "phase_ku (known)": 0}
    assert encoded == pytest.approx(expected)


def test_without_statistics_nothing_comes_out():
    normalizer = Normalizer(["elevation"])
    assert (
        normalizer.encode(torch.ones(1, 1, 1, 2, 2), torch.ones(1, 1, 1, 2, 2, dtype=torch.bool))[:, :, 0].isnan().all()
    )


def test_a_band_without_values_is_refused():
    cube = make_cube()
    cube["features"].loc[{"band": "coherence"}] = np.nan
    with pytest.raises(SnowmapError, match="band 'coherence' has no valid pixel"):
        fitted(cube)


def test_a_constant_band_is_said_and_does_no_harm(caplog):
    cube = make_cube()
    cube["features"].loc[{"band": "incidence"}] = 39.7
    normalizer = fitted(cube)
    assert "constant in the training windows, so they tell the net nothing: incidence" in caplog.text
    x = torch.from_numpy(cube["features"].values[:1, None])
    assert torch.isfinite(normalizer.encode(x, x.isfinite())).all()


def test_ranges_in_place_of_statistics_clip_at_their_ends():
    normalizer = Normalizer(["elevation", "phase"], ["phase"])
    with pytest.raises(SnowmapError, match="the band elevation has no range, only slope have"):
        normalizer.set_ranges({"slope": (0.0, 45.0)})
    normalizer.set_ranges({"elevation": (-100.0, 4000.0)})
    x = torch.tensor([[-200.0, -100.0, 1950.0, 5000.0], [0.0, 1.0, 2.0, 3.0]])[:, None]
    encoded = normalizer.encode(x, torch.ones_like(x, dtype=torch.bool))
    assert encoded[0, 0].tolist() == [0, 0, 0.5, 1]
    assert torch.equal(encoded[1], x[1].cos())
