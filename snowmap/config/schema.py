"""The schema of the configuration: every key that a user can type, with its type and its reason.

Imports neither torch nor xarray.
"""

import re
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from omegaconf import MISSING

from snowmap.config.fields import Expected, Within, choice, distinct, integer, integers, number, special
from snowmap.units import METRES, SNOW_DEPTH_M, WET_SNOW_DB

POLARISATIONS = ("co_pol", "cross_pol")


def _channels(default: list[int]) -> Any:
    """Channels of a net, level by level; each further level halves height and width."""
    return integers(default, length=(1, 8), at_least=1, at_most=2048)


def _seed() -> Any:
    """A seed of random numbers, as NumPy and PyTorch take it."""
    return integer(0, at_least=0, at_most=2**32 - 1)


def _batches(default: Any, *, none: bool = False) -> Any:
    """A whole number of batches, or a share of them; 0 only where `none` means something."""

    def holds(value: Any) -> bool:
        return (none and value == 0) or (1 <= value <= 10**6 if type(value) is int else 0 < value <= 1)

    return special(default, f"{'0, ' if none else ''}a whole number of batches ≥ 1, or a share > 0 and ≤ 1.0", holds)


def _sequence() -> Any:
    """The length of sequences."""

    def holds(value: Any) -> bool:
        return value in (None, "season") or (type(value) is int and 1 <= value <= 10**6)

    return special(None, "a number of windows ≥ 1, season, or null", holds)


def _duration() -> Any:
    """A time above zero, as Lightning reads it."""
    form = re.compile(r"(?=.*[1-9])\d{2}:\d{2}:\d{2}:\d{2}")
    return special(None, "days:hours:minutes:seconds, e.g. 00:04:00:00", lambda value: bool(form.fullmatch(value)))


def _archives(default: Any) -> Any:
    """Paths of one or several archives."""

    def holds(value: Any) -> bool:
        paths = value if isinstance(value, list) else [value]
        texts = all(isinstance(path, str) and path for path in paths) and 0 < len(paths) == len(set(paths))
        return texts or (value is None and default is None)

    return special(default, "a text, or a list of texts, none of them empty or twice", holds)


def _percentiles() -> Any:
    """Where values are cut off."""

    def holds(value: Any) -> bool:
        return len(value) == 2 and 0 <= value[0] < value[1] <= 100

    return special(None, "two percentiles from 0 to 100, e.g. [0.5, 99.5]", holds)


def _restarts() -> Any:
    """Epochs, ascending."""

    def holds(value: Any) -> bool:
        return len(value) > 0 and all(b > 0 and a < b for a, b in pairwise([0, *value]))

    return special([10, 30, 70, 150], "a list of whole numbers > 0, ascending", holds)


def _class_weights() -> Any:
    """How much each class counts."""

    def holds(value: Any) -> bool:
        words = isinstance(value, str) and value in ("none", "balanced")
        return words or (isinstance(value, list) and len(value) > 1 and all(Within(above=0).holds(w) for w in value))

    return special("none", "none | balanced | a list of numbers > 0, one for each class", holds)


def _lines() -> Any:
    """Lines of a script."""
    return special(None, "a list of lines", lambda value: all(isinstance(line, str) for line in value))


def _ablation() -> Any:
    """What the net sees; which bands there are is known only when the data is."""
    words = ("all", "no_sar", "shuffled_sar", "weather_only")

    def holds(value: Any) -> bool:
        return value in words or re.fullmatch(r"without_\w+", value) is not None

    expected = Expected(" | ".join([*words, "without_<band>"]), holds, words)
    return field(default="all", metadata={"expected": expected})


def _devices(default: int) -> Any:
    """How many devices, or which."""

    def holds(value: Any) -> bool:
        if isinstance(value, list):
            return 0 < len(value) == len({*map(str, value)}) and all(type(i) is int and i >= 0 for i in value)
        return value == "auto" or (type(value) is int and 1 <= value <= 10**6)

    return special(default, "a whole number ≥ 1, a list of indices such as [0,2], or auto", holds)


def _holdout() -> Any:
    """One of several archives."""

    def holds(value: Any) -> bool:
        return value is None or (isinstance(value, str) and value != "") or (type(value) is int and value >= 0)

    return special(None, "the number of an archive, its short name, or null", holds)


def _dates() -> Any:
    """Which dates of a scene are read."""

    def holds(value: Any) -> bool:
        return value == "all" or (type(value) is int and 1 <= value <= 366)

    return special("all", "all, or a number of dates for each year from 1 to 366", holds)


def _scenes() -> Any:
    """Scenes by name, or a share of them."""

    def holds(value: Any) -> bool:
        if isinstance(value, list):
            return len({*map(str, value)}) == len(value) > 0 and all(isinstance(name, str) and name for name in value)
        return type(value) in (int, float) and 0 < value < 1

    return special(0.2, "a share above 0 and below 1, or a list of names of scenes", holds)


def _codes() -> Any:
    """Names of class codes."""

    def holds(value: Any) -> bool:
        names = [*map(str, value.values())] if isinstance(value, dict) else []
        return len(names) > 1 and all(names) and len({*names}) == len(names)

    return special(None, "a name for each of at least two codes, e.g. {1: frozen, 2: thawed}", holds)


def _corrections() -> Any:
    """What is fitted to the phase and taken off."""
    known = {"ramp", "stratified"}
    return special([], "a list of ramp, stratified", lambda value: len(set(value)) == len(value) and known >= {*value})


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


@dataclass
class Named:
    """A choice by its name; what derives from it has further keys."""

    name: str = MISSING


@dataclass
class Data:
    """What every source of Cubes shares: where the data lies, and how it is fed to a model."""

    name: str = MISSING
    root: Any = _archives(MISSING)  # of one archive, or [of, several]
    bands: list[str] | None = distinct(None, least=1)  # that are read; None: the standard ones of the source
    derived: list[str] | None = distinct(None)  # derived features beside the bands; None: the model's own
    phase_sign: int | None = choice(None, 1, -1)  # of phase where snow grows; None: from the training windows
    wet_snow_db: float = number(WET_SNOW_DB, below=0, at_least=-30)  # change of backscatter below which snow is wet
    reference: str = "lowest_ground"  # of the phase: lowest_ground, none, or a vector file of polygons or points
    corrections: list[str] = _corrections()  # ramp (a plane), stratified (with elevation), fitted on stable ground
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
    in_memory: bool | None = (
        None  # read whole before the training; None: where it fills half of the free memory or less
    )


def _odd(default: int, at_most: int) -> Any:
    return special(
        default, f"an odd whole number from 1 to {at_most}", lambda value: 1 <= value <= at_most and value % 2 == 1
    )


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
    ignore: int | None = integer(None, at_least=-(2**31), at_most=2**31)  # a code of pixels that nobody looked at
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
    polarisations: list[str] = special(
        [], "a list of co_pol, cross_pol", lambda value: len(set(value)) == len(value) and {*value} <= {*POLARISATIONS}
    )  # that a patch must have
    bounds: list[float] | None = _bounds()  # of the middle of a patch; None: everywhere
    ranges: NaSarRanges = field(default_factory=NaSarRanges)
    time: int | None = choice(None, 1, 2)  # dates of an item, prime and secondary; None: the model's own
    batch_size: int = integer(64, at_least=1)  # items; a patch has two, its views
    workers: int = integer(2, at_least=0, at_most=256)  # processes that read, for each one that trains
    shuffle: int = integer(128, at_least=1)  # members whose order is drawn anew; each worker holds so many
    cache_gb: float | None = number(None, above=0)  # of copies of remote shards on this machine; None: no copies
    retries: int = integer(3, at_least=0, at_most=100)  # of what is remote


@dataclass
class Split(Named):
    """Arguments of every split; see `snowmap.data.splits`."""

    test: int = integer(7, at_least=1)  # windows at the end of the archive that are kept for the test


@dataclass
class Rolling(Split):
    """Training and validation windows alternate; see `snowmap.data.splits.rolling`."""

    train: int = integer(5, at_least=1)
    validation: int = integer(1, at_least=1)


@dataclass
class Winters(Split):
    """A whole winter validates; see `snowmap.data.splits.winters`."""

    fold: int = integer(1, at_least=0)  # which snow year of the archive validates


@dataclass
class HoldoutWinter(Named):
    """A whole winter tests; see `snowmap.data.splits.holdout_winter`."""

    winter: int | None = integer(None, at_least=1978)  # year in which it begins; null: the last whole one
    train: int = integer(5, at_least=1)
    validation: int = integer(1, at_least=1)


@dataclass
class Blocked(Split):
    """A block of windows validates; see `snowmap.data.splits.blocked`."""

    folds: int = integer(5, at_least=2)  # blocks before the test windows
    fold: int = integer(0, at_least=0)  # which of them validates
    gap: int = integer(1, at_least=0)  # windows between two subsets; at least as many as a sequence has


@dataclass
class Expanding(Blocked):
    """What lies before a block trains, the block validates; see `snowmap.data.splits.expanding`."""

    folds: int = integer(4, at_least=1)  # blocks that can validate; the first has the shortest past


@dataclass
class Spatial(Split):
    """A rectangle of the map is held out; see `snowmap.data.splits.spatial`."""

    rows: int = integer(2, at_least=1)  # rectangles from north to south
    columns: int = integer(2, at_least=1)  # rectangles from west to east
    fold: int = integer(0, at_least=0)  # which of them is held out, row by row
    buffer: int = integer(8, at_least=0)  # pixels around it of neither side; about what a net sees beside a pixel


@dataclass
class Regions(Named):
    """A whole archive tests, the others train; see `snowmap.data.splits.regions`."""

    holdout: Any = _holdout()  # which archive of data.root, by its number from 0 or its short name; null: the last
    train: int = integer(5, at_least=1)
    validation: int = integer(1, at_least=1)


@dataclass
class Scenes(Named):
    """Whole scenes validate and test; see `snowmap.data.area_splits.scenes`."""

    validation: Any = _scenes()  # a share of the scenes, drawn by the seed, or their names
    test: Any = _scenes()
    seed: int = _seed()


@dataclass
class Outlines(Named):
    """Outlines validate and test, with what is nearest to them; see `snowmap.data.area_splits.outlines`."""

    buffer: int = integer(8, at_least=0)  # pixels of neither side between two subsets
    validation: float = number(0.2, above=0, below=1)  # of the area
    test: float = number(0.2, above=0, below=1)
    seed: int = _seed()


@dataclass
class Blocks(Outlines):
    """Rectangles of each scene validate and test; see `snowmap.data.area_splits.blocks`."""

    rows: int = integer(4, at_least=1)  # rectangles from north to south
    columns: int = integer(4, at_least=1)  # rectangles from west to east


@dataclass
class Geography(Named):
    """Blocks of the Earth validate and test; see `snowmap.sources.na_sar.index.split_patches`."""

    degrees: float = number(2.0, at_least=0.01, at_most=90)  # height and width of a block
    buffer_km: float = number(10.0, at_least=0, at_most=1000)  # of neither side, around a block
    validation: float = number(0.1, above=0, below=1)  # of the patches
    test: float = number(0.1, above=0, below=1)
    seed: int = _seed()


@dataclass
class Target:
    """What to map."""

    names: list[str] = distinct(MISSING, least=1)


@dataclass
class UNet(Named):
    """Arguments of `snowmap.models.unet.UNet`."""

    channels: list[int] = _channels([16, 48, 96, 192])
    dropout: float = number(0.0, at_least=0, below=1)
    time: str = choice("single", "stack")
    steps: int = integer(6, at_least=1, at_most=1000)  # windows in the stack


@dataclass
class ConvLSTM(Named):
    """Arguments of `snowmap.models.convlstm.ConvLSTM`."""

    channels: list[int] = _channels([24, 48, 96])
    hidden: list[int] = _channels([96, 96])
    bidirectional: bool = False
    dropout: float = number(0.0, at_least=0, below=1)


@dataclass
class Transformer(Named):
    """Arguments of `snowmap.models.transformer.Transformer`."""

    channels: list[int] = _channels([24, 48, 96])
    heads: int = integer(4, at_least=1, at_most=256)
    layers: int = integer(2, at_least=1, at_most=64)
    dropout: float = number(0.0, at_least=0, below=1)


@dataclass
class UNet3D(Named):
    """Arguments of `snowmap.models.unet3d.UNet3D`."""

    channels: list[int] = _channels([16, 32, 64])
    collapse: str = choice("last_and_weights", "weights", "max")  # of time, at each skip
    dropout: float = number(0.0, at_least=0, below=1)


@dataclass
class SegmentationModel(Named):
    """Arguments of `snowmap.models.smp.SegmentationModel`."""

    architecture: str = "unet"  # as segmentation-models-pytorch calls it
    encoder: str = "resnet34"  # as segmentation-models-pytorch calls it
    weights: str | None = None  # a file with the encoder's state_dict
    time: str = choice("single", "stack")
    steps: int = integer(6, at_least=1, at_most=1000)  # windows in the stack


@dataclass
class MassBalance(Named):
    """Arguments of `snowmap.models.massbalance.MassBalance`."""

    channels: list[int] = _channels([8, 16, 24])
    hidden: int = integer(8, at_least=1, at_most=2048)


@dataclass
class MAE(Named):
    """Arguments of `snowmap.models.mae.MAE`."""

    patch: int = choice(16, 8)  # height and width of a token, px
    width: int = integer(192, at_least=4, at_most=8192)  # channels of a token
    depth: int = integer(12, at_least=1, at_most=64)
    heads: int = integer(3, at_least=1, at_most=256)


@dataclass
class Climatology(Named):
    """Arguments of `snowmap.baselines.remembered.Climatology`."""

    season_days: float = number(20.0, at_least=1, at_most=1000)  # training maps of the same weeks count most


class Persistence(Named):
    """`snowmap.baselines.remembered.Persistence`: the last-seen map, which needs a known past."""


@dataclass
class Elevation(Named):
    """Arguments of `snowmap.baselines.regressions.Elevation`."""

    degree: int = integer(3, at_least=1, at_most=8)  # of the polynomial


@dataclass
class DegreeDay(Named):
    """Arguments of `snowmap.baselines.degree_day.DegreeDay`."""

    pixels: int = integer(1000, at_least=1)  # drawn for the calibration: four numbers need no more


@dataclass
class InsarSwe(Named):
    """Arguments of `snowmap.baselines.insar_swe.InsarSwe`."""

    smoothing_pixels: float = number(3.0, at_least=0.1, at_most=1000)  # that stand in for an incoherent one


@dataclass
class BoostedTrees(Named):
    """Arguments of `snowmap.baselines.regressions.BoostedTrees`."""

    bands: list[str] | None = distinct(None, least=1)  # null: all of the archive
    derived: list[str] | None = distinct(None, least=1)  # null: season sums and date, as far as the bands allow


class BoostedTreesWithoutSar(Named):
    """`snowmap.baselines.regressions.BoostedTreesWithoutSar`: terrain and weather alone."""


class Otsu(Named):
    """`snowmap.baselines.class_series.Otsu`: two classes, by a threshold on the temporal mean."""


@dataclass
class RandomForest(Named):
    """Arguments of `snowmap.baselines.class_series.RandomForest`."""

    trees: int = integer(100, at_least=1, at_most=10_000)


class Terrain(Named):
    """`snowmap.baselines.class_ground.Terrain`: classes from elevation and slope alone."""


@dataclass
class LastInventory(Named):
    """Arguments of `snowmap.baselines.class_ground.LastInventory`."""

    path: str | None = None  # vector file of outlines, older than what is mapped


class Point(Named):
    """A value alone, trained by `loss`."""


@dataclass
class Gaussian(Named):
    """Arguments of `snowmap.tasks.heads.Gaussian`."""

    beta: float = number(0.5, at_least=0, at_most=1)  # 0: the likelihood itself; 1 weighs errors as mse does


class Quantile(Named):
    """Median and 50 and 90 % intervals, trained by the pinball loss."""


@dataclass
class Classes(Named):
    """Arguments of `snowmap.tasks.class_head.ClassHead`."""

    gamma: float = number(2.0, at_least=0, at_most=10)  # of loss=focal: how little easy pixels count
    class_weights: Any = _class_weights()  # of the loss; balanced: inverse to the share of the training pixels
    label_smoothing: float = number(0.0, at_least=0, below=1)  # share of each label that is dealt out to all classes


class Local(Named):
    """One job of a multirun after the other, in this process."""


@dataclass
class Joblib(Named):
    """Several jobs of a multirun at a time on this machine, each a command of its own."""

    jobs: int = integer(2, at_least=1, at_most=256)  # at a time; the cores are dealt out among them


@dataclass
class Slurm(Named):
    """Jobs of a multirun as one SLURM array, by submitit."""

    cluster: str = choice("slurm", "local")  # local: processes on this machine instead, to try it
    jobs: int = integer(16, at_least=1)  # at a time
    timeout_min: int = integer(240, at_least=1)
    signal_delay_s: int = integer(120, at_least=0)  # before the end, the job saves and queues again
    nodes: int = integer(1, at_least=1)
    cpus_per_task: int = integer(4, at_least=1)
    gpus_per_node: int | None = integer(1, at_least=0)
    mem_gb: int | None = integer(16, at_least=1)
    partition: str | None = None
    account: str | None = None
    setup: list[str] | None = _lines()  # lines of the batch script before the command, e.g. ["module load cuda"]
    sbatch: dict[str, Any] = field(default_factory=dict)  # further options of sbatch, e.g. {qos: long}


class NoSweep(Named):
    """A single run, or Hydra's own multirun."""


@dataclass
class OptunaSweep(Named):
    """A study of trials over `search`; see `snowmap.sweeps.study`."""

    trials: int = integer(30, at_least=1)  # in all; the same command in the same folder resumes the study
    timeout_s: float | None = number(None, at_least=0)  # after which no further trial begins
    pruner: str = choice("median", "none", "hyperband")  # which trials are ended early
    startup_trials: int = integer(8, at_least=0)  # drawn at random, from which the sampler and the pruner learn
    warmup_epochs: int = integer(10, at_least=0)  # before which no trial is ended early
    seed: int = _seed()  # of the sampler; `seed` is that of every trial


@dataclass
class Optimizer:
    """The learning rate rises over the warm-up, then falls as `schedule` says."""

    name: str = choice("adamw", "adam")
    learning_rate: float = number(2e-3, above=0, at_most=10)
    weight_decay: float = number(1e-2, at_least=0, at_most=100)
    schedule: str = choice("half_life", "cosine_restarts")  # halves again and again; or falls to 0, and begins anew
    warmup_steps: int = integer(50, at_least=0)
    half_life_steps: int = integer(200, at_least=1, at_most=10**9)  # no share of the run: a longer one keeps its curve
    restarts: list[int] = _restarts()  # epochs at which the cosine begins anew, the last at which it ends
    reference_batch: int | None = integer(None, at_least=1)  # items in a step that learning_rate is for; None: any
    layer_decay: float = number(1.0, above=0, at_most=1)  # of the rate, stage by stage from the head down; 1: the same


@dataclass
class Pretraining:
    """Masked pre-training on patches without targets; see `snowmap.tasks.pretraining`."""

    patch: int = choice(16, 8)  # height and width of what is masked together, px
    mask_ratio: float = number(0.75, above=0, below=1)  # share of these that the encoder does not see
    band_ratio: float = number(0.5, at_least=0, at_most=1)  # greatest share of the bands that are hidden besides
    width: int = integer(64, at_least=1, at_most=4096)  # channels of the decoder, which is thrown away
    checkpointing: bool = False  # compute the encoder's activations again in the backward pass, for less memory
    probe: int = integer(256, at_least=0, at_most=10_000)  # views of each subset for linear probes; 0: none


@dataclass
class Trainer:
    """Arguments of `pytorch_lightning.Trainer`."""

    accelerator: str = choice("cpu", "gpu", "cuda", "mps", "auto")
    devices: Any = _devices(1)
    num_nodes: int = integer(1, at_least=1)
    strategy: str = choice("auto", "ddp")
    precision: str = choice("32-true", "bf16-mixed", "16-mixed")
    max_epochs: int = integer(40, -1, at_least=1)
    max_steps: int = integer(-1, -1, at_least=1, at_most=10**9)
    max_time: str | None = _duration()
    accumulate_grad_batches: int = integer(1, at_least=1)
    gradient_clip_val: float | None = number(1.0, at_least=0)
    check_val_every_n_epoch: int = integer(1, at_least=1)
    log_every_n_steps: int = integer(10, at_least=1)
    overfit_batches: int | float = _batches(0.0, none=True)  # to train on again and again
    limit_train_batches: int | float | None = _batches(None)
    limit_val_batches: int | float | None = _batches(None)
    deterministic: bool = True
    benchmark: bool | None = None
    detect_anomaly: bool = False
    profiler: str | None = choice(None, "simple", "advanced", "pytorch")
    enable_progress_bar: bool = True


@dataclass
class Logger:
    """Where the curves go."""

    name: str = choice("csv", "tensorboard", "wandb", "none")
    project: str = "snowmap"
    mode: str | None = choice(None, "online", "offline")  # of wandb; None: online where there is a key
    group: str | None = None  # of wandb; None: the folder's name in a multirun
    tags: list[str] = distinct([])  # of wandb; none: sweep in a multirun
    maps: int = integer(3, at_least=0)  # validation windows that are drawn, the same ones each time
    maps_every: int = integer(10, at_least=1)  # epochs; and at the end


@dataclass
class Callbacks:
    """What watches the training."""

    patience: int | None = integer(15, at_least=1)  # validations without improvement; None: never stop
    ema: float | None = number(None, above=0, below=1)  # decay of a running mean of the weights, which is what is saved


@dataclass
class Scoring:
    """How maps are turned into numbers; see `snowmap.evaluation`."""

    snow_threshold_swe_mm: float = number(1000 * SNOW_DEPTH_M["swe"], above=0, at_most=10_000)  # snow from here on
    snow_threshold_hs_cm: float = number(100 * SNOW_DEPTH_M["hs"], above=0, at_most=10_000)  # snow from here on
    elevation_step_m: float = number(500.0, at_least=10, at_most=10_000)  # height of an elevation band
    aspect_directions: int = choice(8, 4)
    wet_snow_db: float = number(WET_SNOW_DB, below=0, at_least=-30)  # change of backscatter below which snow is wet
    level: float = number(0.9, above=0, below=1)  # nominal coverage of the confidence intervals


@dataclass
class TrainConfig:
    """All of `conf/train.yaml`."""

    data: Any = MISSING
    split: Any = MISSING
    target: Target = field(default_factory=Target)
    model: Any = MISSING
    head: Any = MISSING
    launcher: Any = MISSING
    sweep: Any = MISSING
    optimizer: Optimizer = field(default_factory=Optimizer)
    pretraining: Pretraining = field(default_factory=Pretraining)
    trainer: Trainer = field(default_factory=Trainer)
    logger: Logger = field(default_factory=Logger)
    callbacks: Callbacks = field(default_factory=Callbacks)
    scoring: Scoring = field(default_factory=Scoring)
    task: str = choice("regression", "segmentation", "pretraining")  # quantities, classes, or masked patches
    ablation: str = _ablation()  # bands that the net sees
    loss: str = choice(  # of head=point; the last four are of head=classes
        "mse", "mae", "huber", "cross_entropy", "focal", "dice", "lovasz"
    )
    ensemble: int = integer(1, at_least=1, at_most=100)  # nets that are trained side by side and map as one
    compile: bool = False  # the net, by torch.compile
    selection: str = choice("winter", "validation")  # what chooses the epoch: a whole winter, or the split's validation
    final_fit: bool = False  # the validation windows train, too, for the number of epochs that was chosen without them
    seed: int = _seed()
    ckpt: str | None = None  # a checkpoint to resume from
    init_from: str | None = None  # a checkpoint whose weights a new run begins with, as far as they fit
    freeze: str = choice("none", "encoder", "all_but_head")  # weights of init_from that stay as they are
    search: dict[str, Any] = field(default_factory=dict)  # of sweep=optuna: ranges or choices, by key
    evaluate: str = choice("test", "validation", "none")  # what the best checkpoint is scored on


@dataclass
class EvaluateData:
    """Where the archives are; everything else is in the checkpoint."""

    root: Any = _archives(None)  # None: what the checkpoint was trained on


@dataclass
class EvaluateConfig:
    """All of `conf/evaluate.yaml`."""

    ckpt: str = MISSING
    data: EvaluateData = field(default_factory=EvaluateData)
    split: str = choice("test", "train", "validation")  # the subset to score
    out: str | None = None  # None: beside the checkpoint's folder, evaluation/<split>
    device: str = "cpu"
    scoring: Scoring = field(default_factory=Scoring)


DATA: dict[str, type] = {
    "archive": Archive,
    "zarr": Zarr,
    "sar_stack": SarStack,
    "snowsar": SnowSar,
    "na_sar": NaSar,
}
"""Schema of each `data=`."""

BASELINES: dict[str, type] = {
    "climatology": Climatology,
    "persistence": Persistence,
    "elevation": Elevation,
    "degree_day": DegreeDay,
    "insar_swe": InsarSwe,
    "boosted_trees_no_sar": BoostedTreesWithoutSar,
    "boosted_trees": BoostedTrees,
    "otsu": Otsu,
    "random_forest": RandomForest,
    "terrain": Terrain,
    "last_inventory": LastInventory,
}
"""Schema of each `model=` that is no net."""

MODELS: dict[str, type] = {
    "unet": UNet,
    "convlstm": ConvLSTM,
    "transformer": Transformer,
    "unet3d": UNet3D,
    "massbalance": MassBalance,
    "smp": SegmentationModel,
    "mae": MAE,
    **BASELINES,
}
"""Schema of each `model=`."""

SPLITS: dict[str, type] = {
    "rolling": Rolling,
    "winters": Winters,
    "holdout_winter": HoldoutWinter,
    "blocked": Blocked,
    "expanding": Expanding,
    "spatial": Spatial,
    "scenes": Scenes,
    "blocks": Blocks,
    "outlines": Outlines,
    "regions": Regions,
    "geography": Geography,
}
"""Schema of each `split=`."""

HEADS: dict[str, type] = {"point": Point, "gaussian": Gaussian, "quantile": Quantile, "classes": Classes}
"""Schema of each `head=`."""

LAUNCHERS: dict[str, type] = {"local": Local, "joblib": Joblib, "slurm": Slurm}
"""Schema of each `launcher=`."""

SWEEPS: dict[str, type] = {"none": NoSweep, "optuna": OptunaSweep}
"""Schema of each `sweep=`."""

NAMED = {"data": DATA, "model": MODELS, "split": SPLITS, "head": HEADS, "launcher": LAUNCHERS, "sweep": SWEEPS}
"""Groups whose keys depend on the name chosen."""

OPTIONAL = ("experiment", "debug")
"""Groups of which nothing need be chosen."""

GROUPS = (
    *("task", "data", "split", "target", "model", "head", "trainer", "logger", "callbacks", "launcher", "sweep"),
    *OPTIONAL,
)
"""Folders of `conf/` with a file for each choice."""
