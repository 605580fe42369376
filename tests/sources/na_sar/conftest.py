import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from snowmap.config.sources import NaSar
from snowmap.sources.na_sar.index import Patches, open_patches
from snowmap.sources.na_sar.loader import Feeding, PatchLoader
from tests.shards import write_shards

SHARDS, EACH = 3, 5


@pytest.fixture(scope="session")
def whole(tmp_path_factory) -> Path:
    """Three sound shards of five patches each."""
    root = tmp_path_factory.mktemp("na_sar") / "whole"
    write_shards(root, SHARDS, EACH)
    return root


@pytest.fixture
def copy(whole, tmp_path) -> Path:
    """The sound shards of a module, to be spoilt."""
    return shutil.copytree(whole, tmp_path / "root")


def opened(root: Path | str, **keys: Any) -> Patches:
    """The patches with the defaults of the configuration but for some keys."""
    return open_patches(vars(NaSar(root=str(root))) | keys)


@pytest.fixture(scope="session")
def loader() -> Callable[..., PatchLoader]:
    """A loader of all patches of a root, in small batches and groups."""

    def make(root: Path | str | Patches, workers: int = 0, processes: tuple[int, int] = (1, 0), **keys: Any):
        patches = root if isinstance(root, Patches) else opened(root)
        return PatchLoader(
            patches, Feeding(**{"batch_size": 3, "shuffle": 2, **keys}), workers, processes, shuffle=True
        )

    return make
