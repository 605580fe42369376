"""Files that are whole or not there, also on a disk that is full, and nothing of anybody else's that is touched."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from snowmap.errors import SnowmapError
from snowmap.files import WriteError, refuse_inputs, remove_unfinished, whole_folder, write_whole
from tests.commands import ROOT

PART = ".data.csv.0123456789ab.snowmap-part"
WRITER = """
import sys, time
from pathlib import Path
from snowmap.files import whole_folder
with whole_folder(Path(sys.argv[1])) as unfinished:
    print(unfinished, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def small_disk(tmp_path):
    """Runs a shell command where `disk` is a file system of 1 MB; gives status, stderr and the names left there."""
    disk = tmp_path / "disk"
    disk.mkdir()
    private, mount = ["unshare", "-rm", "sh", "-c"], f"mount -t tmpfs -o size=1m none {disk}"
    if not shutil.which("unshare") or subprocess.run([*private, mount], capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")

    def run(command: str) -> tuple[int, str, list[str]]:
        script = f"{mount} && ({command}) >/dev/null; status=$?; cd {disk} && find . -mindepth 1; exit $status"
        done = subprocess.run([*private, script], cwd=ROOT, capture_output=True, text=True)
        return done.returncode, done.stderr, done.stdout.splitlines()

    return disk, run


def test_an_older_file_is_replaced_whole_also_behind_a_link(tmp_path):
    path, link = tmp_path / "new" / "a.txt", tmp_path / "link.txt"
    assert write_whole(path, "ä") == path
    link.symlink_to(path)
    write_whole(link, memoryview(b"second"))
    assert link.is_symlink()
    assert path.read_bytes() == b"second"
    assert [entry.name for entry in path.parent.iterdir()] == ["a.txt"]


def test_a_device_is_written_to_and_never_replaced(tmp_path):
    with pytest.raises(WriteError, match=r"/dev/full cannot be written: no room on the disk at /dev .*No space left"):
        write_whole(Path("/dev/full"), b"x")
    assert Path("/dev/full").is_char_device()
    with pytest.raises(WriteError, match="Is a directory"):
        write_whole(tmp_path, b"x")


def test_files_of_a_folder_come_together_or_not_at_all(tmp_path):
    out = tmp_path / "out"

    def write(fail: bool, content: str) -> None:
        with whole_folder(out) as unfinished:
            write_whole(unfinished / "a.txt", content)
            write_whole(unfinished / "inner" / "b.txt", content)
            if fail:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write(True, "first")
    assert list(tmp_path.iterdir()) == []
    write(False, "first")
    shutil.rmtree(out / "inner")
    (out / "mine.txt").write_text("of the user")
    with pytest.raises(ZeroDivisionError):
        write(True, "second")
    assert (out / "a.txt").read_text() == "first"
    write(False, "second")
    assert sorted(path.name for path in out.iterdir()) == ["a.txt", "inner", "mine.txt"]
    assert (out / "a.txt").read_text() == (out / "inner" / "b.txt").read_text() == "second"


def test_a_file_of_another_program_is_not_replaced_by_one_of_several(tmp_path):
    (tmp_path / "runs.csv").write_text("mine")
    with (
        pytest.raises(SnowmapError, match=r"holds runs\.csv, but nothing else .*"),
        whole_folder(tmp_path) as unfinished,
    ):
        for name in ("runs.csv", "runs.md", "runs.png"):
            write_whole(unfinished / name, "ours")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("runs.csv", "mine")]


def test_only_what_this_program_left_unfinished_is_removed(tmp_path):
    kept = [".film.mkv.part", ".data.part/thesis.txt", "a.snowmap-part", ".a.b.snowmap-part", f"below/{PART}"]
    for name in (*kept, PART, f"{PART.replace('a', 'b', 1)}/half.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("content")
    link = tmp_path / ".link.0123456789ab.snowmap-part"
    link.symlink_to(tmp_path / "below")
    remove_unfinished(tmp_path)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file() or path.is_symlink()}
    assert left == {*kept, link.name}


def test_what_another_process_is_writing_stays_until_it_is_killed(tmp_path):
    writer = subprocess.Popen([sys.executable, "-c", WRITER, tmp_path / "out"], stdout=subprocess.PIPE, cwd=ROOT)
    unfinished = Path(os.fsdecode(writer.stdout.readline().strip()))
    remove_unfinished(tmp_path)
    assert unfinished.is_dir()
    writer.kill()
    writer.wait()
    with whole_folder(tmp_path / "out"):
        assert not unfinished.exists()


def test_what_is_read_is_not_written_over(tmp_path):
    (tmp_path / "basins.csv").write_text("mine")
    refuse_inputs(tmp_path / "new.csv", tmp_path / "basins.csv", None)
    with pytest.raises(SnowmapError, match=r"basins.csv is read by this command"):
        refuse_inputs(tmp_path / "basins.csv", None, tmp_path / "." / "basins.csv")


@pytest.mark.parametrize("inner", ["archive", "."])
def test_an_archive_on_a_full_disk_is_an_error_and_leaves_nothing(small_disk, inner):
    disk, run = small_disk
    status, said, left = run(f"{sys.executable} -m snowmap.cli synthesize {disk / inner} --windows 16")
    assert (status, left) == (1, []), said
    assert said.startswith(f"error: {disk / inner}/INSAR/"), said
    assert f"no room on the disk at {disk} (No space left on device)" in said
    assert "Traceback" not in said
