"""From the configuration to a fitted baseline, or to the two parts that a Trainer puts together."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch._dynamo
import xarray as xr

from snowmap.baselines import Baseline, build_baseline
from snowmap.checkpoints.provenance import made_by, metadata_of
from snowmap.data.ablation import plan_ablation
from snowmap.data.batch import CubeTensors
from snowmap.data.cube import narrowed, target_attributes, units_of, with_targets_inside
from snowmap.data.datamodule import SnowDataModule
from snowmap.data.features import DERIVED, refuse_unfit_bands
from snowmap.data.lazy import LazyTensors
from snowmap.data.preprocessing import Preprocessor
from snowmap.data.radar.phase import Phase, warn_of_snow
from snowmap.data.sequences import SEASON, check_time, history, longest_sequence
from snowmap.data.splits import check_reach
from snowmap.data.splits.split import Split
from snowmap.errors import SnowmapError
from snowmap.models import NETS, Net
from snowmap.sources.na_sar.datamodule import PatchDataModule
from snowmap.sources.na_sar.index import Patches
from snowmap.sources.na_sar.layout import BANDS, DATES, GROUPS
from snowmap.sources.na_sar.loader import Feeding
from snowmap.sources.na_sar.stream import Opening
from snowmap.tasks.pixel import SnowRegression
from snowmap.tasks.pretraining import Pretraining
from snowmap.tasks.transfer import say_transfer, starting_point, transfer

logger = logging.getLogger(__name__)


def fit_baseline(config: Mapping[str, Any], cubes: Sequence[xr.Dataset], splits: Sequence[Split]) -> Baseline:
    """The baseline that the configuration asks for, fitted on the training windows of the Cubes.

    Raises:
        SnowmapError: When the baseline cannot be built, or the Cube lacks what it needs.
    """
    baseline = build_baseline(config["model"])
    if len(cubes) > 1 and not baseline.learns_from_all:
        raise SnowmapError(
            f"model={baseline.name} is a baseline, which is of one grid; give data.root=… one archive, or a net"
        )
    baseline.metadata, phase = metadata_of(cubes, splits, config), Phase.of(config["data"])
    if "unwrapped_phase" in baseline.archive_bands:
        warn_of_snow(cubes[0], phase)
    (cube, train), *others = (
        (with_targets_inside(cube, split.train_area), split.train)
        for cube, split in zip(cubes, splits, strict=True)
        if split.train
    )
    return baseline.fit(cube, train, config["target"]["names"], phase, others)


def make_parts(
    config: Mapping[str, Any], cubes: Sequence[xr.Dataset], splits: Sequence[Split], chosen_by: str = ""
) -> tuple[SnowRegression, SnowDataModule]:
    """The task, fitted to the training windows, and the data module that feeds it, both by the configuration's seed.

    What the configuration leaves to the model (length of the sequences, derived features, supervised steps) is the
    net's.

    Args:
        config: The checked configuration.
        cubes: The Cubes to train on, of the same bands and targets.
        splits: Their windows.
        chosen_by: What chooses the epoch, in words.

    Raises:
        SnowmapError: When net, bands, sequences and archive do not fit each other.
    """
    data, targets = config["data"], list(config["target"]["names"])
    metadata = {**metadata_of(cubes, splits, config), "chosen_by": chosen_by}
    # of what only tests the training knows nothing but the name
    pairs = [(cube, split) for cube, split in zip(cubes, splits, strict=True) if split.train or split.validation]
    cubes, splits = zip(*pairs, strict=True)
    preprocessor = plan_preprocessor(config, [(cube, split) for cube, split in pairs if split.train])
    if preprocessor.reads_phase:
        for cube in cubes:
            warn_of_snow(cube, preprocessor.phase)
    dates = [(cube["start"].values, cube["end"].values) for cube in cubes]
    start, end = max(dates, key=lambda pair: longest_sequence(*pair))
    time = choose_time(config["model"], data["time"], start, end)
    source = starting_point(config, metadata)
    pl.seed_everything(config["seed"], workers=True, verbose=False)
    task = SnowRegression(
        model=config["model"],
        preprocessing=preprocessor.options,
        targets=target_attributes(cubes[0], targets),
        optimizer=config["optimizer"],
        freeze=config["freeze"],
        loss=config["loss"],
        head=config["head"],
        ensemble=config["ensemble"],
        time=time,
        metadata=metadata,
    )
    scenes = [task.preprocessor.scene(cube) for cube in cubes]
    tensors = [
        LazyTensors.of(task.preprocessor, scene, targets)
        if scene["features"].chunks
        else task.preprocessor.tensors(scene, targets)
        for scene in scenes
    ]
    fit_statistics(task, [part for part in zip(tensors, cubes, splits, strict=True) if part[2].train], data)
    check_reach(config["split"], time, task.net.reach)
    if not config["ckpt"]:
        task.net.take_pretrained()
    if source:
        say_transfer(transfer(source, task), metadata["weights_from"])
    if config["compile"]:
        compile_net(task.net)
    datamodule = SnowDataModule(
        cubes,
        tensors,
        splits,
        targets,
        time=time,
        maps_every_step=task.net.maps_every_step,
        supervise=choose_supervision(task.net, data["supervise"], data["time_jitter"]),
        batch_size=data["batch_size"],
        augment=data["augment"],
        crop_size=data["crop"],
        patches=data["patches"],
        class_share=data["class_share"],
        time_jitter=data["time_jitter"],
        resident_share=data["resident_share"],
        seed=config["seed"],
    )
    return task, datamodule


def plan_preprocessor(config: Mapping[str, Any], training: Sequence[tuple[xr.Dataset, Split]]) -> Preprocessor:
    """What the net sees of a Cube, by the configuration and the training windows.

    Args:
        config: The checked configuration.
        training: The Cubes that have training windows, with their splits.

    Raises:
        SnowmapError: When a band that the net needs is missing, or in another unit.
    """
    data, net, (cubes, splits) = config["data"], NETS[config["model"]["name"]], zip(*training, strict=True)
    bands = cubes[0]["band"].values.tolist()
    needed = [band for band in (*net.needs, *net.uses) if band in bands]  # others are derived, or missed by `build_net`
    refuse_unfit_bands(cubes[0], needed, f"model={config['model']['name']}")
    preprocessor = Preprocessor.plan(
        [(narrowed(cube, split.train_area), split.train) for cube, split in training],
        bands=[band for band in bands if band not in net.ignores],
        derived=choose_derived(net, data["derived"], bands),
        phase=Phase.of(data),
        wet_snow_db=data["wet_snow_db"],
        ablation=plan_ablation(config["ablation"], cubes, splits, config["seed"]),
    )
    if plan := preprocessor.ablation:
        changed = ", ".join([*plan["values"], *plan["shuffled"]])
        logger.warning("ablation=%s: the net does not see %s as they are", config["ablation"], changed)
    if preprocessor.phase.sign == -1 and preprocessor.reads_phase:
        logger.warning("the phase falls where snow is added (phase_sign=-1), as far as the training windows tell")
    return preprocessor


def fit_statistics(
    task: SnowRegression,
    training: Sequence[tuple[CubeTensors | LazyTensors, xr.Dataset, Split]],
    data: Mapping[str, Any],
) -> None:
    """Fit normalisation and head on the training windows inside the training areas.

    Args:
        task: The task.
        training: Tensors, Cube and split of each Cube that has training windows.
        data: The configuration's ``data`` group.
    """
    narrow = [
        (maps.narrowed_to(torch.from_numpy(narrowed(cube, split.train_area)["mask"].values)), cube, split)
        for maps, cube, split in training
    ]
    units = units_of(training[0][1])
    task.preprocessor.normalizer.fit(
        [(maps, _windows_read(split, cube["end"].values, task.time)) for maps, cube, split in narrow],
        data["clip_percentiles"],
        [band for band, unit in units.items() if unit == "dB"],
    )
    task.head.fit([(maps, split.train) for maps, _, split in narrow])


def make_pretraining(config: Mapping[str, Any], subsets: Mapping[str, Patches]) -> tuple[Pretraining, PatchDataModule]:
    """The task of a pre-training, and the data module that feeds it, both by the configuration's seed.

    Args:
        config: The checked configuration.
        subsets: From `snowmap.sources.na_sar.split_patches`.

    Raises:
        SnowmapError: When net, bands, dates and patches do not fit each other.
    """
    data = config["data"]
    net, bands = NETS[config["model"]["name"]], data["bands"] or list(BANDS)
    if unknown := [name for name in bands if name not in BANDS]:
        raise SnowmapError(f"data.bands: '{unknown[0]}' is none of {', '.join(BANDS)}")
    known = {name: BANDS[name] for name in bands if name not in net.ignores}
    preprocessor = Preprocessor([*known], wrapped=[name for name, quantity in known.items() if quantity.wrapped])
    time = choose_dates(config["model"], data["time"])
    attributes = next(iter(subsets.values())).attributes
    metadata = {
        "task": "pretraining",
        "units": {name: quantity.unit for name, quantity in known.items()},
        "long_names": {name: quantity.long_name for name, quantity in known.items()},
        "archives": [{**attributes, "split": {name: len(part) for name, part in subsets.items()}}],
        **made_by(config),
    }
    pl.seed_everything(config["seed"], workers=True, verbose=False)
    task = Pretraining(
        model=config["model"],
        preprocessing=preprocessor.options,
        optimizer=config["optimizer"],
        pretraining=config["pretraining"],
        groups=GROUPS,
        time=time,
        metadata=metadata,
    )
    task.preprocessor.normalizer.set_ranges(data["ranges"])
    task.net.checkpointing = config["pretraining"]["checkpointing"]
    if config["compile"]:
        compile_net(task.net)
        task.net.encode = torch.compile(task.net.encode)  # which is called alone
    opening = Opening(data["cache_gb"], data["retries"])
    feeding = Feeding(tuple(known), time, data["batch_size"], data["shuffle"], config["seed"], opening)
    return task, PatchDataModule(subsets, feeding, data["workers"])


def choose_dates(model: Mapping[str, Any], time: int | None) -> int:
    """Dates of a view that a net reads: 1, the secondary, or 2, the prime before it.

    Args:
        model: Name and options of the net.
        time: What is configured; None: the net's own, as far as there are dates.

    Raises:
        SnowmapError: When the net cannot work with them.
    """
    net, dates = NETS[model["name"]], len(DATES)
    fixed = net.fixed_time(model)
    if fixed and (fixed > dates or time not in (None, fixed)):
        raise SnowmapError(f"model.steps={fixed}, but a patch has {dates} dates; give model.steps={time or dates}")
    time = time or fixed or (dates if net.time == SEASON else min(int(net.time), dates))
    if time < net.minimum_time:
        raise SnowmapError(f"data.time={time}, but the net needs at least {net.minimum_time} dates")
    return time


def choose_derived(net: type[Net], derived: Sequence[str] | None, bands: Sequence[str]) -> list[str]:
    """The derived features: those that are given, else the net's own, as far as the bands of the Cube allow.

    Those that a net `needs` stay, so that what is missing is named where they are computed.
    """
    if derived is not None:
        return list(derived)
    return [name for name in net.derived if name in net.needs or set(DERIVED[name].needs) <= set(bands)]


def _windows_read(split: Split, end: np.ndarray, time: int | str) -> list[int]:
    """The windows whose bands give the statistics: those that training sequences read, without other subsets'."""
    others = {*split.validation, *split.test} - {*split.train}
    return sorted({step for window in split.train for step in history(end, window, time)} - others)


def choose_time(model: Mapping[str, Any], time: int | str | None, start: np.ndarray, end: np.ndarray) -> int | str:
    """The length of the sequences: `time`, else the net's own, which a short archive may cut.

    Args:
        model: Name and options of the net.
        time: What is configured.
        start: First day of each window of the archive that has the longest sequence.
        end: Last day of each window.

    Raises:
        SnowmapError: When the net cannot work with it, or the archive has no such sequence.
    """
    net = NETS[model["name"]]
    fixed = net.fixed_time(model)
    if time is None:
        time = fixed or (net.time if net.time == SEASON else min(int(net.time), longest_sequence(start, end)))
    if fixed and time != fixed:
        raise SnowmapError(f"data.time={time}, but the net reads stacks of {fixed}; give model.steps={time} instead")
    if time != SEASON and int(time) < net.minimum_time:
        raise SnowmapError(f"data.time={time}, but the net needs at least {net.minimum_time} windows")
    check_time(time, start, end)
    return time


def choose_supervision(net: Net, supervise: str, time_jitter: int = 0) -> str:
    """``last`` or ``every``.

    Raises:
        SnowmapError: When every step is to be supervised, but the net maps the target window alone, or steps move.
    """
    if time_jitter:
        if supervise == "every":
            raise SnowmapError("data.time_jitter=… moves the windows before the target; give data.supervise=last")
        return "last"
    if supervise == "every" and not net.maps_every_step:
        raise SnowmapError(
            "data.supervise=every, but this net maps the target window alone; choose data.supervise=last"
        )
    return ("every" if net.maps_every_step else "last") if supervise == "auto" else supervise


def compile_net(net: Net) -> None:
    """Compile in place, which keeps the names of the weights; what cannot be compiled runs as it is, with a warning."""
    torch._dynamo.config.suppress_errors = True  # PyTorch's own way back, which warns
    net.compile()
