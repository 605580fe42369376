"""Commands that make and check archives: `check`, `download`, `synthesize`, `build`."""

import argparse
from pathlib import Path
from typing import Any

from snowmap.cli.options import add_cluster_options
from snowmap.errors import SnowmapError


def add_commands(commands: Any) -> None:
    """Add the parsers of the commands."""
    check = commands.add_parser("check", help="report what an archive holds, and every fault in it")
    check.add_argument(
        "archive",
        type=Path,
        help="the folder that holds INSAR/, ITSNOW/, S3/ and master_mask.tif, a Zarr store, scenes of a SAR stack, or "
        "the shards of NA-SAR",
    )
    check.add_argument(
        "--bands",
        help="bands that every window must have, separated by commas; default: those of the archive",
    )
    check.add_argument("--targets", help="targets that every window must have; default: those of the archive")
    check.add_argument("--swe-unit", default="auto", choices=["auto", "cm", "mm"], help="default: found from SWE/HS")
    check.add_argument("--workers", type=int, metavar="N", help="processes that read shards (default: this one)")
    check.set_defaults(run=_check)

    download = commands.add_parser("download", help="fetch the public Trentino archive from the Hugging Face hub")
    download.add_argument("out", type=Path, nargs="?", default=Path("data"), help="folder (default: %(default)s)")
    download.add_argument("--repo", default="links-ads/insar-regional-snow-mapping", help="default: %(default)s")
    download.add_argument("--revision", default="main", help="branch, tag or commit (default: %(default)s)")
    download.set_defaults(run=_download)

    synthesize = commands.add_parser(
        "synthesize", help="write synthetic data: an archive, scenes of a SAR stack, or NA-SAR"
    )
    synthesize.add_argument("out", type=Path, help="the folder to write, e.g. data/synthetic/Dataset_icip2026")
    synthesize.add_argument(
        "--kind",
        default="archive",
        choices=["archive", "glaciers", "ice_cracks", "na_sar"],
        help="an archive in the same layout, scenes for data=sar_stack, or shards for data=na_sar (default: archive)",
    )
    synthesize.add_argument("--seed", type=int, default=0)
    synthesize.add_argument("--windows", type=int, default=64, help="number of 12-day windows (default: %(default)s)")
    synthesize.add_argument("--shape", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="pixels (default: 93 211)")
    synthesize.add_argument("--dem", type=Path, help="a raster of elevation in m, instead of fractal terrain")
    synthesize.add_argument(
        "--further", action="store_true", help="also precipitation, forest cover, layover and shadow"
    )
    synthesize.add_argument("--scenes", type=int, help="of glaciers and ice_cracks (default: 3, with a DEM 1)")
    synthesize.add_argument(
        "--dates", type=int, help="of each of these scenes (default: 15 of glaciers, 1 of ice_cracks)"
    )
    synthesize.add_argument("--outlines", type=Path, help="glaciers on the DEM, in any vector file")
    synthesize.add_argument("--looks", type=float, help="equivalent number of looks of their speckle")
    synthesize.add_argument("--patches", type=int, default=256, help="of na_sar, in all (default: %(default)s)")
    synthesize.add_argument("--shards", type=int, default=4, help="that hold them (default: %(default)s)")
    synthesize.add_argument("--corrupt", type=int, default=0, metavar="N", help="spoil N of them, to try what happens")
    synthesize.set_defaults(run=_synthesize)

    build = commands.add_parser("build", help="turn interferograms, weather and snow maps of a region into an archive")
    build.add_argument("recipe", type=Path, nargs="?", help="a YAML file, e.g. region.yaml")
    build.add_argument("out", type=Path, nargs="?", help="the folder to write; OUT.zarr for a Cube in Zarr")
    build.add_argument("--example", metavar="SOURCE", help="print a recipe with comments, e.g. for hyp3")
    add_cluster_options(build)
    build.set_defaults(run=_build)


def _check(options: argparse.Namespace) -> bool:
    from snowmap.sources.na_sar.layout import holds_patches
    from snowmap.sources.sar_stack.check import check_scenes, holds_scenes

    if holds_patches(options.archive):
        from snowmap.sources.na_sar.check import check_patches

        return check_patches(options.archive, options.workers)
    if holds_scenes(options.archive):
        return check_scenes(options.archive)
    from snowmap.sources.trentino.check import check_archive, print_report

    bands = options.bands.split(",") if options.bands else None
    targets = None if options.targets is None else [name for name in options.targets.split(",") if name]
    report = check_archive(options.archive, bands=bands, targets=targets, swe_unit=options.swe_unit)
    print_report(report)
    return bool(report.faults)


def _download(options: argparse.Namespace) -> bool:
    from snowmap.sources.trentino.check import check_archive, print_report
    from snowmap.sources.trentino.download import download

    root = download(options.out, repository=options.repo, revision=options.revision)
    report = check_archive(root)
    print_report(report)
    if not report.faults:
        print(f"\nthe archive lies in {root}\nnext: python train.py data.root={root}")
    return bool(report.faults)


def _synthesize(options: argparse.Namespace) -> None:
    if options.kind == "na_sar":
        _synthesize_patches(options)
        return
    if options.kind != "archive":
        _synthesize_scenes(options)
        return
    from snowmap.sources.synthetic import synthesize
    from snowmap.sources.trentino import write_archive

    shape = tuple(options.shape) if options.shape else None
    cube = synthesize(seed=options.seed, windows=options.windows, shape=shape, dem=options.dem, further=options.further)
    root = write_archive(cube, options.out)
    size = f"{cube.sizes['window']} windows of {cube.sizes['y']} × {cube.sizes['x']} px"
    print(f"a SYNTHETIC archive, {size}, lies in {root}")
    print(f"next: python train.py data.root={root}")


def _synthesize_scenes(options: argparse.Namespace) -> None:
    from snowmap.sources.synthetic.scenes import synthesize_cracks, synthesize_glaciers

    glaciers = options.kind == "glaciers"
    given = {key: getattr(options, key) for key in ("seed", "scenes", "dates", "looks")}
    given |= {"scenes": options.scenes or (1 if options.dem else 3), "dates": options.dates or (15 if glaciers else 1)}
    given["shape"] = tuple(options.shape) if options.shape else None
    if glaciers:
        pixels = synthesize_glaciers(options.out, **given, dem=options.dem, outlines=options.outlines)
    elif options.dem or options.outlines:
        raise SnowmapError("--dem and --outlines are of --kind glaciers; an ice shelf has none")
    else:
        pixels = synthesize_cracks(options.out, **given)
    name = "glacier" if glaciers else "crack"
    print(
        f"SYNTHETIC scenes: {given['scenes']} of {given['dates']} dates, {pixels:,} {name} pixels, lie in {options.out}"
    )
    split = "scenes" if given["scenes"] >= 3 else "blocks"
    print(f"next: python train.py data=sar_stack data.root={options.out} target={name} task=segmentation split={split}")


def _synthesize_patches(options: argparse.Namespace) -> None:
    from snowmap.sources.synthetic.na_sar import synthesize_na_sar

    given = {key: getattr(options, key) for key in ("seed", "patches", "shards", "corrupt")}
    for spoilt in synthesize_na_sar(options.out, **given):
        print(f"spoilt: {spoilt}")
    print(f"SYNTHETIC patches: {options.patches} in {options.shards} shards, lie in {options.out}")
    print(f"next: python train.py experiment=na_sar_pretraining data.root={options.out}")


def _build(options: argparse.Namespace) -> None:
    from snowmap.build.building import build, print_record
    from snowmap.build.example import example

    if options.example:
        print(example(options.example), end="")
        return
    if options.recipe is None or options.out is None:
        raise SnowmapError("snowmap build needs a recipe and a folder; `--example hyp3` prints a recipe")
    record = build(options.recipe, options.out, workers=options.workers, scheduler=options.scheduler)
    print_record(record, options.out)
    print(f"next: snowmap check {options.out}")
