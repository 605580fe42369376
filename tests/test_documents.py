"""Every command that the README and the docs show is run, as it stands there, in a folder like a fresh clone."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.archives import write_foreign_archive
from tests.commands import ROOT
from tests.hub_server import Hub, serve_hub
from tests.test_download import REPOSITORY, packed

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SHORTER = {"train": "debug=fast", "test": "tests/test_splits.py"}
"""What `make` is given as ARGS, so that the full training and all tests do not run inside of a test."""


def blocks(language: str) -> list[str]:
    return [
        block
        for document in DOCUMENTS
        for block in re.findall(rf"```{language}\n(.*?)```", document.read_text(), flags=re.DOTALL)
    ]


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """The project's files and a finished `.venv`, by links; what is written there stays there."""
    folder = tmp_path_factory.mktemp("clone")
    for name in (
        "Makefile",
        "pyproject.toml",
        "constraints.txt",
        "train.py",
        "evaluate.py",
        "conf",
        "snowmap",
        "tests",
    ):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").mkdir()
    for entry in Path(sys.prefix).iterdir():
        if entry.name != ".ready":
            (folder / ".venv" / entry.name).symlink_to(entry)
    (folder / ".venv" / ".ready").touch()
    return folder


@pytest.mark.slow
def test_every_command_runs(clone, tmp_path):
    write_foreign_archive(tmp_path / "Dataset_icip2026", windows=40, shape=(24, 32))
    with serve_hub(Hub(REPOSITORY, {"data.tar.gz": packed(tmp_path / "Dataset_icip2026")})) as hub:
        environment = {
            **os.environ,
            "PATH": f"{clone}/.venv/bin:{os.environ['PATH']}",
            "HF_ENDPOINT": hub.endpoint,
            "HF_HOME": str(tmp_path / "hub"),
            "HF_HUB_DISABLE_XET": "1",
        }
        for line in "".join(blocks("bash")).splitlines():
            words = line.split()
            arguments = SHORTER.get(words[1], "") if words[0] == "make" else ""
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", line],
                cwd=clone,
                env={**environment, "ARGS": arguments},
                capture_output=True,
                text=True,
                timeout=600,
            )
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    for block in blocks("python"):
        subprocess.run([sys.executable, "-c", block], cwd=clone, check=True, timeout=600)


def test_links_lead_somewhere():
    for document in DOCUMENTS:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_make_help_lists_every_target():
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("setup", "train", "evaluate", "test", "lint", "docs", "bench", "help"):
        assert re.search(rf"^{target} ", listed, flags=re.MULTILINE), target
