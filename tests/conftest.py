"""Fixtures that more than one test file uses."""

import gc
from collections.abc import Callable, Iterator
from functools import cache
from multiprocessing import forkserver
from pathlib import Path

import pytest

gc.set_threshold(50_000, 20, 100)  # at the default's 700 the collector takes a tenth of the time


def pytest_collection_finish() -> None:
    """Keep the collector from what was imported, which stays."""
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest test, that of the README, so that no process has it alone at the end."""
    items.sort(key=lambda item: item.name != "test_every_command_runs[README.md]")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real rasters beside the project; tests that need it are skipped elsewhere."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real rasters (../shared/data) are not on this machine")
    return folder


@pytest.fixture(scope="session")
def foreign_archive(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, tuple[int, int]], Path]:
    """`write_foreign_archive` by windows and shape: each is written once, for tests that change nothing in it."""

    from tests.archives import write_foreign_archive  # libraries that few tests need

    @cache
    def written(windows: int, shape: tuple[int, int]) -> Path:
        root = tmp_path_factory.mktemp("foreign") / "Dataset_icip2026"
        write_foreign_archive(root, windows=windows, shape=shape)
        return root

    return written


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the tests out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SNOWMAP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="session")
def _forkserver_ends() -> Iterator[None]:
    """Wait for the processes of `tests.commands.begin`; else their time would not count as that of the tests."""
    yield
    forkserver._forkserver._stop()


@pytest.fixture
def forked_workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Local workers of dask are such processes, too: copies of one that has done its imports."""
    import dask.config  # libraries that few tests need
    import distributed.utils

    from tests.commands import PRELOADED

    forkserver.set_forkserver_preload([*PRELOADED])
    monkeypatch.setattr(distributed.utils, "_forkserver_preload_set", True)  # dask would set its own
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        yield
