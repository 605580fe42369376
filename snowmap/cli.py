"""The console command `snowmap`: archives, their maps, what can be done with maps, and the runs of a sweep."""

import argparse
import io
import logging
import re
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from snowmap.errors import SnowmapError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand.

    Args:
        arguments: The command line without the program's name; `sys.argv` by default.

    Returns:
        The exit status: 0, or 1 where the user has something to mend.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names that are no text in its encoding
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
    options = _parser().parse_args(arguments)
    try:
        return int(bool(options.run(options)))  # what a command finds faulty is its result
    except SnowmapError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("snowmap", description="Archives of InSAR, weather and snow rasters.")
    parser.add_argument("--version", action="version", version=f"snowmap {version('snowmap')}")
    commands = parser.add_subparsers(required=True, metavar="command")

    check = commands.add_parser("check", help="tell what an archive holds, and every fault in it")
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
    _add_cluster_options(build)
    build.set_defaults(run=_build)

    predict = commands.add_parser("predict", help="map the windows of an archive, with or without targets, to files")
    predict.add_argument("checkpoint", type=Path, help="a best.ckpt or last.ckpt")
    predict.add_argument(
        "archive", type=Path, help="the folder that holds INSAR/, S3/ and master_mask.tif, or a Zarr store, on any grid"
    )
    predict.add_argument("out", type=Path, help="folder for the files; those of the same name are replaced")
    predict.add_argument(
        "--windows",
        action="append",
        default=[],
        help="a window, e.g. 2021-01-09_to_2021-01-21, or a span FIRST..LAST of windows or dates; repeatable; "
        "default: all",
    )
    predict.add_argument("--tile", type=int, default=512, help="pixels on a side; smaller scenes are mapped whole")
    predict.add_argument("--overlap", type=int, default=64, help="pixels that tiles share (default: %(default)s)")
    predict.add_argument("--device", default="cpu", help="that predicts, e.g. cuda (default: %(default)s)")
    _add_cluster_options(predict)
    predict.add_argument("--format", default="both", choices=["netcdf", "geotiff", "both"], help="default: %(default)s")
    predict.add_argument("--basin", type=Path, help="outlines, e.g. basins.gpkg: writes basins.csv beside the maps")
    _add_basin_options(predict)
    predict.set_defaults(run=_predict)

    export = commands.add_parser("export", help="write a net as one file that PyTorch alone can run")
    export.add_argument("checkpoint", type=Path, help="a best.ckpt or last.ckpt of a net")
    export.add_argument("out", type=Path, help="the file to write, e.g. net.pt2")
    export.add_argument("--windows", type=int, help="in a season, for convlstm and massbalance (default: a whole year)")
    export.set_defaults(run=_export)

    maps_help = "a predictions.nc, or a folder with one file for each window"
    basins = commands.add_parser("basins", help="mean, volume and snow-covered area of basins, window by window")
    basins.add_argument("predictions", type=Path, help=maps_help)
    basins.add_argument("outlines", type=Path, help="polygons in any vector file and any CRS, e.g. basins.gpkg")
    basins.add_argument("--out", type=Path, default=Path("basins.csv"), help="the table (default: %(default)s)")
    _add_basin_options(basins)
    basins.set_defaults(run=_basins)

    view = commands.add_parser("view", help="write an archive, or predicted maps, as one page to explore in a browser")
    view.add_argument("path", type=Path, help=f"an archive, {maps_help}, or the folder of an evaluation")
    view.add_argument("--out", type=Path, help="the page (default: view-NAME.html)")
    view.add_argument(
        "--layers",
        default="",
        help="bands and targets, or targets of maps, separated by commas; default: all but further bands",
    )
    view.add_argument("--windows", action="append", default=[], help="as of predict (default: all)")
    view.set_defaults(run=_view)

    compare = commands.add_parser("compare", help="compare maps with observations at stations")
    compare.add_argument("predictions", type=Path, help=maps_help)
    compare.add_argument("stations", type=Path, help="a table with the columns name, lon, lat, date and hs or swe")
    compare.add_argument("--out", type=Path, default=Path("comparison"), help="folder (default: %(default)s)")
    compare.add_argument("--days", type=int, default=6, help="days between observation and map (default: %(default)s)")
    compare.add_argument("--unit", help="unit of hs or swe where its column names none (default: that of the maps)")
    compare.add_argument(
        "--missing", type=float, nargs="+", default=[], metavar="VALUE", help='values that mean "no value", e.g. 999'
    )
    compare.add_argument(
        "--height-difference",
        type=float,
        default=200.0,
        metavar="M",
        help="leave out stations whose height is further from that of their pixel, in m (default: %(default)g)",
    )
    compare.set_defaults(run=_compare)

    summarize = commands.add_parser("summarize", help="compare the runs of a sweep: over folds, or of an ablation")
    summarize.add_argument("sweep", type=Path, help="the folder of the sweep, with a run in each of its folders")
    summarize.set_defaults(run=_summarize)

    runs = commands.add_parser("runs", help="a table of all runs below a folder, sorted by a validation score")
    runs.add_argument("folder", type=Path, help="e.g. outputs; runs may lie in it at any depth")
    runs.add_argument(
        "--by", help="e.g. mae, r2, or swe.rmse where there are several targets (default: rmse, of classes iou)"
    )
    runs.add_argument("--each", action="store_true", help="a row for each run, not one for all seeds")
    runs.add_argument("--out", type=Path, help="folder for runs.csv, .json, .md and .png (default: the folder)")
    runs.set_defaults(run=_runs)
    return parser


def _add_cluster_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=int, metavar="N", help="deal the work to N processes (default: do it here)")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="deal it to a dask cluster, e.g. tcp://node:8786")


def _add_basin_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", help="column with the basins' names (default: one called name)")
    parser.add_argument(
        "--snow-threshold",
        nargs="+",
        default=[],
        metavar="QUANTITY=DEPTH",
        help="depth from which a pixel is covered with snow (default: swe=10mm hs=5cm)",
    )
    parser.add_argument(
        "--correlation-length-km",
        type=float,
        help="over which errors are correlated; by default as the maps say, else all over the basin",
    )


def _basin_options(options: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments of `snowmap.maps.basins.basin_table`."""
    from snowmap.units import SNOW_DEPTH_M, metres_per

    thresholds = dict(SNOW_DEPTH_M)
    for word in options.snow_threshold:
        match = re.fullmatch(r"(swe|hs)=(\d+\.?\d*|\.\d+)\s*([^\d.].*)", word.lower())
        if match is None or not float(match[2]):
            raise SnowmapError(f"--snow-threshold {word} cannot be understood; expected e.g. swe=10mm or hs=5cm")
        thresholds[match[1]] = float(match[2]) * metres_per(match[3], match[1], "--snow-threshold")
    length = options.correlation_length_km
    if length is not None and not 0 < length < float("inf"):
        raise SnowmapError(f"--correlation-length-km {length:g} is no length; expected a number above 0")
    return {"snow_threshold_m": thresholds, "correlation_length_m": None if length is None else 1000 * length}


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


def _predict(options: argparse.Namespace) -> None:
    from snowmap.maps.predict import predict_archive

    written = predict_archive(
        options.checkpoint,
        options.archive,
        options.out,
        windows=options.windows,
        tile=options.tile,
        overlap=options.overlap,
        device=options.device,
        form=options.format,
        basins=options.basin,
        name=options.name,
        basin_options=_basin_options(options),
        workers=options.workers,
        scheduler=options.scheduler,
    )
    print(f"{len(written)} files lie in {options.out}")


def _export(options: argparse.Namespace) -> None:
    from snowmap.tasks.export import export_program

    export_program(options.checkpoint, options.out, windows=options.windows)
    print(f"the program lies in {options.out}; its snowmap.json says what goes in and comes out")


def _basins(options: argparse.Namespace) -> None:
    from snowmap.files import refuse_inputs, write_whole
    from snowmap.maps.basins import basin_table, print_basins
    from snowmap.maps.read import read_maps
    from snowmap.products.outlines import read_outlines
    from snowmap.tables import as_csv

    refuse_inputs(options.out, options.predictions, options.outlines)
    maps = read_maps(options.predictions)
    table = basin_table(maps, read_outlines(options.outlines, options.name), **_basin_options(options))
    write_whole(options.out, as_csv(table))
    print_basins(table, maps)
    print(f"the table lies in {options.out}")


def _view(options: argparse.Namespace) -> None:
    from snowmap.maps.view import view

    layers = [name for name in options.layers.split(",") if name]
    print(f"the page lies in {view(options.path, options.out, layers, options.windows)}")


def _compare(options: argparse.Namespace) -> None:
    from snowmap.evaluation.stations import compare_stations, print_scores
    from snowmap.maps.read import read_maps

    maps = read_maps(options.predictions)
    scored = compare_stations(
        maps,
        options.stations,
        options.out,
        days=options.days,
        unit=options.unit,
        missing=options.missing,
        height_difference_m=options.height_difference,
    )
    print_scores(scored, maps)
    print(f"matches.csv, scores.csv, left_out.csv and stations.png lie in {options.out}")


def _summarize(options: argparse.Namespace) -> None:
    from snowmap.sweeps import summarize

    summarize(options.sweep)


def _runs(options: argparse.Namespace) -> None:
    from snowmap.sweeps.output import publish
    from snowmap.sweeps.runs_table import runs_table

    publish(runs_table(options.folder, options.by, options.each), options.out or options.folder)


if __name__ == "__main__":
    sys.exit(main())
