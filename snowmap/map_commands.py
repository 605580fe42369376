"""The subcommands that work on maps already written: `snowmap basins` and `snowmap compare`."""

import argparse
import re
from pathlib import Path
from typing import Any

from snowmap.errors import SnowmapError


def add_map_commands(commands: Any) -> None:
    """Register them.

    Args:
        commands: What `argparse.ArgumentParser.add_subparsers` gave.
    """
    maps_help = "a predictions.nc, or a folder with one file for each window"

    basins = commands.add_parser("basins", help="mean, volume and snow-covered area of basins, window by window")
    basins.add_argument("predictions", type=Path, help=maps_help)
    basins.add_argument("outlines", type=Path, help="polygons in any vector file and any CRS, e.g. basins.gpkg")
    basins.add_argument("--name", help="column with the basins' names (default: one called name)")
    basins.add_argument("--out", type=Path, default=Path("basins.csv"), help="the table (default: %(default)s)")
    add_basin_options(basins)
    basins.set_defaults(run=_basins)

    compare = commands.add_parser("compare", help="compare maps with observations at stations")
    compare.add_argument("predictions", type=Path, help=maps_help)
    compare.add_argument("stations", type=Path, help="a table with the columns name, lon, lat, date and hs or swe")
    compare.add_argument("--out", type=Path, default=Path("comparison"), help="folder (default: %(default)s)")
    compare.add_argument("--days", type=int, default=6, help="days between observation and map (default: %(default)s)")
    compare.add_argument("--unit", help="unit of hs or swe where its column tells none (default: that of the maps)")
    compare.set_defaults(run=_compare)


def add_basin_options(parser: argparse.ArgumentParser) -> None:
    """The options that say how a basin's table is made."""
    parser.add_argument(
        "--snow-threshold",
        nargs="+",
        default=[],
        metavar="QUANTITY=DEPTH",
        help="depth above which a pixel is covered with snow (default: swe=10mm hs=5cm)",
    )
    parser.add_argument(
        "--correlation-length-km",
        type=float,
        help="how far errors go together; by default as the maps say, else all over the basin",
    )


def basin_options(asked: argparse.Namespace) -> dict[str, Any]:
    """What `add_basin_options` asked for, as keyword arguments of `snowmap.basins.basin_table`.

    Raises:
        SnowmapError: When a threshold or the length cannot be understood.
    """
    from snowmap.basins import SNOW_THRESHOLD_M
    from snowmap.units import metres_per

    thresholds = dict(SNOW_THRESHOLD_M)
    for word in asked.snow_threshold:
        match = re.fullmatch(r"(swe|hs)=([0-9.]+)\s*(\D.*)", word.lower())
        if match is None:
            raise SnowmapError(f"--snow-threshold {word} cannot be understood; expected e.g. swe=10mm or hs=5cm")
        thresholds[match[1]] = float(match[2]) * metres_per(match[3], match[1], "--snow-threshold")
    length = asked.correlation_length_km
    if length is not None and not length > 0:
        raise SnowmapError(f"--correlation-length-km {length:g} is no length; expected a number above 0")
    return {"snow_threshold_m": thresholds, "correlation_length_m": None if length is None else 1000 * length}


def _basins(asked: argparse.Namespace) -> int:
    from snowmap.basins import basin_table, print_basins, write_basins
    from snowmap.files import refuse_inputs
    from snowmap.outlines import read_outlines
    from snowmap.reading_maps import read_maps

    refuse_inputs(asked.out, asked.predictions, asked.outlines)
    maps = read_maps(asked.predictions)
    table = basin_table(maps, read_outlines(asked.outlines, asked.name), **basin_options(asked))
    write_basins(table, asked.out)
    print_basins(table, maps)
    print(f"the table lies in {asked.out}")
    return 0


def _compare(asked: argparse.Namespace) -> int:
    from snowmap.reading_maps import read_maps
    from snowmap.stations import compare_stations, print_scores

    maps = read_maps(asked.predictions)
    compared = compare_stations(maps, asked.stations, asked.out, days=asked.days, unit=asked.unit)
    print_scores(compared, maps)
    print(f"matches.csv, scores.csv and stations.png lie in {asked.out}")
    return 0
