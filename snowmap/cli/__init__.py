"""The console command `snowmap`: archives, their maps, what can be done with maps, and the runs of a sweep.

What a command needs is imported when it runs: `snowmap --help` is there at once.
"""

import argparse
import io
import logging
import sys
from collections.abc import Sequence
from importlib.metadata import version

from snowmap.cli import archives, maps, runs
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
    for group in (archives, maps, runs):
        group.add_commands(commands)
    return parser
