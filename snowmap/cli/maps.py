"""Commands that make maps and work on them: `predict`, `export`, `basins`, `view`, `compare`."""

import argparse
import re
from pathlib import Path
from typing import Any

from snowmap.cli.options import add_cluster_options
from snowmap.errors import SnowmapError


def add_commands(commands: Any) -> None:
    """Add the parsers of the commands."""
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
    add_cluster_options(predict)
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
