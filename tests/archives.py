"""Archives for the tests, in the Trentino layout, written with plain rasterio, not by the package's own writer."""

from collections.abc import Iterator
from datetime import date, timedelta
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio
import rioxarray  # noqa: F401  registers the .rio accessor
import xarray as xr
from rasterio.crs import CRS
from rasterio.transform import Affine, from_origin

INSAR_NAMES = {
    "coherence": "coh_IW1_VV_{pair}",
    "displacement": "displacement_VV",
    "elevation": "elevation_VV",
    "intensity": "Intensity_ifg_IW1_VV_{pair}_db",
    "incidence": "localIncidenceAngle",
    "phase": "Phase_ifg_IW1_VV_{pair}",
    "unwrapped_phase": "Unw_Phase_ifg_{pair}_VV",
}
WEATHER_NAMES = {"mean_temperature": "meanTemp", "pdd": "pdd", "precipitation": "precipitation"}
LINEAR_INTENSITY = "Intensity_ifg_IW1_VV_{pair}"
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Missing(NamedTuple):
    """How a raster says that a pixel has no value: what stands in the pixel, and the raster's nodata tag."""

    value: float
    nodata: float | None


COMMON_MISSING = (
    Missing(-9999.0, None),
    Missing(-9999.0, -9999.0),
    Missing(-32768.0, None),
    Missing(-9000.0, None),
    Missing(1e20, 1e20),
    Missing(777.75, 777.75),
    Missing(np.nan, np.nan),
    Missing(np.inf, None),
    Missing(-np.inf, None),
    Missing(float(np.finfo(np.float32).min), float(np.finfo(np.float32).min)),
)
INSAR_MISSING = (Missing(0.0, None), Missing(0.0, 0.0), *COMMON_MISSING)


def snap_date(day: date) -> str:
    return f"{day.day:02d}{MONTHS[day.month - 1]}{day.year}"


def raster_path(root: Path, name: str, start: date, end: date) -> Path:
    """Where the Trentino layout keeps a band or a target of one window."""
    if name in ("hs", "swe"):
        return root / "ITSNOW" / name.upper() / f"{start}_to_{end}_{name}.tif"
    if name in WEATHER_NAMES:
        return root / "S3" / f"{start}_{end}_{WEATHER_NAMES[name]}.tif"
    words = INSAR_NAMES.get(name, LINEAR_INTENSITY).format(pair=f"{snap_date(start)}_{snap_date(end)}")
    return root / "INSAR" / f"{start}_{end}_{words}.tif"


def write_raster(
    path: Path, values: np.ndarray, transform: Affine, crs: CRS, nodata: float | None = None, **options: object
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = values.shape
    form = {"driver": "GTiff", "height": height, "width": width, "count": 1, "dtype": values.dtype.name}
    with rasterio.open(path, "w", **form, transform=transform, crs=crs, nodata=nodata, **options) as raster:
        raster.write(values, 1)


def window_dates(windows: int, first: date = date(2021, 1, 9), days: int = 12) -> list[tuple[date, date]]:
    """Cycles of 12 days; from 8 windows on, three cycles are missing in between."""
    gaps = {round(windows * share) for share in (0.25, 0.5, 0.75)} if windows >= 8 else set()
    kept = [number for number in range(windows + len(gaps)) if number not in gaps]
    return [(first + timedelta(days * number), first + timedelta(days * (number + 1))) for number in kept]


def _smooth(random: np.random.Generator, shape: tuple[int, int], cells: int = 5) -> np.ndarray:
    """A smooth random field between about -1 and 1: a coarse grid, interpolated."""
    coarse = random.uniform(-1, 1, (cells, cells))
    rows, columns = (np.linspace(0, cells - 1, size) for size in shape)
    along = np.stack([np.interp(columns, range(cells), row) for row in coarse])
    return np.stack([np.interp(rows, range(cells), column) for column in along.T], axis=1)


def foreign_truth(windows: int, shape: tuple[int, int], seed: int, swe_unit: str) -> dict[str, np.ndarray]:
    """Plausible fields without a missing value; no value of an InSAR band is exactly 0."""
    random = np.random.default_rng(seed)
    dates = window_dates(windows)
    day = np.array([end.timetuple().tm_yday for _, end in dates])[:, None, None]
    elevation = np.rint(1500 + 1100 * _smooth(random, shape))[None].repeat(windows, 0)
    incidence = (38 + 12 * _smooth(random, shape))[None].repeat(windows, 0)
    winter = np.cos(2 * np.pi * (day - 60) / 365)
    mean_temperature = np.round(6 - 11 * winter - 0.0065 * (elevation - 800), 1)
    weather = np.stack([_smooth(random, shape) for _ in range(windows)])
    hs = np.maximum(0, (elevation - 1000) / 12 * (0.4 + winter) + 15 * weather)
    unwrapped = 4 * weather + 0.002 * elevation + 0.1
    phase = np.angle(np.exp(1j * unwrapped))
    truth = {
        "coherence": 0.5 + 0.4 * np.stack([_smooth(random, shape, 9) for _ in range(windows)]),
        "displacement": unwrapped * 0.05547 / (4 * np.pi),
        "elevation": elevation,
        "intensity": -12 + 4 * np.stack([_smooth(random, shape, 9) for _ in range(windows)]),
        "incidence": incidence,
        "phase": np.where(phase == 0, 0.01, phase),
        "unwrapped_phase": np.where(unwrapped == 0, 0.01, unwrapped),
        "mean_temperature": mean_temperature,
        "pdd": 12 * np.maximum(mean_temperature, 0) + 2.0,
        "hs": hs,
        "swe": hs * (0.2 + 0.1 * (0.5 + 0.5 * winter)) * (1 if swe_unit == "cm" else 10),
    }
    return {name: values.astype(np.float32) for name, values in truth.items()}


def write_foreign_archive(
    root: Path,
    windows: int = 20,
    shape: tuple[int, int] = (40, 57),
    seed: int = 0,
    swe_unit: str = "cm",
    corner: tuple[float, float] = (9.8, 46.4),
) -> dict[str, np.ndarray]:
    """Write an archive as another program might: sentinels of all kinds, files that do not belong, gaps in time.

    Args:
        root: The archive folder, holds `INSAR/` and so on afterwards.
        windows: Number of windows; from 8 on, three cycles are missing in between.
        shape: Rows and columns.
        seed: Of every random number.
        swe_unit: "cm" or "mm".
        corner: Longitude and latitude of the north-western corner.

    Returns:
        The truth that a reader should find: every band and target (window, y, x) float32 with NaN, `mask` (y, x) bool,
        `start` and `end` (window) datetime64[D], `transform` (6 numbers), `crs` (its WKT, 0-dimensional).
    """
    root = Path(root)
    random = np.random.default_rng(seed + 1)
    truth = foreign_truth(windows, shape, seed, swe_unit)
    dates = window_dates(windows)
    crs, transform = CRS.from_epsg(4326), from_origin(*corner, 0.005, 0.0051)
    rows, columns = np.indices(shape)
    mask = ((rows / shape[0] - 0.5) ** 2 + (columns / shape[1] - 0.5) ** 2) < 0.2
    for name, stack in truth.items():
        kinds = cycle(INSAR_MISSING if name in INSAR_NAMES else COMMON_MISSING)
        for number, (start, end) in enumerate(dates):
            stack[number][random.random(shape) < 0.05] = np.nan
            stack[number][~mask & (rows < 3)] = np.nan
            path = raster_path(root, name, start, end)
            _write_foreign(path, stack[number], next(kinds), transform, crs, number, name == "elevation")
    for start, end in dates:
        linear = np.full(shape, 1e6, np.float32)  # unmistakable where somebody reads it
        write_raster(raster_path(root, "linear", start, end), linear, transform, crs)
    write_raster(root / "master_mask.tif", mask.astype(np.uint8), transform, crs)
    write_clutter(root, dates[0], transform, crs)
    truth["mask"] = mask
    truth["start"], truth["end"] = np.array(dates, dtype="datetime64[D]").T
    truth["transform"] = np.array(transform[:6])
    truth["crs"] = np.array(crs.to_wkt())
    return truth


def _write_foreign(
    path: Path, values: np.ndarray, missing: Missing, transform: Affine, crs: CRS, number: int, whole: bool
) -> None:
    options: Iterator[dict] = cycle([{}, {"compress": "deflate"}, {"compress": "lzw", "predictor": 2}, {"tiled": True}])
    chosen = next(option for position, option in enumerate(options) if position == number % 4)
    if chosen.get("tiled"):
        chosen = chosen | {"blockxsize": 16, "blockysize": 16}
    if whole and number % 3 == 1:  # heights often come as whole numbers
        whole_values = np.where(np.isnan(values), -32768, values).astype(np.int16)
        write_raster(path, whole_values, transform, crs, nodata=-32768, **chosen)
    else:
        filled = np.where(np.isnan(values), np.float32(missing.value), values)
        write_raster(path, filled, transform, crs, nodata=missing.nodata, **chosen)


def write_clutter(root: Path, window: tuple[date, date], transform: Affine, crs: CRS) -> None:
    """Files that do not belong to the layout and must not be taken for one of its rasters."""
    start, end = window
    path = raster_path(root, "coherence", start, end)
    Path(f"{path}.aux.xml").write_text("<PAMDataset><Metadata/></PAMDataset>")
    (root / "README").write_text("not a raster")
    (root / "INSAR" / "Thumbs.db").write_bytes(b"\x00\x01")
    (root / "INSAR" / f"._{path.name}").write_bytes(b"resource fork")
    (root / "INSAR" / f"{path.name}.part").write_bytes(b"half a download")
    (root / "S3" / "notes.txt").write_text("nothing")
    (root / "thumbs").mkdir()
    stray = np.full((3, 5), 42, np.float32)
    for name in (f"INSAR/{start}_{end}_amplitude_VV.tif", "INSAR/orbit.tif", "thumbs/quicklook.tif", "dem.tif"):
        write_raster(root / name, stray, transform, crs)
    write_raster(root / "ITSNOW" / "HS" / "mean_hs.tif", stray, transform, crs)


class MexicoPair(NamedTuple):
    """One real pair: dates and the two rasters of it."""

    start: date
    end: date
    unwrapped: Path
    coherence: Path


MEXICO_BANDS = ("coherence", "displacement", "elevation", "incidence", "phase", "unwrapped_phase")
"""Those that the real pairs can fill; intensity and weather have to be left out with `bands=`."""


def mexico_pairs(shared_data: Path) -> list[MexicoPair]:
    folder = shared_data / "sentinel1_pairs_mexico"
    pairs = []
    for unwrapped in sorted(folder.glob("*_unw.tif")):
        start, end = (date.fromisoformat(day) for day in unwrapped.name.split("_")[1].split("-"))
        coherence = folder / unwrapped.name.replace("_eqa_unw", "_flat_eqa_cc")
        pairs.append(MexicoPair(start, end, unwrapped, coherence))
    return sorted(pairs)


def write_mexico_archive(shared_data: Path, root: Path) -> list[MexicoPair]:
    """Lay out the 30 real Sentinel-1 pairs under the archive's names; 0 stays the fill value, and the nodata tag.

    Phase and displacement follow from the unwrapped phase, incidence from the tag. Snow is a stand-in: a smooth
    function of height and season, so that a whole job can run; SWE is in cm.
    """
    pairs = mexico_pairs(shared_data)
    with rasterio.open(shared_data / "sentinel1_pairs_mexico" / "cropA_T005A_dem.tif") as raster:
        heights, transform, crs = raster.read(1), raster.transform, raster.crs
    inside = heights != 0
    smooth = (heights - heights[inside].mean()) / heights[inside].std()
    for pair in pairs:
        with rasterio.open(pair.unwrapped) as raster:
            unwrapped, tags = raster.read(1), raster.tags()
        with rasterio.open(pair.coherence) as raster:
            coherence = raster.read(1)
        fill = unwrapped == 0
        season = np.cos(2 * np.pi * pair.end.timetuple().tm_yday / 365)
        hs = np.where(inside, 60 + 20 * smooth + 30 * season, np.nan)
        layers = {
            "coherence": coherence,
            "displacement": np.where(fill, 0, unwrapped * float(tags["WAVELENGTH_METRES"]) / (4 * np.pi)),
            "incidence": np.where(fill, 0, float(tags["INCIDENCE_DEGREES"])),
            "phase": np.where(fill, 0, np.angle(np.exp(1j * unwrapped.astype(float)))),
            "unwrapped_phase": unwrapped,
        }
        for name, values in layers.items():
            path = raster_path(root, name, pair.start, pair.end)
            write_raster(path, values.astype(np.float32), transform, crs, nodata=0)
        write_raster(raster_path(root, "elevation", pair.start, pair.end), heights, transform, crs, nodata=0)
        for name, values in {"hs": hs, "swe": 0.3 * hs}.items():
            path = raster_path(root, name, pair.start, pair.end)
            write_raster(path, values.astype(np.float32), transform, crs, nodata=np.nan)
    write_raster(root / "master_mask.tif", inside.astype(np.uint8), transform, crs)
    return pairs


def write_stack(path: Path, images: int = 20, shape: tuple[int, int] = (24, 32)) -> Path:
    """A NetCDF file of backscatter images ``vv`` and ``vh`` and of SWE in mm, on which they depend."""
    random = np.random.default_rng(0)
    end = np.array([end for _, end in window_dates(images)], "datetime64[ns]")
    season = 1 + np.cos(np.arange(images) / 30 * 2 * np.pi)[:, None, None]
    swe = 100 * season * (1 + _smooth(random, shape)) + random.random((images, *shape))
    vv = -8 - swe / 100 + random.normal(0, 0.5, swe.shape)
    maps = {"vv": vv, "vh": vv - 6, "swe": swe}
    file = xr.Dataset(
        {name: (("time", "y", "x"), values.astype(np.float32)) for name, values in maps.items()},
        {"time": end, "y": 46.4 - 0.005 * (np.arange(shape[0]) + 0.5), "x": 9.8 + 0.005 * (np.arange(shape[1]) + 0.5)},
    )
    file.rio.write_crs("EPSG:4326").rio.write_transform().to_netcdf(path, engine="h5netcdf")
    return path
