"""Files of weather and snow in the layouts of their publishers, over a truth that the caller knows."""

import gzip
import io
import tarfile
from pathlib import Path

import numpy as np
import rioxarray  # noqa: F401  registers the .rio accessor
import xarray as xr
from rasterio.transform import Affine

ERA5 = {
    "t2m": {"units": "K", "long_name": "2 metre temperature"},
    "tp": {"units": "m", "long_name": "Total precipitation"},
    "z": {"units": "m**2 s**-2", "long_name": "Geopotential", "standard_name": "geopotential"},
}


def hours(first: str, days: int) -> np.ndarray:
    """Every hour of some days, and 00 UTC after them, by which their precipitation is whole."""
    return np.datetime64(first, "h") + np.arange(24 * days + 1)


def write_era5(path, variables, times, latitude, longitude, *, layout="new"):
    """Hourly fields ``(time, latitude, longitude)`` by name, t2m in K, tp in m, z in m² s⁻², as the data store does.

    Layout ``old``: NetCDF 3, packed into 16 bits, dims time, latitude, longitude. ``new``: NetCDF 4, dims valid_time,
    latitude, longitude, scalar ``number`` and ``expver`` along the times.
    """
    time = "time" if layout == "old" else "valid_time"
    dataset = xr.Dataset(
        {name: ((time, "latitude", "longitude"), values, ERA5[name]) for name, values in variables.items()},
        coords={
            time: np.asarray(times).astype("datetime64[ns]"),
            "latitude": ("latitude", np.asarray(latitude), {"units": "degrees_north", "standard_name": "latitude"}),
            "longitude": ("longitude", np.asarray(longitude), {"units": "degrees_east", "standard_name": "longitude"}),
        },
        attrs={"Conventions": "CF-1.6" if layout == "old" else "CF-1.7"},
    )
    if layout == "old":
        encoding = {name: _packed(values) for name, values in variables.items()}
        encoding[time] = {"units": "hours since 1900-01-01 00:00:00.0", "calendar": "gregorian", "dtype": "int32"}
        dataset.to_netcdf(path, engine="scipy", format="NETCDF3_64BIT", encoding=encoding)
    else:
        dataset = dataset.assign_coords(number=0, expver=(time, np.full(len(times), "0001", dtype=object)))
        encoding = {time: {"units": "seconds since 1970-01-01", "calendar": "proleptic_gregorian", "dtype": "int64"}}
        dataset.to_netcdf(path, engine="h5netcdf", encoding=encoding)
    return Path(path)


def _packed(values):
    least, most = float(np.nanmin(values)), float(np.nanmax(values))
    step = (most - least) / 65532 or 1.0
    return {"dtype": "int16", "scale_factor": step, "add_offset": (least + most) / 2, "_FillValue": np.int16(-32767)}


def write_cf_swe(path, days, swe, transform: Affine, crs, *, unit="mm", name="SWE", attrs=None, calendar="standard"):
    """Daily maps ``(day, y, x)`` with a grid mapping, rows as `transform` has them."""
    _, height, width = np.shape(swe)
    dataset = xr.Dataset(
        {name: (("time", "y", "x"), np.asarray(swe, dtype=np.float32), {"units": unit} | (attrs or {}))},
        coords={
            "time": np.asarray(days).astype("datetime64[ns]") if calendar == "standard" else days,
            "y": transform.f + transform.e * (np.arange(height) + 0.5),
            "x": transform.c + transform.a * (np.arange(width) + 0.5),
        },
    )
    dataset = dataset.rio.write_crs(crs).rio.write_coordinate_system()
    encoding = {"time": {"units": "hours since 2000-01-01", "calendar": calendar}}
    dataset.to_netcdf(path, engine="h5netcdf", encoding=encoding)
    return Path(path)


SNODAS_HEADER = """Format version: NOHRSC GIS/RS raster file v1.1
File pathname: /net/lfs0data10/rasters
Data file pathname: {name}.dat
Description: Modeled snow
Data units: Meters / 1000.000000
Data type: integer
Data bytes per pixel: 2
No data value: -9999.00000000000
Number of columns: {width}
Number of rows: {height}
Projected: no
Horizontal datum: WGS84
Minimum x-axis coordinate: {west:.15f}
Maximum x-axis coordinate: {east:.15f}
Minimum y-axis coordinate: {south:.15f}
Maximum y-axis coordinate: {north:.15f}
Start year: 2021
"""


def write_snodas(folder, day, grids, bounds):
    """The archive of a day with grids in mm, NaN = missing, by the codes of their products (1034 SWE, 1036 depth)."""
    compact = str(day).replace("-", "")
    path = Path(folder) / f"SNODAS_{compact}.tar"
    west, south, east, north = bounds
    with tarfile.open(path, "w") as archive:
        for code, grid in grids.items():
            name = f"us_ssmv1{code}tS__T0001TTNATS{compact}05HP001"
            height, width = grid.shape
            header = SNODAS_HEADER.format(**locals())
            values = np.where(np.isnan(grid), -9999, grid).astype(">i2").tobytes()
            for kind, content in (("txt", header.encode()), ("dat", values)):
                packed = gzip.compress(content, compresslevel=1)
                member = tarfile.TarInfo(f"{name}.{kind}.gz")
                member.size = len(packed)
                archive.addfile(member, io.BytesIO(packed))
    return path
