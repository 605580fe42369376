"""Cubes in Zarr: whole, by pieces of several processes, and refused where they are none."""

import re
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

from snowmap import open_zarr, write_zarr
from snowmap.cli import main
from snowmap.errors import SnowmapError
from snowmap.sources.zarr import create_zarr, finish_zarr, write_piece
from tests.cubes import make_cube

SHAPE = (40, 57)


@pytest.fixture(scope="module")
def cube() -> xr.Dataset:
    """Its dates have a time of day, which a store keeps."""
    made = make_cube(windows=5, shape=SHAPE)
    return made.assign_coords(start=made["start"] + np.timedelta64(1234567891, "ns"))


def assert_is(found: xr.Dataset, known: xr.Dataset) -> None:
    """The same to the bit, with attributes, types, CRS and transform."""
    assert found["features"].chunks
    xr.testing.assert_identical(found.load(), known)
    assert {name: values.dtype for name, values in found.variables.items()} == {
        name: values.dtype for name, values in known.variables.items()
    }
    assert list(found.data_vars) == list(known.data_vars)
    assert (found.rio.crs, found.rio.transform()) == (known.rio.crs, known.rio.transform())


@pytest.mark.parametrize("chunks", [None, {"window": 2, "y": 7}], ids=["in memory", "by dask"])
def test_what_is_written_comes_back_bit_for_bit(cube, tmp_path, chunks):
    store = write_zarr(cube.chunk(chunks) if chunks else cube, tmp_path / "cube.zarr", chunk=16)
    assert_is(open_zarr(store), cube)
    assert zarr.open_group(store)["features"].chunks == (1, 9, 16, 16)  # type: ignore[union-attr]


def _write(store: Path, number: int, first: int) -> None:
    piece = make_cube(windows=5, shape=SHAPE).isel(window=number, x=slice(first, first + 16))
    values = {name: piece[name].values for name in ("features", "hs", "swe")}
    write_piece(store, number, values, columns=slice(first, first + 16))


def test_processes_write_a_store_piece_by_piece(cube, tmp_path):
    nothing = {
        name: cube[name].copy(data=np.full(cube[name].shape, 9, np.float32)) for name in ("features", "hs", "swe")
    }
    store = create_zarr(cube.assign(nothing), tmp_path / "cube.zarr", chunk=16)
    assert not list(store.glob("features/c/**/*.*")), "values of the template were written"
    with pytest.raises(SnowmapError, match="unfinished"):
        open_zarr(store)
    with ProcessPoolExecutor(2, get_context("forkserver")) as pool:
        list(pool.map(_write, *zip(*[(store, w, x) for w in range(5) for x in range(0, 57, 16)], strict=True)))
    with pytest.raises(SnowmapError, match="0 to 17 are no whole chunks of 16"):
        write_piece(store, 0, {"mask": np.ones((40, 17), bool)}, columns=slice(0, 17))
    assert_is(finish_zarr(store), cube)


def test_no_cube_is_one_line(cube, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SnowmapError, match=r"empty is no Zarr store: it has no zarr\.json"):
        open_zarr(tmp_path / "empty")
    cube.drop_vars(["mask", "unit"]).to_zarr(tmp_path / "other.zarr", zarr_format=3, consolidated=False)
    with pytest.raises(SnowmapError, match=r"^[^\n]*other\.zarr: not a valid Cube: 'mask' is missing.*; 'unit'[^\n]*$"):
        open_zarr(tmp_path / "other.zarr")


def test_nothing_is_overwritten_or_half_written(cube, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    with pytest.raises(SnowmapError, match="never overwrites"):
        write_zarr(cube, tmp_path / "full")

    def fails(values: xr.DataArray) -> xr.DataArray:
        raise OSError(28, "No space left on device")

    lazy = cube.chunk({"window": 1})
    with pytest.raises(SnowmapError, match="no room on the disk"):
        write_zarr(lazy.assign(swe=lazy["swe"].map_blocks(fails, template=lazy["swe"])), tmp_path / "new.zarr")
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_snowmap_check_reads_a_store_window_by_window(cube, tmp_path, capsys):
    long = make_cube(windows=20)
    store = write_zarr(long, tmp_path / "cube.zarr", chunk=16)
    main(["check", str(store)])
    said = capsys.readouterr().out
    assert "split=rolling: 11 train, 2 validation, 7 test" in said
    assert f"study area: {int(long['mask'].sum())} of 204 px" in said
    chunk = next(path for path in (store / "features" / "c" / "3").rglob("*") if path.is_file())
    chunk.write_bytes(chunk.read_bytes()[:50])
    assert main(["check", str(store)]) == 1
    assert re.search(r"FAULT: .*'features' of window 3 cannot be read at rows \(0, 12\)", capsys.readouterr().out)
