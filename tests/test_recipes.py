"""The diffs of docs/recipes.md: each applies to the project as it is, and the commands under it run."""

import os
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.archives import raster_path, window_dates, write_foreign_archive, write_stack
from tests.commands import ROOT, begin

TOGETHER = """
import sys
import pytest
from tests.commands import succeed
once = []  # jaxtyping's hook stays for the tests that follow, and cannot be set twice
for line in sys.argv[1:]:
    python, *words = line.split()
    assert python == "python"
    if words[:2] == ["-m", "pytest"]:
        assert pytest.main([*words[2:], *once]) == 0, line
        once = ["--jaxtyping-packages="]
    else:
        print(succeed(*words))
"""
"""Runs command lines that begin with `python` in one process."""

PAGE = (ROOT / "docs" / "recipes.md").read_text()
COMMANDS = {
    re.findall(r"docs/recipes/(\w+)\.diff", block)[0]: block.splitlines()
    for block in re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL)
}
WINDOWS = 20


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A copy of what git would commit, so that a diff can be tried before it is committed."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True
    )
    if listed.returncode:
        pytest.skip("not a checkout of git")
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / "copy" / name)
    return tmp_path / "copy"


def write_archive_with_more(root: Path) -> None:
    """The usual archive, and the files that the recipes for a band and a target ask for."""
    write_foreign_archive(root, windows=WINDOWS, shape=(24, 32))
    (root / "ITSNOW" / "DENSITY").mkdir()
    for start, end in window_dates(WINDOWS):
        shutil.copy(raster_path(root, "coherence", start, end), root / f"S3/{start}_{end}_snowCover.tif")
        hs = raster_path(root, "hs", start, end)
        shutil.copy(hs, root / f"ITSNOW/DENSITY/{start}_to_{end}_density.tif")


def test_every_diff_stands_on_the_page():
    assert {path.stem for path in (ROOT / "docs" / "recipes").glob("*.diff")} == set(COMMANDS)
    for name in COMMANDS:
        assert f'--8<-- "docs/recipes/{name}.diff"' in PAGE


def enter(checkout: Path) -> None:
    """Take the packages of the checkout, in a process that may have imported those of this one."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("snowmap", "tests")]:
        del sys.modules[name]
    sys.path[:] = [str(checkout), *(entry for entry in sys.path if entry not in ("", str(ROOT)))]
    os.chdir(checkout)


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipes",
    # one process of several recipes spares imports; the archives of others lack the files of a further target
    [[name for name in COMMANDS if name != "target"], ["target"]],
    ids="-".join,
)
def test_each_recipe_applies_alone_and_its_commands_run(recipes, checkout):
    write_archive_with_more(checkout / "data" / "Dataset_icip2026")
    write_stack(checkout / "data" / "stack.nc", WINDOWS)
    # else `git apply` passes over files of an outer repository
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(checkout.parent)}
    commands = [COMMANDS[name] for name in recipes]
    applies = [apply.split() for apply, *_ in commands]
    for words in (*([*words, "--check"] for words in applies), *applies):
        done = subprocess.run(words, cwd=checkout, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{words}\n{done.stderr}"
    (checkout / "together.py").write_text(TOGETHER)
    lines = [line for _, *lines in commands for line in lines]
    process = begin(checkout / "together.py", *lines, before=partial(enter, checkout))
    said = process.communicate(600)[0]
    assert process.returncode == 0, f"{lines}\n{said}"
    assert all(any("pytest" in line for line in lines) for lines in commands)
    assert len(re.findall(r"\d+ passed", said)) == len(commands), said
