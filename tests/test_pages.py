"""What the pages and the files beside them say of the package is so: diagrams, numbers, keys, versions."""

import importlib.util
import re
from dataclasses import fields
from importlib.metadata import version
from types import ModuleType

import pytest
import yaml

from snowmap.baselines import BASELINES
from snowmap.config.schema import EvaluateConfig, TrainConfig
from snowmap.data.cube import quantities_of
from snowmap.data.features import with_derived
from snowmap.data.normalize import Normalizer
from snowmap.models import NETS, Specification, build_net
from snowmap.sources.trentino.layout import RASTER_NAMES
from snowmap.sources.trentino.quantities import STANDARD_BANDS
from tests.commands import ROOT
from tests.cubes import make_cube

DOCS = ROOT / "docs"


def script(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_shapes_of_every_folder_that_has_them_are_checked_while_the_tests_run(pytestconfig):
    checked = pytestconfig.getoption("jaxtyping_packages").split(",")
    modules = [path for path in ROOT.glob("snowmap/*/*.py") if "from jaxtyping import" in path.read_text()]
    assert {*checked} >= {f"snowmap.{path.parent.name}" for path in modules}


def test_diagrams_are_those_that_the_script_draws(tmp_path):
    draw = script("draw_models")
    assert set(draw.DIAGRAMS) <= {*NETS, *BASELINES}
    draw.main(tmp_path)
    for path in tmp_path.iterdir():
        kept = DOCS / "pictures" / path.name
        assert kept.read_text() == path.read_text(), f"{kept}: run `python docs/draw_models.py`"


def test_the_table_of_retrievals_is_that_of_its_script():
    assert script("compare_retrievals").table() in (DOCS / "data.md").read_text(), "python docs/compare_retrievals.py"


def test_the_table_of_speckle_filters_is_that_of_its_script():
    """Scikit-image, which is not installed here, adds rows; the page has them all."""
    page = (DOCS / "despeckling.md").read_text()
    missing = [row for row in script("compare_despeckling").table(iterations=(4,)).splitlines() if row not in page]
    assert not missing, "python docs/compare_despeckling.py"


COUNTED = re.findall(r"^\| `([^`]+)` \| ([\d,]+) \|", (DOCS / "models.md").read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize(("typed", "count"), COUNTED)
def test_the_models_page_counts_parameters(typed, count):
    name, *words = typed.split()
    net, words = NETS[name], dict(word.removeprefix("model.").split("=") for word in words)
    cube = with_derived(make_cube(), net.derived)
    bands = [band for band in cube["band"].values.tolist() if band not in net.ignores]
    channels = Normalizer(bands, [band for band in bands if quantities_of(cube)[band].wrapped]).channels
    model = yaml.safe_load((ROOT / "conf" / "model" / f"{name}.yaml").read_text())["model"] | words
    built = build_net(model, Specification(channels, tuple(bands), {"swe": "cm"}))
    assert f"{sum(parameter.numel() for parameter in built.parameters()):,}" == count


def test_the_data_page_has_every_band_of_the_public_archive():
    page = (DOCS / "data.md").read_text()
    for name, quantity in STANDARD_BANDS.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
        assert RASTER_NAMES[name].folder in row
        words = re.findall("`([^`]+)`", row)[2]
        assert RASTER_NAMES[name].pattern.fullmatch(words.replace("*", "x"))
        bounds = row.split("|")[-2].replace("−", "-").replace("π", "3.1416").split("…")
        assert [float(bound) for bound in bounds] == [quantity.valid_min, quantity.valid_max]


def test_the_configuration_page_gets_every_key():
    tables = script("hooks").on_page_markdown((DOCS / "configuration.md").read_text())
    assert "<!-- keys" not in tables
    for key in ("data.bands", "trainer.max_epochs", "split.gap", "model.hidden", "head.beta", "ckpt", "scoring.level"):
        assert f"| `{key}` |" in tables
    assert "| `data.strict` | `false` | an incomplete window is an error instead of a named exclusion |" in tables
    parts = [entry.name for config in (TrainConfig, EvaluateConfig) for entry in fields(config)]
    assert all(f"`{name}" in tables for name in parts)


def test_the_citation_is_whole_and_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)  # what CFF 1.2.0 asks for
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert citation["authors"] == [{"name": "The snowmap developers"}]
    assert citation["version"] == version("snowmap")
    assert citation["license"] == "MIT"


def test_the_changelog_begins_with_what_is_not_released_and_names_this_version():
    heads = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert heads[0] == "Unreleased"
    assert version("snowmap") in heads
