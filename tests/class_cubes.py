"""Small Cubes of a radar series with a class map, of which the answer is known."""

import numpy as np
import xarray as xr
from rasterio.transform import from_origin

from snowmap.data.cube import Quantity, band_coordinates, check

GLACIER = Quantity("", 0, 255, "glacier", flag_values=(0, 1), flag_meanings="other glacier", ignore_index=255)
BANDS = {
    "VV": Quantity("dB", -40.0, 10.0, "backscatter VV", "sar"),
    "VH": Quantity("dB", -40.0, 10.0, "backscatter VH", "sar"),
    "elevation": Quantity("m", 0.0, 5000.0, "elevation", "terrain"),
}


def glacier_cube(
    shape: tuple[int, int] = (48, 64),
    windows: int = 4,
    seed: int = 0,
    target: str = "glacier",
    quantity: Quantity = GLACIER,
) -> xr.Dataset:
    """Round glaciers that are 5 dB brighter in VV, but not in VH, on a slope that rises to the north.

    A rim lies outside the study area, one row is to be ignored, one corner is not labelled, one window lacks a corner.
    """
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    ice = np.zeros(shape, bool)
    for row, column, radius in ((12, 14, 7), (32, 40, 10), (14, 50, 3)):
        ice |= np.hypot(y - row, x - column) < radius
    ice &= ~(np.hypot(y - 32, x - 40) < 3)  # a rock in the middle of the second
    features = np.zeros((windows, 3, *shape), np.float32)
    features[:, 0] = np.where(ice, -8, -13) + generator.normal(0, 1, (windows, *shape))
    features[:, 1] = -20 + generator.normal(0, 1, (windows, *shape))
    features[:, 2] = 300 + 20.0 * (shape[0] - y)
    features[0, :2, -6:, -6:] = np.nan
    classes = np.asarray(quantity.flag_values, np.float32)[ice.astype(int)]
    classes[5], classes[-3:, :3] = quantity.ignore_index, np.nan
    mask = np.ones(shape, bool)
    mask[0], mask[:, :2] = False, False
    dates = np.datetime64("2020-01-05", "ns") + 90 * np.arange(windows) * np.timedelta64(1, "D")
    cube = xr.Dataset(
        {
            "features": (("window", "band", "y", "x"), features),
            target: (("window", "y", "x"), np.broadcast_to(classes, (windows, *shape)), quantity.attributes),
            "mask": (("y", "x"), mask),
        },
        coords={
            "start": ("window", dates),
            "end": ("window", dates),
            **band_coordinates(BANDS),
            "x": 500_000 + 30 * (np.arange(shape[1]) + 0.5),
            "y": 8_700_000 - 30 * (np.arange(shape[0]) + 0.5),
        },
        attrs={"origin": "synthetic: a test", "fingerprint": f"seed {seed}", "archive": f"memory {seed}"},
    )
    cube = cube.rio.write_crs("EPSG:32633").rio.write_transform(from_origin(500_000, 8_700_000, 30, 30))
    check(cube)
    return cube
