"""Products in the layouts of their makers, written with plain rasterio, h5py and zipfile from a known truth."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZipFile

import h5py
import numpy as np
import rasterio
from rasterio.transform import Affine, from_origin


class Scene(NamedTuple):
    """One pair's truth: layers ``(y, x)`` by the names and in the units of `snowmap.products.pairs`, NaN = missing."""

    start: str
    end: str
    layers: Mapping[str, np.ndarray]
    transform: Affine
    crs: str


def make_scene(
    start: str = "2023-01-03",
    end: str = "2023-01-15",
    shape: tuple[int, int] = (6, 8),
    corner: tuple[float, float] = (600_000.0, 5_120_000.0),
    crs: str = "EPSG:32632",
    resolution: float = 80.0,
) -> Scene:
    """A scene of every layer, different for each date, with a missing corner."""
    random = np.random.default_rng(int(end.replace("-", "")))
    unwrapped = random.uniform(-6, 6, shape)
    zenith, azimuth = np.radians(random.uniform(30, 45, shape)), np.radians(random.uniform(5, 15, shape))
    layers = {
        "coherence": random.uniform(0.1, 0.9, shape),
        "unwrapped_phase": unwrapped,
        "wrapped_phase": np.angle(np.exp(1j * unwrapped)),
        "intensity": random.uniform(0.01, 0.5, shape),
        "elevation": random.uniform(500, 3000, shape),
        "incidence": random.uniform(15, 70, shape),
        "look_east": np.sin(zenith) * np.cos(azimuth),
        "look_north": np.sin(zenith) * np.sin(azimuth),
        "look_up": np.cos(zenith),
    }
    for layer in layers.values():
        layer[0, 0] = np.nan
    layers["component"] = random.integers(0, 3, shape).astype(float)
    layers["water"] = random.integers(0, 2, shape).astype(float)
    return Scene(start, end, layers, from_origin(*corner, resolution, resolution), crs)


def write_raster(path: Path | str, values: np.ndarray, transform: Affine, crs: str | None, **profile: Any) -> None:
    """One band."""
    height, width = values.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=height,
        width=width,
        count=1,
        dtype=values.dtype,
        crs=crs,
        transform=transform,
        **profile,
    ) as raster:
        raster.write(values, 1)


def write_hyp3(
    folder: Path,
    scene: Scene,
    *,
    burst: str | None = None,
    satellite: str = "A",
    orbit: int = 47000,
    direction: str = "DESCENDING",
    identifier: str = "1A2B",
    zipped: bool = True,
    without: Collection[str] = (),
    nodata: float | None = None,
) -> Path:
    """A HyP3 product, of a whole scene or of bursts.

    Args:
        folder: To write the zip file or folder to.
        scene: Its truth.
        burst: E.g. ``"136231_IW2"`` or ``"064_000000s1n00-136231s2n02-000000s3n00_IW"``; a whole scene without it.
        satellite: Of both acquisitions.
        orbit: Absolute, of the reference.
        direction: Of the pass.
        identifier: Four hexadecimal digits.
        zipped: Whether the product is a zip file.
        without: Endings of files to leave out, e.g. ``"inc_map"`` or ``"txt"``.
        nodata: What the rasters state; their missing pixels are 0.
    """
    first, second = (day.replace("-", "") for day in (scene.start, scene.end))
    days = abs(int((np.datetime64(scene.end) - np.datetime64(scene.start)).astype(int)))
    name = (
        f"S1_{burst}_{first}_{second}_VV_INT80_{identifier}"
        if burst
        else f"S1{satellite * 2}_{first}T053411_{second}T053411_VVP{days:03}_INT80_G_ueF_{identifier}"
    )
    product = folder / name
    product.mkdir(parents=True)
    truth = scene.layers
    rasters = {
        "unw_phase": truth["unwrapped_phase"],
        "wrapped_phase": truth["wrapped_phase"],
        "corr": truth["coherence"],
        "amp": truth["intensity"],
        "dem": truth["elevation"],
        "inc_map": np.radians(truth["incidence"]),
        "lv_theta": np.arcsin(truth["look_up"]),
        "lv_phi": np.arctan2(truth["look_north"], truth["look_east"]),
    }
    for layer, values in rasters.items():
        if layer not in without:
            path = product / f"{name}_{layer}.tif"
            write_raster(path, np.nan_to_num(values).astype(np.float32), scene.transform, scene.crs, nodata=nodata)
    classes = {"conncomp": truth["component"], "water_mask": np.pad(1 - truth["water"], ((0, 0), (0, 1)))}
    for layer, values in classes.items():
        if layer not in without:
            path, missing = product / f"{name}_{layer}.tif", 255 if layer == "water_mask" else 0
            write_raster(path, values.astype(np.uint8), scene.transform, scene.crs, nodata=missing)
    granule = f"S1{satellite}_IW_SLC__1SDV_{first}T053411_{first}T053438_{orbit:06}_05A000_ABCD"
    if "txt" not in without:
        (product / f"{name}.txt").write_text(
            f"Reference Granule: {granule}\nSecondary Granule: {granule}\n"
            f"Reference Pass Direction: {direction}\nReference Orbit Number: {orbit}\nBaseline: 58.3\n"
            "UTC time: 20051.4\nHeading: 193.2\nRange looks: 20\nAzimuth looks: 4\nPhase filter parameter: 0.6\n"
            "Unwrapping type: mcf\n"
        )
    (product / f"{name}.README.md.txt").write_text("ASF InSAR Data Package\n")
    if not zipped:
        return product
    with ZipFile(folder / f"{name}.zip", "w") as archive:
        for file in sorted(product.iterdir()):
            archive.write(file, f"{name}/{file.name}")
            file.unlink()
    product.rmdir()
    return folder / f"{name}.zip"


def write_mintpy(
    folder: Path,
    scenes: Sequence[Scene],
    *,
    dropped: Collection[int] = (),
    offset: float = 0.0,
    without: Collection[str] = (),
    attributes: Mapping[str, str | None] | None = None,
) -> Path:
    """MintPy's ``inputs`` folder: ``ifgramStack.h5`` and ``geometryGeo.h5``.

    Args:
        folder: To write to.
        scenes: Of one grid; the geometry is that of the first.
        dropped: Positions of pairs that the user dropped.
        offset: Added to every unwrapped phase, as an unwrapping without reference may.
        without: Datasets to leave out.
        attributes: To add, or with None to leave out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    first = scenes[0]
    height, width = first.layers["coherence"].shape
    facts: dict[str, str | None] = {
        "LENGTH": str(height),
        "WIDTH": str(width),
        "X_FIRST": str(first.transform.c),
        "Y_FIRST": str(first.transform.f),
        "X_STEP": str(first.transform.a),
        "Y_STEP": str(first.transform.e),
        "X_UNIT": "meters",
        "UTM_ZONE": "32N",
        "WAVELENGTH": "0.05546576",
        "ORBIT_DIRECTION": "ASCENDING",
        "HEADING": "-12.1",
        "relative_orbit": "117",
        "PROCESSOR": "isce",
        "ALOOKS": "4",
        "RLOOKS": "20",
        **(attributes or {}),
    }
    stack = {
        "date": np.array([[day.replace("-", "") for day in scene[:2]] for scene in scenes], "S8"),
        "dropIfgram": np.array([index not in dropped for index in range(len(scenes))]),
        "bperp": np.zeros(len(scenes), np.float32),
        "unwrapPhase": np.nan_to_num([scene.layers["unwrapped_phase"] + offset for scene in scenes]).astype(np.float32),
        "coherence": np.nan_to_num([scene.layers["coherence"] for scene in scenes]).astype(np.float32),
        "connectComponent": np.array([scene.layers["component"] for scene in scenes], np.int16),
    }
    east, north, up = (first.layers[f"look_{way}"] for way in ("east", "north", "up"))
    geometry = {
        "height": np.nan_to_num(first.layers["elevation"]).astype(np.float32),
        "incidenceAngle": np.nan_to_num(np.degrees(np.arccos(up))).astype(np.float32),
        "azimuthAngle": np.degrees(np.arctan2(-east, north)).astype(np.float32),
        "shadowMask": first.layers["component"] == 2,
        "waterMask": first.layers["water"] == 0,
    }
    for kind, name, datasets in (("ifgramStack", "ifgramStack", stack), ("geometry", "geometryGeo", geometry)):
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file.attrs.update({key: value for key, value in {**facts, "FILE_TYPE": kind}.items() if value is not None})
            for key, values in datasets.items():
                if key not in without:
                    file.create_dataset(key, data=values)
    return folder


def write_licsar(folder: Path, scenes: Sequence[Scene], *, frame: str = "022D_05000_131313") -> Path:
    """A frame of LiCSAR, as its portal lays it out; coherence is rounded to 1 / 255."""
    root = folder / frame
    (root / "metadata").mkdir(parents=True)
    for scene in scenes:
        pair = "_".join(day.replace("-", "") for day in scene[:2])
        (root / "interferograms" / pair).mkdir(parents=True)
        coherence = np.round(np.nan_to_num(scene.layers["coherence"]) * 255).astype(np.uint8)
        phase = np.nan_to_num(scene.layers["unwrapped_phase"]).astype(np.float32)
        for ending, values in (("cc", coherence), ("unw", phase)):
            path = root / "interferograms" / pair / f"{pair}.geo.{ending}.tif"
            write_raster(path, values, scene.transform, scene.crs)
    first = scenes[0]
    layers = {"hgt": "elevation", "E": "look_east", "N": "look_north", "U": "look_up"}
    for ending, layer in layers.items():
        values = np.nan_to_num(first.layers[layer]).astype(np.float32)
        write_raster(root / "metadata" / f"{frame}.geo.{ending}.tif", values, first.transform, first.crs)
    (root / "metadata" / "metadata.txt").write_text(
        f"master={first.start.replace('-', '')}\nheading=-167.9\navg_incidence_angle=39.1918\n"
        "azimuth_resolution=14.068910\nrange_resolution=2.329562\ncentre_range_m=880080.5691\n"
    )
    return root
