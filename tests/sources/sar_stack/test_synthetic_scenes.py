"""Synthetic glaciers and cracks: read as any scene is, physically ordered, and no map of altitude."""

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from rasterio.features import geometry_mask

from snowmap.cli import main
from snowmap.errors import SnowmapError
from snowmap.sources import open_cubes
from snowmap.sources.synthetic.backscatter import Sight, season
from snowmap.sources.synthetic.ice import fractal_ground
from snowmap.sources.synthetic.scenes import synthesize_cracks, synthesize_glaciers
from tests.sources.sar_stack.test_reading import settings, values_of


@pytest.fixture(scope="module")
def ground():
    return fractal_ground((128, 160), 0, np.random.default_rng(1))


@pytest.fixture(scope="module")
def glaciers(tmp_path_factory):
    out = tmp_path_factory.mktemp("glaciers") / "root"
    options = ["--scenes", "2", "--dates", "6", "--shape", "96", "128", "--seed", "4"]
    assert main(["synthesize", str(out), "--kind", "glaciers", *options]) == 0
    return out


def test_scenes_are_read_as_any_others_are(glaciers, capsys):
    cubes = open_cubes(settings(glaciers), ["glacier"])
    assert len(cubes) == 2
    for cube in cubes:
        assert cube.attrs["origin"].startswith("synthetic: snowmap")
        assert cube["band"].values.tolist() == ["HH", "HV", "elevation"]
        assert cube.sizes["window"] == 6
        assert 0.1 < cube["glacier"].values[0].mean() < 0.8
        assert cube["outline"].values.max() >= 1
    assert main(["check", str(glaciers)]) == 0
    printed = capsys.readouterr().out
    assert "SYNTHETIC" in printed
    assert "scene_02" in printed


def test_everything_follows_from_the_seed(glaciers, tmp_path):
    options = {"scenes": 1, "dates": 1, "shape": (64, 64)}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        synthesize_glaciers(tmp_path / name, seed=seed, **options)
    same, again, other = (values_of(open_cubes(settings(tmp_path / name))[0], "HH") for name in "abc")
    np.testing.assert_array_equal(same, again)
    assert not np.allclose(same, other, equal_nan=True)


def test_altitude_does_not_solve_it_and_the_radar_knows_more(ground):
    """Tongues reach below bare rock: no threshold of elevation comes near the outlines."""
    heights = ground.terrain.elevation
    overlaps = [
        (ground.ice & (heights > least)).sum() / (ground.ice | (heights > least)).sum()
        for least in np.quantile(heights, np.linspace(0, 0.98, 50))
    ]
    assert max(overlaps) < 0.65
    assert (heights[ground.ice] < np.median(heights[~ground.ice])).mean() > 0.05
    assert (~ground.ice & (ground.height > 0)).sum() > 0.02 * ground.ice.size


def test_surfaces_are_in_the_order_of_the_literature(ground):
    """Firn outshines ice in winter, wet snow darkens firn in summer, and debris looks like the rock beside it."""
    year = season(np.random.default_rng(2))
    sight = Sight(ground, np.random.default_rng(3), looks=1e6)
    winter, _ = sight.powers(40, year, np.random.default_rng(4))
    firn, ice = ground.ice & (ground.height > 50), ground.ice & (ground.height < 0) & ~ground.debris
    rock = ~(ground.ice | ground.vegetation | ground.lake) & (np.abs(ground.height) < 300)

    def mean(power, where):
        return 10 * np.log10(np.nanmean(power[where]))

    assert mean(winter, firn) > mean(winter, rock) > mean(winter, ice)
    debris = ground.debris & (np.abs(ground.height) < 300)
    assert mean(winter, debris) == pytest.approx(mean(winter, rock), abs=1.5)
    warmest = int(year.temperature[150:240, 300].argmax()) + 150
    summer, _ = sight.powers(warmest, year, np.random.default_rng(4))
    assert mean(summer, firn) < mean(winter, firn) - 4
    assert np.isnan(winter[~sight.visible]).all()
    assert np.isfinite(winter[sight.visible]).all()


def test_speckle_is_a_gamma_law_of_the_given_looks(ground):
    year = season(np.random.default_rng(2))
    smooth, speckled = (
        Sight(ground, np.random.default_rng(3), looks).powers(40, year, np.random.default_rng(5))[0]
        for looks in (1e9, 4.4)
    )
    ratio = (speckled / smooth)[np.isfinite(smooth)]
    assert ratio.mean() == pytest.approx(1, abs=0.02)
    assert 1 / ratio.var() == pytest.approx(4.4, rel=0.05)


def test_a_real_dem_with_real_outlines(shared_data, tmp_path):
    dem, outlines = (shared_data / "oetztal" / name for name in ("srtm_oetztal.tif", "rgi_oetztal.shp"))
    pixels = synthesize_glaciers(tmp_path / "a", dem=dem, outlines=outlines, scenes=2, dates=2)
    cubes = open_cubes(settings(tmp_path / "a"), ["glacier"])
    with rasterio.open(dem) as raster:
        inventory = gpd.read_file(outlines).make_valid()
        expected = geometry_mask(inventory, raster.shape, raster.transform, invert=True)
        elevation = raster.read(1)
    np.testing.assert_array_equal(np.hstack([cube["glacier"].values[0] == 1 for cube in cubes]), expected)
    np.testing.assert_array_equal(np.hstack([values_of(cube, "elevation")[0] for cube in cubes]), elevation)
    assert pixels == expected.sum()


def test_cracks_are_thin_rare_and_bright_or_dark(tmp_path):
    pixels = synthesize_cracks(tmp_path / "a", scenes=2, seed=3, looks=50)
    cubes = open_cubes(settings(tmp_path / "a"), ["crack"])
    assert pixels == sum(int(cube["crack"].values[0].sum()) for cube in cubes)
    for cube in cubes:
        crack = cube["crack"].values[0] == 1
        assert 0.01 < crack.mean() < 0.03
        assert not (crack[:-6] & crack[3:-3] & crack[6:]).mean() > 0.01  # few are wider than a few pixels
        beside = values_of(cube, "HH")[0]
        local = np.median(np.stack([np.roll(beside, shift, axis) for shift in (-9, 9) for axis in (0, 1)]), 0)
        contrast = (beside - local)[crack]
        assert np.quantile(contrast, 0.9) > 2
        assert np.quantile(contrast, 0.1) < -1
    assert cubes[0].rio.crs.to_epsg() == 3031


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--dates", "31"], "1 to 30 dates"),
        (["--outlines", "a.gpkg"], "--outlines needs the elevation"),
        (["--looks", "0"], "looks from 0.5"),
    ],
)
def test_options_that_cannot_be(tmp_path, capsys, options, said):
    assert main(["synthesize", str(tmp_path / "a"), "--kind", "glaciers", *options]) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_nothing_is_overwritten(glaciers):
    with pytest.raises(SnowmapError, match="is not an empty folder; name a new one"):
        synthesize_cracks(glaciers)
