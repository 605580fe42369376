"""NISAR and ARIA products over a known truth, written with h5py and netCDF4 in the layouts of their producers."""

from pathlib import Path
from typing import Any, NamedTuple

import h5py
import netCDF4
import numpy as np
import rasterio
from rasterio.transform import Affine, from_origin

FILL = -32768.0


class Truth(NamedTuple):
    """What a pair shows on a grid ``(y, x)``, north up.

    Attributes:
        phase: rad, grows as the path does from the first to the second day.
        ionosphere: rad, the same sign, what of it the screen knows.
        coherence: NaN = outside of the swath, as everywhere else.
        component: 0, 1, ….
    """

    phase: np.ndarray
    ionosphere: np.ndarray
    coherence: np.ndarray
    component: np.ndarray


def make_truth(shape: tuple[int, int] = (24, 30), seed: int = 0) -> Truth:
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    coherence = random.uniform(0.2, 0.9, shape)
    coherence[:3, :4] = np.nan
    ionosphere = 0.1 * columns + 0.05 * rows + 1  # a plane: exact where it is interpolated
    return Truth(random.normal(0, 4, shape), ionosphere, coherence, np.where(columns < shape[1] // 2, 1, 2))


def look_at(height: Any, y: Any, x: Any) -> tuple[Any, Any]:
    """Components to the east and the north of the look vector, linear in height and place."""
    return -0.6 + 2e-5 * height + 1e-3 * x, -0.1 + 1e-5 * height - 2e-3 * y


def write_dem(path: Path, crs: str, transform: Affine, heights: np.ndarray) -> Path:
    grid = {"height": heights.shape[0], "width": heights.shape[1], "count": 1, "dtype": "float32"}
    with rasterio.open(path, "w", driver="GTiff", crs=crs, transform=transform, nodata=-9999.0, **grid) as file:
        file.write(heights.astype(np.float32), 1)
    return path


NISAR_TRANSFORM = from_origin(500_000, 4_400_000, 80, 80)


def write_nisar(
    path: Path,
    truth: Truth,
    days: tuple[str, str] = ("2026-01-03", "2026-01-15"),
    *,
    polarisation: str = "HH",
    kind: str = "GUNW",
) -> Path:
    """A GUNW in EPSG:32611, 80 m, its wrapped interferogram at 20 m; the reference is the earlier day."""
    height, width = truth.phase.shape
    outside = np.isnan(truth.coherence)
    with h5py.File(path, "w") as file:
        for name, value in {
            "productType": kind,
            "trackNumber": np.uint32(77),
            "frameNumber": np.uint16(12),
            "orbitPassDirection": "Ascending",
            "productVersion": "1.2.0",
            "referenceZeroDopplerStartTime": f"{days[0]}T13:00:01.000000000",
            "secondaryZeroDopplerStartTime": f"{days[1]}T13:00:01.000000000",
        }.items():
            file[f"science/LSAR/identification/{name}"] = np.bytes_(value) if isinstance(value, str) else value
        grids = file.create_group("science/LSAR/GUNW/grids/frequencyA")
        grids["centerFrequency"] = 1.2575e9
        for folder, step in (("unwrappedInterferogram", 80), ("wrappedInterferogram", 20)):
            group = grids.create_group(f"{folder}/{polarisation}")
            count = np.array([height, width]) * 80 // step
            _axes(group, 4_400_000 - step * (np.arange(count[0]) + 0.5), 500_000 + step * (np.arange(count[1]) + 0.5))
        group = grids[f"unwrappedInterferogram/{polarisation}"]
        wrapped = grids[f"wrappedInterferogram/{polarisation}"]
        _nisar_layer(group, "coherenceMagnitude", truth.coherence.astype(np.float32), np.nan, "1")
        full = np.where(outside, np.nan, truth.phase + truth.ionosphere).astype(np.float32)
        _nisar_layer(group, "unwrappedPhase", full, np.nan, "radians")
        _nisar_layer(group, "ionospherePhaseScreen", truth.ionosphere.astype(np.float32), np.nan, "radians")
        components = np.where(outside, 65535, truth.component).astype(np.uint16)
        _nisar_layer(group, "connectedComponents", components, 65535, "1")
        fine = np.kron(2 * np.exp(1j * full), np.ones((4, 4)))
        _nisar_layer(wrapped, "wrappedInterferogram", fine.astype(np.complex64), np.nan, "1")
        parent = grids["unwrappedInterferogram"]
        _axes(parent, group["yCoordinates"][()], group["xCoordinates"][()])
        mask = np.where(truth.component == 2, 111, 11).astype(np.uint8)
        _nisar_layer(parent, "mask", np.where(outside, 255, mask).astype(np.uint8), 255, "1")
        cubes = file.create_group("science/LSAR/GUNW/metadata/radarGrid")
        heights = np.array([-500.0, 1000.0, 4000.0])
        y = 4_401_000 - 1000.0 * np.arange(6)
        x = 499_000 + 1000.0 * np.arange(7)
        _axes(cubes, y, x)
        cubes["heightAboveEllipsoid"] = heights
        cubes["heightAboveEllipsoid"].make_scale("heightAboveEllipsoid")
        at = np.meshgrid(heights, (y - 4_400_000) / 1000, (x - 500_000) / 1000, indexing="ij")
        for name, values in zip("XY", look_at(*at), strict=True):
            layer = cubes.create_dataset(f"losUnitVector{name}", data=values.astype(np.float32))
            for number, axis in enumerate(("heightAboveEllipsoid", "yCoordinates", "xCoordinates")):
                layer.dims[number].attach_scale(cubes[axis])
    return path


def _axes(group: h5py.Group, y: np.ndarray, x: np.ndarray) -> None:
    for name, axis in (("yCoordinates", y), ("xCoordinates", x)):
        group[name] = axis
        group[name].make_scale(name)
    group["projection"] = np.uint32(32611)
    group["projection"].attrs["epsg_code"] = 32611


def _nisar_layer(group: h5py.Group, name: str, values: np.ndarray, fill: Any, unit: str) -> None:
    layer = group.create_dataset(name, data=values, chunks=(8, 8), compression="gzip")
    layer.attrs["_FillValue"] = values.dtype.type(fill)
    layer.attrs["units"] = np.bytes_(unit)
    layer.attrs["grid_mapping"] = np.bytes_("projection")
    layer.dims[0].attach_scale(group["yCoordinates"])
    layer.dims[1].attach_scale(group["xCoordinates"])


ARIA_TRANSFORM = Affine(1 / 1200, 0, -118.0, 0, -1 / 1200, 36.0)
ARIA_NAME = "S1-GUNW-A-R-064-tops-20210723_20210711-015001-35393N_33512N-PP-6267-v2_0_4.nc"


def write_aria(
    folder: Path, truth: Truth, *, name: str = ARIA_NAME, ascending: bool = False, east_of: float = 0.0
) -> Path:
    """A GUNW of 11 and 23 July 2021, the later being the reference, on 3 arc seconds.

    Args:
        folder: Where it is written.
        truth: What it shows.
        name: Of the file.
        ascending: Whether latitudes rise from row to row.
        east_of: Added to longitudes, e.g. 360.
    """
    outside, turn = np.isnan(truth.coherence), slice(None, None, -1 if ascending else 1)
    height, width = truth.phase.shape
    with netCDF4.Dataset(folder / name, "w") as file:
        data = file.createGroup("science/grids/data")
        y, x = 36 - (np.arange(height) + 0.5) / 1200, -118 + (np.arange(width) + 0.5) / 1200
        _coordinates(data, "crs", {"latitude": y[turn], "longitude": x + east_of})
        for layer, values, fill, unit in (
            ("unwrappedPhase", -truth.phase - truth.ionosphere, 0.0, "rad"),
            ("coherence", truth.coherence, 0.0, "unitless"),
            ("connectedComponents", truth.component, -1.0, "unitless"),
            ("amplitude", np.full(truth.phase.shape, 3.0), 0.0, "watt"),
        ):
            _aria_layer(data, layer, np.where(outside, fill, values)[turn], fill, unit, "crs")
        heights = np.array([-1500.0, 0.0, 3000.0, 9000.0])
        y, x = 36.1 - 0.1 * np.arange(4), -118.1 + 0.1 * np.arange(5)
        axes = {"heightsMeta": heights, "latitudeMeta": y, "longitudeMeta": x + east_of}
        at = np.meshgrid(heights, (y - 36) * 10, (x + 118) * 10, indexing="ij")
        east, north = look_at(*at)
        angles = np.degrees(np.arcsin(np.hypot(east, north))), np.degrees(np.arctan2(north, east))
        geometry = file.createGroup("science/grids/imagingGeometry")
        _coordinates(geometry, "crsMeta", axes)
        for layer, values in zip(("incidenceAngle", "azimuthAngle"), angles, strict=True):
            _aria_layer(geometry, layer, values, 0.0, "degrees", "crsMeta")
        corrections = file.createGroup("science/grids/corrections")
        coarse = corrections.createGroup("derived/ionosphere")
        rows, columns = np.arange(-10, 40, 10), np.arange(-10, 50, 10)
        y, x = 36 - (rows + 0.5) / 1200, -118 + (columns + 0.5) / 1200
        _coordinates(coarse, "crs", {"latitude": y, "longitude": x + east_of})
        screen = 0.1 * columns + 0.05 * rows[:, None] + 1
        _aria_layer(coarse, "ionosphere", -screen, np.nan, "rad", "crs")
        for which, delay in (("reference", 2.5), ("secondary", 2.4)):  # m, in phase as RAiDER gives it
            group = corrections.createGroup(f"external/troposphere/HRRR/{which}")
            _coordinates(group, "crs", axes)
            phase = np.full(at[0].shape, -4 * np.pi / 0.05546576 * delay)
            for layer, share in (("troposphereWet", 0.1), ("troposphereHydrostatic", 0.9)):
                _aria_layer(group, layer, share * phase, np.nan, "radians", "crs")
        radar = file.createGroup("science/radarMetaData")
        radar.createVariable("wavelength", "f8")[...] = 0.05546576
        radar["wavelength"].units = "m"
        for which, day in (("reference", "20210723"), ("secondary", "20210711")):
            group = radar.createGroup(f"inputSLC/{which}")
            group.createDimension("matchup", 1)
            granule = f"S1A_IW_SLC__1SDV_{day}T014947_{day}T015015_038902_049716_B3F9"
            group.createVariable("L1InputGranules", str, ("matchup",))[0] = granule
    return folder / name


def _coordinates(group: Any, crs: str, axes: dict[str, np.ndarray]) -> None:
    group.createVariable(crs, "i4").grid_mapping_name = "latitude_longitude"
    for name, axis in axes.items():
        group.createDimension(name, len(axis))
        group.createVariable(name, "f8", (name,))[:] = axis


def _aria_layer(group: Any, name: str, values: np.ndarray, fill: float, unit: str, crs: str) -> None:
    dims = ("heightsMeta", "latitudeMeta", "longitudeMeta") if values.ndim == 3 else ("latitude", "longitude")
    layer = group.createVariable(name, "f4", dims, fill_value=fill, zlib=True)
    layer.setncatts({"units": unit, "grid_mapping": crs})
    layer[:] = values
