"""NA-SAR: patches of radar over North America in WebDataset shards, for pre-training."""

from snowmap.sources.na_sar.datamodule import PatchDataModule
from snowmap.sources.na_sar.index import Patches, open_patches, split_patches
from snowmap.sources.na_sar.layout import BANDS
from snowmap.sources.na_sar.loader import Feeding, PatchLoader
from snowmap.sources.na_sar.reading import Members
from snowmap.sources.na_sar.stream import Fault, Opening

__all__ = [
    "BANDS",
    "Fault",
    "Feeding",
    "Members",
    "Opening",
    "PatchDataModule",
    "PatchLoader",
    "Patches",
    "open_patches",
    "split_patches",
]
