"""Completion in the shell, as bash asks for it when the Tab key is pressed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import ROOT

ASK = """
eval "$(python train.py -sc install=bash)"
COMP_LINE="$1"; COMP_POINT=${#COMP_LINE}; COMP_WORDS=($COMP_LINE); COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
hydra_bash_completion
echo "${COMPREPLY[*]}"
"""


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("python train.py data.cr", "data.crop="),
        ("python train.py model=unet split=wi", "split=winters"),
        ("python evaluate.py ck", "ckpt="),
    ],
)
def test_the_tab_key_completes(typed, offered):
    found = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", ASK, "bash", typed], cwd=ROOT, env=found, capture_output=True, text=True)
    assert done.stdout.strip() == offered, done.stderr
