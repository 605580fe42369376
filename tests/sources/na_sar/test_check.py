"""`snowmap check` on NA-SAR: every fault of shards that other code wrote is named, and the good samples are counted."""

import shutil

import pyarrow.parquet as pq
import pytest

from snowmap.cli import main
from tests.shards import write_shards

FAULTS = {
    "text": "is no npz",
    "empty": "is no npz",
    "truncated": "is no whole npz",
    "flipped": "is no whole npz (",
    "lacks_key": "lacks coh_view_0",
    "other_shape": "has dem as float32 (1, 64, 64), not as floating-point numbers (1, 128, 128)",
    "nan": "has NaN or infinity in coh_view_1",
    "whole_numbers": "has dem as int16 (1, 128, 128), not as floating-point numbers (1, 128, 128)",
    "all_invalid": "has no value at any pixel",
    "decibels": "has prime_rtc_view_0 from ",
}


def checked(root, capsys, *words):
    """Exit status of `snowmap check`, and the lines that it printed."""
    capsys.readouterr()
    status = main(["check", str(root), *words])
    output = capsys.readouterr()
    return status, (output.out + output.err).splitlines()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp("whole") / "root"
    write_shards(root, shards=3, patches=2)
    return root


def test_whole_shards_are_fit(whole, capsys):
    status, lines = checked(whole, capsys)
    assert status == 0
    assert lines[-1].endswith("root: 6 of 6 samples are whole; fit to train on with data=na_sar")
    assert not any("FAULT" in line for line in lines)


def test_every_fault_is_named_and_the_whole_samples_are_counted(tmp_path, capsys):
    faults = dict(enumerate(FAULTS))
    write_shards(
        tmp_path / "root",
        shards=3,
        patches=8,
        faults=faults,
        absent={12: ("cross_pol",), 13: ("co_pol", "cross_pol")},
        leave_out=(11, 14),
        unlisted=(15,),
        cut={2: 100_000},
    )
    status, lines = checked(tmp_path / "root", capsys)
    found = [line for line in lines if line.startswith("FAULT: ")]
    for index, name in faults.items():
        start = f"FAULT: nasar-train-{index // 8:05d}.tar: patch_{index:08d} {FAULTS[name]}"
        assert sum(line.startswith(start) for line in found) == 1, start
    assert "FAULT: nasar-train-00001.tar: patch_00000013 has no backscatter at any pixel" in found
    assert "FAULT: nasar-train-00001.tar: patch_00000011 is not in the shard where the metadata has it" in found
    assert "FAULT: nasar-train-00001.tar ends too early: 1 samples are lost, from patch_00000014 on" in found
    assert "FAULT: nasar-train-00001.tar: patch_00000015.npz is not in the metadata" in found
    cut = [line for line in found if line.startswith("FAULT: nasar-train-00002.tar is cut short")]
    assert len(cut) == 1
    left = 8 - int(cut[0].split(": ")[2].split()[0])
    assert 0 < left < 8
    whole = len([10, 12]) + left
    assert lines[-1].startswith(f"{tmp_path}/root: {whole} of 23 samples are whole; {len(found)} faults")
    assert status == 1


def test_an_empty_shard_ends_nothing(copy, capsys):
    (copy / "data" / "nasar-train-00001.tar").write_bytes(b"")
    status, lines = checked(copy, capsys)
    assert status == 1
    assert any(
        "nasar-train-00001.tar is cut short or damaged (empty file): 2 samples are lost" in line for line in lines
    )
    assert lines[-1].startswith(f"{copy}: 4 of 6 samples are whole; 1 faults")


def test_shards_and_metadata_that_do_not_match(copy, capsys, caplog):
    """A shard that is not there is said, for some of them will do; one that the metadata lacks is a fault."""
    (copy / "data" / "nasar-train-00002.tar").rename(copy / "data" / "nasar-train-00009.tar")
    status, lines = checked(copy, capsys)
    assert status == 1
    assert "lacks 1 of the 3 shards that metadata.parquet names (nasar-train-00002.tar)" in caplog.text
    assert "FAULT: nasar-train-00009.tar: the metadata lists none of its samples" in lines
    assert lines[-1].startswith(f"{copy}: 4 of 4 samples are whole")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda root: (root / "metadata.parquet").unlink(), "metadata.parquet cannot be read"),
        (lambda root: (root / "metadata.parquet").write_bytes(b"PAR1"), "metadata.parquet is no whole Parquet file"),
        (lambda root: shutil.rmtree(root / "data"), "has none of the 3 shards that metadata.parquet names"),
        (lambda root: rewrite(root, lambda table: table.drop_columns(["sample_key"])), "has no column sample_key"),
        (
            lambda root: rewrite(
                root, lambda table: table.set_column(0, "sample_key", [[f"other_{row}" for row in range(len(table))]])
            ),
            "is of other shards: ",
        ),
        (lambda root: rewrite(root, lambda table: table.take([0, 0, 1])), "lists a sample of a shard twice"),
    ],
)
def test_metadata_that_cannot_serve_is_one_line(spoil, words, copy, capsys):
    spoil(copy)
    status, lines = checked(copy, capsys)
    assert status == 1
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert words in lines[0]


def rewrite(root, change):
    path = root / "metadata.parquet"
    pq.write_table(change(pq.read_table(path)), path)
