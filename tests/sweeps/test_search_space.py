"""Search spaces: those that stand beside the models, and mistakes in one's own."""

from dataclasses import fields

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from snowmap.config.models import MODELS
from snowmap.errors import SnowmapError
from snowmap.models import NETS, Specification, build_net
from snowmap.sources.trentino.quantities import STANDARD_BANDS
from snowmap.sweeps.search_space import changed, distribution, distributions, value_of
from tests.config.test_checking import checked

SEARCHED = [name for name, kind in MODELS.items() if len(fields(kind)) > 1 and name != "last_inventory"]
"""Those with options to search; of a file there is nothing to search."""


@pytest.mark.parametrize("name", [*SEARCHED])
def test_the_search_space_of_every_model_can_be_run(name):
    config = checked(f"model={name}", "sweep=optuna")
    assert config["search"]
    space = distributions(config["search"], config)
    for key, entry in config["search"].items():
        drawn = space[key]
        if "choices" in entry:
            assert [value_of(entry, label) for label in drawn.choices] == entry["choices"]
        if name in NETS and key.startswith("model."):
            for value in entry.get("choices", [entry.get("low"), entry.get("high")]):
                model = changed(config, {key: value})["model"]
                assert build_net(model, Specification(4, (*STANDARD_BANDS, *NETS[name].derived), {"swe": "cm"}))


def test_a_single_run_knows_nothing_of_it():
    assert "search" not in checked("model=unet")
    assert "search" not in changed(checked("sweep=optuna"), {"loss": "mae"})


def test_ends_tell_what_is_drawn():
    assert distribution({"low": 1, "high": 4}) == IntDistribution(1, 4)
    assert distribution({"low": 4, "high": 16, "step": 4}) == IntDistribution(4, 16, step=4)
    assert distribution({"low": 1e-3, "high": 1, "log": True}) == FloatDistribution(1e-3, 1, log=True)
    assert distribution({"low": 0.0, "high": 0.4, "step": 0.1}) == FloatDistribution(0, 0.4, step=0.1)
    assert distribution({"choices": [None, 0.9]}) == CategoricalDistribution([None, 0.9])
    assert distribution({"choices": [[8, 16], [8]]}) == CategoricalDistribution(["[8,16]", "[8]"])


@pytest.mark.parametrize(
    ("key", "entry", "error"),
    [
        ("optimizer.learning_rat", {"low": 1e-3, "high": 1e-2}, "did you mean 'optimizer.learning_rate'?"),
        ("model.hidden", {"low": 1, "high": 2}, "the search space of model=unet: 'model.hidden' is no key"),
        ("seed", {"low": 0, "high": 9}, "'seed' must be the same in all trials"),
        ("split.test", {"low": 1, "high": 9}, "'split.test' must be the same in all trials"),
        ("sweep.trials", {"low": 1, "high": 9}, "must be the same in all trials"),
        ("model.channels", {"choices": [[8], "x"]}, "model.channels"),
        ("loss", {"choices": ["mse", "mea"]}, "loss=mea: expected mse"),
        ("callbacks.ema", {"low": 0.9, "high": 1.5}, "callbacks.ema=1.5: expected a number > 0"),
        ("optimizer.warmup_steps", {"low": 0.5, "high": 9}, "optimizer.warmup_steps"),
        ("loss", {"choices": []}, "must contain one or more elements"),
        ("loss", "mse", "expected {low, high}"),
        ("loss", {"low": 1}, "expected {low, high}"),
        ("loss", {"low": 1, "high": 2, "choices": [1]}, "expected {low, high}"),
        ("model.dropout", {"low": 0.4, "high": 0.1}, "`low <= high` must hold"),
        ("model.dropout", {"low": "a", "high": 0.1}, "expected {low, high}"),
        ("model.dropout", {"low": 0.0, "high": 0.1, "log": True}, "`low > 0` must hold"),
    ],
)
def test_a_mistake_is_error_with_its_key(key, entry, error):
    config = checked("sweep=optuna")
    with pytest.raises(SnowmapError) as caught:
        distributions({key: entry}, config)
    assert error in str(caught.value)


@pytest.mark.parametrize(
    ("override", "error"),
    [
        ("sweep.pruner=medain", "did you mean 'median'?"),
        ("sweep.trials=0", "sweep.trials=0: expected a whole number ≥ 1"),
        ("+sweep.trails=3", "did you mean 'sweep.trials'?"),
    ],
)
def test_a_mistake_in_the_sweep_is_error(override, error):
    with pytest.raises(SnowmapError) as caught:
        checked("sweep=optuna", override)
    assert error in str(caught.value)
