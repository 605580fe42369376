"""NA-SAR as its dataset card gives it: files, arrays of a member, columns of the metadata, and bands made of them."""

from pathlib import Path

from snowmap.data.cube import Quantity
from snowmap.data.features import DERIVED_BANDS
from snowmap.sources.trentino.quantities import INSAR_BANDS

METADATA = "metadata.parquet"
SUMMARY = "webdataset_summary.json"
FOLDER = "data"
"""Of the shards, below the root."""

SHARDS = f"{FOLDER}/nasar-train-*.tar"

SIDE = 128
"""Height and width of every array, px."""

VIEWS = (0, 1)
DATES = ("prime", "secondary")
CHANNELS: dict[str, int] = {
    **{f"{date}_rtc_view_{view}": 2 for date in DATES for view in VIEWS},
    **{f"inc_angle_view_{view}": 1 for view in VIEWS},
    **{f"ifg_view_{view}": 2 for view in VIEWS},
    **{f"coh_view_{view}": 1 for view in VIEWS},
    "dem": 1,
    "slope_deg": 1,
}
"""Channels of each array of a member, ``(channel, SIDE, SIDE)``, of floating-point numbers."""

POLARISATIONS = ("co_pol", "cross_pol")
"""Of backscatter, in the order of its channels; 0 where there is no value."""

BANDS: dict[str, Quantity] = {
    "co_pol": Quantity("1", 0.0, 10.0, "co-polarised backscatter, log(1 + 20 γ⁰)", "sar"),
    "cross_pol": Quantity("1", 0.0, 10.0, "cross-polarised backscatter, log(1 + 20 γ⁰)", "sar"),
    **{name: INSAR_BANDS[name] for name in ("coherence", "phase", "incidence", "elevation")},
    "slope": DERIVED_BANDS["slope"],
    "relief": Quantity("1", 0.0, 1.0, "height between the 5th and 95th percentile of the patch", "terrain"),
}
"""Every band, in the order of the `band` dimension."""

GROUPS = (("co_pol", "cross_pol"), ("coherence", "phase"), ("incidence", "slope"), ("elevation", "relief"))
"""Bands that tell so much of one another that a pre-training hides them together."""

USUAL_DAYS = 12
"""From the prime to the secondary date, where the metadata has no dates."""

COLUMNS: dict[str, tuple[str, ...]] = {
    "key": ("sample_key",),
    "shard": ("shard_path",),
    "position": ("sample_index_in_shard",),
    "quality": ("quality_score",),
    "co_pol": ("has_co_pol", "has_copol", "co_pol_available", "co_pol_valid"),
    "cross_pol": ("has_cross_pol", "has_crosspol", "cross_pol_available", "cross_pol_valid"),
    "longitude": ("longitude", "lon", "center_lon", "centroid_lon", "lon_center"),
    "latitude": ("latitude", "lat", "center_lat", "centroid_lat", "lat_center"),
    "west": ("west", "min_lon", "lon_min"),
    "south": ("south", "min_lat", "lat_min"),
    "east": ("east", "max_lon", "lon_max"),
    "north": ("north", "max_lat", "lat_max"),
    "geometry": ("geometry", "geom", "footprint"),
    "prime_date": ("prime_date", "prime_datetime", "reference_date"),
    "secondary_date": ("secondary_date", "secondary_datetime"),
}
"""What the metadata may call each of its columns; ``data.columns`` names others. Places are in degrees."""

REQUIRED = ("key", "shard", "position")


def holds_patches(root: Path) -> bool:
    """Whether a folder has NA-SAR's metadata or shards."""
    return (root / METADATA).is_file() or any(root.glob(SHARDS))
