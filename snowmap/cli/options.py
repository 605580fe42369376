"""Options that several commands have."""

import argparse


def add_cluster_options(parser: argparse.ArgumentParser) -> None:
    """To deal the work to processes; see `snowmap.cluster.connect`."""
    parser.add_argument("--workers", type=int, metavar="N", help="deal the work to N processes (default: do it here)")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="deal it to a dask cluster, e.g. tcp://node:8786")
