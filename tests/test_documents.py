"""Every command that the README and the docs show is run, as it stands there, in a folder like a fresh clone."""

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from snowmap.cli import main
from tests.build.region import write_region
from tests.commands import ROOT, begin, fork_jobs, succeed
from tests.hub_server import Hub, serve_hub
from tests.sources.trentino.test_download import REPOSITORY, packed

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SHORTER = {"train": "debug=fast evaluate=test", "test": "-n0 tests/test_units.py"}
"""What `make` is given as ARGS, so that the full training and all tests do not run inside of a test."""
SMALLER = {"data/synthetic/Dataset_icip2026": ("--windows", "40", "--shape", "24", "32")}
"""What `snowmap synthesize` is given for a folder in addition, for the same reason."""
SHORT = ("trainer.max_epochs=1", "split.test=2", "evaluate=none", "selection=validation")
"""What a new training is given in addition, for the same reason; `make train`, MINE and `evaluate.py` score."""
SHORT_PRETRAINING = ("model.channels=[4,8]", "data.batch_size=8", "data.workers=0")
"""The same of a pre-training."""
SHELL = re.compile(r"[|&;<>$()`]|\bsource\b|snowmap download")
"""Commands that need a shell or (the hub's client) an environment from their start."""
MINE = "python train.py hydra.run.dir=outputs/mine trainer.max_epochs=3"
"""The command of the README whose run other documents go on with."""


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", document.read_text(), flags=re.DOTALL)


WITH_COMMANDS = [document for document in DOCUMENTS if blocks(document, "bash") or blocks(document, "python")]


class Clone:
    """The project's files and a finished `.venv`, by links; what is written there stays there."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        outside = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
        self.environment = {**outside, "PATH": f"{folder}/.venv/bin:{os.environ['PATH']}", **environment}
        folder.mkdir()
        for entry in ROOT.iterdir():
            if entry.name not in (".git", ".venv", "data", "outputs", "site"):
                (folder / entry.name).symlink_to(entry)
        (folder / ".venv").mkdir()
        for entry in Path(sys.prefix).iterdir():
            if entry.name != ".ready":
                (folder / ".venv" / entry.name).symlink_to(entry)
        (folder / ".venv" / ".ready").touch()

    def run(self, line: str, *more: str) -> None:
        """Run a command: in this process, which spares it seconds of imports, unless the process matters.

        Args:
            line: As it stands in the document.
            more: What a training is given instead of SHORT.
        """
        program, *words = shlex.split(line)
        if line == "make train":
            for step in self._in_a_shell("make --dry-run train", SHORTER["train"]).splitlines():
                self.run(step.removeprefix(".venv/bin/"))
        elif SHELL.search(line) or program not in ("python", "snowmap"):
            self._in_a_shell(line, SHORTER.get(words[0], "") if program == "make" else "")
        elif program == "snowmap":
            with self._inside():
                assert main([*words, *SMALLER.get(words[1], ())]) == 0, line
        elif "launcher=joblib" in words:
            process = begin("train.py", *words[1:], *SHORT, before=partial(fork_jobs, self.folder))
            said = process.communicate()[0]
            assert process.returncode == 0, f"{line}\n{said}"
        else:
            more = more or self._shorter(line, words)
            with self._inside():
                succeed(self.folder / words[0], *words[1:], *more)

    def _shorter(self, line: str, words: Sequence[str]) -> list[str]:
        """What of SHORT, and for a pre-training beside it, such a line of `python` is given in addition."""
        if words[0] != "train.py" or line == MINE or re.search(r" (-sc|--\w+)", line):
            return []
        typed = {word.partition("=")[0] for word in words}
        kept = typed & {"evaluate"} | ({"trainer.max_epochs", "split.test"} if "ckpt" in typed else set())
        pretraining = "experiment=na_sar_pretraining" in words
        kept |= {"split.test"} if pretraining or "split=holdout_winter" in words else set()
        short = [word for word in SHORT if word.partition("=")[0] not in kept]
        return [*short, *(SHORT_PRETRAINING if pretraining else ())]

    def run_python(self, block: str) -> None:
        with self._inside():
            exec(block, {"__name__": "__main__"})

    @contextlib.contextmanager
    def _inside(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            yield

    def _in_a_shell(self, line: str, arguments: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line],
            cwd=self.folder,
            env={**self.environment, "ARGS": arguments},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def archive(foreign_archive) -> Path:
    return foreign_archive(40, (24, 32))


@pytest.fixture(scope="module")
def begun(archive, tmp_path_factory) -> Clone:
    """A clone in which the README's archive and run lie already; one for all documents that a process tests."""
    clone = Clone(tmp_path_factory.mktemp("begun") / "clone")
    shutil.copytree(archive, clone.folder / "data" / archive.name)
    write_region(clone.folder, pairs=13)  # the products of docs/your-region.md
    clone.run(MINE, "trainer.max_epochs=1", "selection=validation")
    return clone


@pytest.mark.slow
@pytest.mark.parametrize("document", WITH_COMMANDS, ids=lambda path: path.relative_to(ROOT).as_posix())
@pytest.mark.usefixtures("forked_workers")
def test_every_command_runs(document, archive, tmp_path, request):
    if document.name == "README.md":
        with serve_hub(Hub(REPOSITORY, {"data.tar.gz": packed(archive)})) as hub:
            fresh = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hub"), "HF_HUB_DISABLE_XET": "1"}
            run_all(document, Clone(tmp_path / "clone", **fresh))
    else:
        run_all(document, request.getfixturevalue("begun"))


def run_all(document: Path, clone: Clone) -> None:
    for line in "".join(blocks(document, "bash")).splitlines():
        clone.run(line)
    for block in blocks(document, "python"):
        clone.run_python(block)


def test_the_run_of_other_documents_is_that_of_the_readme():
    assert MINE in "".join(blocks(ROOT / "README.md", "bash")).splitlines()


def test_links_lead_somewhere():
    for document in DOCUMENTS:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_make_help_lists_every_target():
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("setup", "train", "evaluate", "test", "lint", "docs", "bench", "help"):
        assert re.search(rf"^{target} ", listed, flags=re.MULTILINE), target
