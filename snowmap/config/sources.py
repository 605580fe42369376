"""Keys of ``data=``: where the data lies, how each source reads it, and how it is fed to a model."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from snowmap.config.fields import Named, choice, distinct, integer, integers, number, some, special
from snowmap.units import METRES, WET_SNOW_DB


def archives(default: Any) -> Any:
    """Paths of one or several archives."""

    def holds(value: Any) -> bool:
        paths = value if isinstance(value, list) else [value]
        texts = all(isinstance(path, str) and path for path in paths) and 0 < len(paths) == len(set(paths))
        return texts or (value is None and default is None)

    return special(default, "a text, or a list of texts, none of them empty or twice", holds)


def _sequence() -> Any:
    """The length of sequences."""

    def holds(value: Any) -> bool:
        return value in (None, "season") or (type(value) is int and 1 <= value <= 10**6)

    return special(None, "a number of windows ≥ 1, season, or null", holds)


def _percentiles() -> Any:
    """Where values are cut off."""

    def holds(value: Any) -> bool:
        return len(value) == 2 and 0 <= value[0] < value[1] <= 100

    return special(None, "two percentiles from 0 to 100, e.g. [0.5, 99.5]", holds)


def _dates() -> Any:
    """Which dates of a scene are read."""

    def holds(value: Any) -> bool:
        return value == "all" or (type(value) is int and 1 <= value <= 366)

    return special("all", "all, or a number of dates for each year from 1 to 366", holds)


def _codes() -> Any:
    """Names of class codes."""

    def holds(value: Any) -> bool:
        names = [*map(str, value.values())] if isinstance(value, dict) else []
        return len(names) > 1 and all(names) and len({*names}) == len(names)

    return special(None, "a name for each of at least two codes, e.g. {1: frozen, 2: thawed}", holds)


def _range(low: float, high: float) -> Any:
    """Two ends."""
    return special(
        [low, high], "two finite numbers, ascending", lambda value: len(value) == 2 and -1e9 < value[0] < value[1] < 1e9
    )


def _bounds() -> Any:
    """A piece of the Earth."""

    def holds(value: Any) -> bool:
        west, south, east, north = value
        return all(-180 <= x <= 180 for x in (west, east)) and -90 <= south < north <= 90

    words = "[west, south, east, north] in degrees, south below north"
    return special(None, words, lambda value: len(value) == 4 and holds(value))


def _columns() -> Any:
    """Names of columns of a table."""

    def holds(value: Any) -> bool:
        return isinstance(value, dict) and all(value.values())

    return special(None, "a name for each of some columns, e.g. {longitude: lon}", holds)


def _odd(default: int, at_most: int) -> Any:
    return special(
        default, f"an odd whole number from 1 to {at_most}", lambda value: 1 <= value <= at_most and value % 2 == 1
    )


@dataclass
class Data:
    """What every source of Cubes shares: where the data lies, and how it is fed to a model."""

    name: str = MISSING
    root: Any = archives(MISSING)  # of one archive, or [of, several]
    bands: list[str] | None = distinct(None, least=1)  # that are read; None: the standard ones of the source
    derived: list[str] | None = distinct(None)  # derived features beside the bands; None: the model's own
    phase_sign: int | None = choice(None, 1, -1)  # of phase where snow grows; None: from the training windows
    wet_snow_db: float = number(WET_SNOW_DB, below=0, at_least=-30)  # change of backscatter below which snow is wet
    reference: str = "lowest_ground"  # of the phase: lowest_ground, none, or a vector file of polygons or points
    corrections: list[str] = some("ramp", "stratified")  # a plane; with elevation; fitted on stable ground
    retrieval: str = choice("oveisgharan", "guneriussen", "leinss")  # from phase to a change of SWE
    snow_density_kg_m3: float | None = number(None, at_least=20, at_most=917)  # which guneriussen needs, and no other
    time: Any = _sequence()  # windows in a sequence, or season (since 1 September); None: the model's own
    supervise: str = choice("auto", "last", "every")  # targets that the loss sees; auto: every, if all steps are mapped
    batch_size: int = integer(4, at_least=1)
    augment: str = choice("none", "flip", "turn")  # flips; turn: and right-angle turns
    crop: list[int] | None = integers(None, length=(2, 2), at_least=1)  # [height, width] of random pieces; None: whole
    patches: int = integer(1, at_least=1)  # pieces of each sequence in an epoch
    class_share: float | None = number(None, at_least=0, at_most=1)  # of the pieces: drawn around the rarest class
    time_jitter: int = integer(0, at_least=0, at_most=1000)  # windows by which each earlier step moves in training
    clip_percentiles: list[float] | None = _percentiles()  # of bands in dB, beyond which they are cut off
    resident_share: float = number(0.5, above=0, at_most=1)  # of the accelerator's free memory, for the Cube


@dataclass
class Archive(Data):
    """Keys of `snowmap.sources.trentino`: an archive in the layout of the public one."""

    name: str = "archive"
    swe_unit: str = choice("auto", "cm", "mm")  # a contradiction with the ratio SWE/HS is an error
    strict: bool = False  # an incomplete window is an error instead of a named exclusion
    wavelength_m: float | None = number(None, at_least=0.005, at_most=2)  # None: the rasters' tag, else Sentinel-1's
    zero_is_missing: list[str] | None = distinct(None)  # bands in which 0 means no data; None: all of INSAR/
    threads: int | None = integer(None, at_least=1, at_most=256)  # that read rasters; None: one for each core
    cache: bool = True


@dataclass
class Zarr(Data):
    """Keys of `snowmap.sources.zarr`: a Cube in a Zarr store."""

    name: str = "zarr"
    in_memory: bool | None = None  # read whole before training; None: where it fills at most half of the free memory


@dataclass
class Ppb:
    """Keys of `snowmap.data.radar.despeckle.ppb`."""

    search: int = _odd(21, 51)  # height and width of the search window, px
    patch: int = _odd(7, 15)  # of the patches that are compared, px
    alpha: float = number(0.92, above=0, below=1)  # quantile of their likeness in pure speckle; nearer to 1: smoother
    iterations: int = integer(1, at_least=1, at_most=25)  # 1: non-iterative
    kl_scale: float = number(0.2, above=0)  # T of the iterations; smaller: nearer to the last estimate


@dataclass
class SarStack(Data):
    """Keys of `snowmap.sources.sar_stack`: scenes of a SAR time series, one or several below each root."""

    name: str = "sar_stack"
    pattern: str | None = None  # of the rasters' names, "{scene}/{date:%Y%m%d}_{band}.tif"; None: as they are known
    scale: str = choice("auto", "linear", "db")  # of the backscatter in the rasters; auto: by its range
    dates: Any = _dates()  # or one of each of so many equal periods of every year
    sequences: str = choice("whole", "yearly", "dated")  # what is mapped: the scene, each year, each date with labels
    classes: dict[int, str] | None = _codes()  # of class rasters; None: those of the target
    ignore: int | None = integer(None, at_least=-(2**31), at_most=2**31)  # a code of pixels without a label
    outcrops: str | None = None  # COLUMN=VALUE of outlines of rock within the ice; None: GLIMS' line_type=intrnl_rock
    despeckle: str = choice("none", "boxcar", "lee", "ppb")  # filter of the backscatter, on linear power
    despeckle_window: int = _odd(7, 51)  # height and width of boxcar and lee, px
    looks: float | None = number(None, at_least=1)  # of the speckle; None: estimated for each raster
    ppb: Ppb = field(default_factory=Ppb)


@dataclass
class SnowSarVariables:
    """What each band is called in the files; None: they do not have it."""

    ku_vv: str | None = "KuVV"
    ku_vh: str | None = "KuVH"
    x_vv: str | None = "XVV"
    x_vh: str | None = "XVH"
    ku_vv_incidence: str | None = "KuVV_incidence"
    ku_vh_incidence: str | None = "KuVH_incidence"
    x_vv_incidence: str | None = "XVV_incidence"
    x_vh_incidence: str | None = "XVH_incidence"
    elevation: str | None = "DEM"
    land_cover: str | None = "LandCover"
    vegetation: str | None = "Vegetation"


@dataclass
class Points:
    """Measurements at points, from which a target is made: the mean of those in each cell."""

    path: str | None = None  # a .csv, or any vector file of points
    hs: str | None = None  # its column; None: by its name
    swe: str | None = None
    hs_unit: str | None = choice(None, *METRES)  # None: that in the head of the column
    swe_unit: str | None = choice(None, *METRES)
    days: int = integer(3, at_least=0, at_most=366)  # that a measurement may lie from the flight


@dataclass
class SnowSar(Data):
    """Keys of `snowmap.sources.snowsar`: NetCDF files of an airborne X and Ku band radar, one for each flight."""

    name: str = "snowsar"
    resolution: float = number(100.0, at_least=1, at_most=10_000)  # of the grid, m
    sigma0_unit: str | None = choice(None, "dB", "linear")  # None: what the files say
    variables: SnowSarVariables = field(default_factory=SnowSarVariables)
    points: Points = field(default_factory=Points)


@dataclass
class NaSarRanges:
    """Of each band of NA-SAR the value that becomes 0 and the one that becomes 1, as its dataset card has them."""

    co_pol: list[float] = _range(0.15, 2.39)  # of log(1 + 20 γ⁰)
    cross_pol: list[float] = _range(0.01, 1.09)
    coherence: list[float] = _range(0.0, 1.0)
    incidence: list[float] = _range(0.0, 90.0)  # degree
    elevation: list[float] = _range(-100.0, 4000.0)  # m
    slope: list[float] = _range(0.0, 45.0)  # degree
    relief: list[float] = _range(0.0, 1.0)


@dataclass
class NaSar(Named):
    """Keys of `snowmap.sources.na_sar`: patches in shards, which are streamed."""

    name: str = "na_sar"
    root: str = MISSING  # a folder, a URL, or hf://datasets/OWNER/NAME[@REVISION], with metadata.parquet and data/
    shards: list[str] | None = distinct(None, least=1)  # files or URLs, with {00000..00090}; None: those of data/
    columns: dict[str, str] | None = _columns()  # of the metadata, where it calls them otherwise
    bands: list[str] | None = distinct(None, least=1)  # None: all
    quality: float = number(0.0, at_least=0, at_most=1)  # least quality_score
    polarisations: list[str] = some("co_pol", "cross_pol")  # that a patch must have
    bounds: list[float] | None = _bounds()  # of the middle of a patch; None: everywhere
    ranges: NaSarRanges = field(default_factory=NaSarRanges)
    time: int | None = choice(None, 1, 2)  # dates of an item, prime and secondary; None: the model's own
    batch_size: int = integer(64, at_least=1)  # items; a patch has two, its views
    workers: int = integer(2, at_least=0, at_most=256)  # processes that read, for each one that trains
    shuffle: int = integer(128, at_least=1)  # members whose order is drawn anew; each worker holds so many
    cache_gb: float | None = number(None, above=0)  # of copies of remote shards on this machine; None: no copies
    retries: int = integer(3, at_least=0, at_most=100)  # of what is remote


DATA: dict[str, type] = {
    "archive": Archive,
    "zarr": Zarr,
    "sar_stack": SarStack,
    "snowsar": SnowSar,
    "na_sar": NaSar,
}
"""Schema of each `data=`."""
