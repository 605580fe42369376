"""The configuration as users meet it: the real command line, and every file of conf/."""

import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from snowmap.config import check_config, check_overrides, known_keys, run_folder
from snowmap.errors import SnowmapError
from snowmap.schema import GROUPS, EvaluateConfig, Scoring, TrainConfig

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"


def composed(*overrides: str, name: str = "train"):
    folder = CONF / "evaluation" if name == "evaluate" else CONF
    with initialize_config_dir(str(folder), version_base="1.3"):
        return compose(name, overrides=list(overrides))


def checked(*overrides: str) -> dict:
    return check_config(composed(*overrides), TrainConfig)


FILES = [file for group in GROUPS for file in sorted((CONF / group).glob("*.yaml"))]


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}={file.stem}")
def test_every_file_composes_and_fits_the_schema(file):
    assert checked(f"{file.parent.name}={file.stem}")


def test_every_key_of_the_schema_can_be_typed_without_a_plus():
    def keys(node: dict, prefix: str = ""):
        for key, value in node.items():
            yield prefix + key
            if isinstance(value, dict) and key != "search":
                yield from keys(value, f"{prefix}{key}.")

    found: set[str] = set()
    for choice in ("logger=wandb", *(f"{file.parent.name}={file.stem}" for file in FILES)):
        found |= set(keys(OmegaConf.to_container(composed(choice))))
    assert found == set(known_keys(TrainConfig))


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("modle=unet", "'modle' is no key of the configuration; did you mean 'model'?"),
        ("trainer.max_epoch=3", "did you mean 'trainer.max_epochs'?"),
        ("+trainer.max_epoch=3", "did you mean 'trainer.max_epochs'?"),
        ("++data.rot=x", "did you mean 'data.root'?"),
        ("model.chanels=[8]", "did you mean 'model.channels'?"),
    ],
)
def test_a_misspelt_key_is_answered_with_the_nearest(override, told):
    with pytest.raises(SnowmapError) as caught:
        check_overrides([override], TrainConfig)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("trainer.max_epochs=abc", "trainer.max_epochs: Value 'abc' of type 'str' could not be converted to Integer"),
        ("loss=msee", "loss=msee is not possible; choose mse | mae | huber; did you mean 'mse'?"),
        ("evaluate=true", "evaluate=True is not possible; choose none | validation | test"),
        ("ablation=no_sra", "did you mean 'no_sar'?"),
        ("data.augment=spin", "choose none | flip"),
        ("model.channels=3", "model.channels"),
        (
            "+trainer.max_epoch=3",
            "'trainer.max_epoch' is no key of the configuration; did you mean 'trainer.max_epochs'?",
        ),
        ("model.name=vnet", "model.name=vnet is unknown; known are unet"),
        ("split.name=roling", "did you mean 'rolling'?"),
        ("data.time=0", "data.time=0: expected a number of windows from 1 on, season, or null"),
        ("data.time=sesaon", "data.time=sesaon"),
        ("data.crop=[3]", "expected [height, width]"),
        ("data.phase_sign=2", "expected 1, -1"),
        ("callbacks.ema=1.5", "expected a decay between 0 and 1"),
        ("scoring.elevation_step_m=0", "scoring.elevation_step_m=0.0: expected a number above 0"),
        ("scoring.snow_threshold_hs_cm=nan", "scoring.snow_threshold_hs_cm=nan: expected a number above 0"),
        ("scoring.aspect_directions=6", "scoring.aspect_directions=6: expected 4 or 8"),
        ("scoring.block_pixels=0", "scoring.block_pixels=0: expected a whole number from 1 on"),
        ("scoring.resamples=10", "expected a whole number from 100 on"),
        ("scoring.level=90", "scoring.level=90.0: expected a share between 0 and 1"),
    ],
)
def test_a_wrong_value_is_explained(override, told):
    with pytest.raises(SnowmapError) as caught:
        checked(override)
    assert told in str(caught.value)


def test_evaluate_needs_a_checkpoint():
    with pytest.raises(SnowmapError, match="ckpt"):
        check_config(composed(name="evaluate"), EvaluateConfig)
    assert check_config(composed("ckpt=a.ckpt", name="evaluate"), EvaluateConfig)["split"] == "test"


def test_scoring_is_checked_and_the_same_wherever_maps_are_scored():
    with pytest.raises(SnowmapError, match=r"scoring.level=1.0: expected a share"):
        check_config(composed("ckpt=a.ckpt", "scoring.level=1", name="evaluate"), EvaluateConfig)
    evaluated = check_config(composed("ckpt=a.ckpt", name="evaluate"), EvaluateConfig)
    assert evaluated["scoring"] == checked()["scoring"] == asdict(Scoring())


def test_groups_are_those_of_conf():
    assert {folder.name for folder in CONF.iterdir() if folder.is_dir()} == {*GROUPS, "evaluation", "hydra"}


def test_a_run_goes_on_where_it_lies(tmp_path):
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    checkpoint = run / "checkpoints" / "last.ckpt"
    assert run_folder(str(checkpoint), "new") == "new"
    (run / "config.yaml").touch()
    assert run_folder(str(checkpoint), "new") == str(run)
    assert run_folder(None, "new") == "new"


@pytest.mark.parametrize(("override", "told"), [("split.fold=1", "split"), ("model.heads=2", "model")])
def test_a_key_of_another_choice_is_explained(override, told):
    done = subprocess.run([sys.executable, str(ROOT / "train.py"), override], capture_output=True, text=True)
    key = override.partition("=")[0]
    assert f"'{key}' is no key of the {told}= that was chosen" in done.stderr
    assert "+" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [["--help"], ["trainer.max_epoch=3"], ["trainer.max_epochs=abc"], ["model=unett"]]
)
def test_help_and_mistakes_answer_without_torch_and_leave_nothing(tmp_path, arguments):
    code = (
        "import sys, runpy\n"
        "try:\n    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally:\n    print('torch' in sys.modules or 'xarray' in sys.modules, file=sys.stderr)"
    )
    program = f"import sys; sys.argv = [{str(ROOT / 'train.py')!r}, *sys.argv[1:]]\n{code}"
    done = subprocess.run([sys.executable, "-c", program, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert "False" in done.stderr
    assert "Traceback" not in done.stderr
    assert (done.returncode == 0) == (arguments == ["--help"])
    assert not list(tmp_path.glob("*/*/*"))


def test_help_is_one_page_that_names_every_choice():
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), "--help"], capture_output=True, text=True, check=True
    )
    assert len(done.stdout.splitlines()) < 50
    assert max(len(line) for line in done.stdout.splitlines()) <= 120
    for group in set(GROUPS) - {"data", "callbacks"}:
        (line,) = re.findall(rf"^  {group}= .*(?:\n {{8}} .*)?", done.stdout, flags=re.MULTILINE)
        for file in (CONF / group).glob("*.yaml"):
            assert re.search(rf"\b{file.stem}\b", line), file
    for key in re.findall(r"^  ([a-z_.]+)=", done.stdout, flags=re.MULTILINE):
        assert key.startswith("hydra.") or key in {*GROUPS, *known_keys(TrainConfig)}, key
