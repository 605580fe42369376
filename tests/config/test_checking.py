"""The configuration as users meet it: the real command line, and every file of conf/."""

import itertools
import re
import subprocess
import sys
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from snowmap.config.checking import check_config, check_overrides, known_keys, run_folder
from snowmap.config.schema import GROUPS, NAMED, OPTIONAL, EvaluateConfig, Scoring, TrainConfig
from snowmap.errors import SnowmapError

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"


def composed(*overrides: str, name: str = "train"):
    folder = CONF / "evaluation" if name == "evaluate" else CONF
    with initialize_config_dir(str(folder), version_base="1.3"):
        return compose(name, overrides=list(overrides))


def checked(*overrides: str) -> dict:
    return check_config(composed(*overrides), TrainConfig)


ROOTS = {"data": ["root"], "target": ["names"], "logger": ["name"]}
"""Keys that the schema leaves to conf/, and the logger that a test chooses."""

FILES = [file for group in GROUPS for file in sorted((CONF / group).glob("*.yaml"))]


def test_every_file_composes_and_fits_the_schema_whose_every_key_can_be_typed_without_a_plus():
    def keys(node: dict, prefix: str = ""):
        for key, value in node.items():
            yield prefix + key
            if isinstance(value, dict) and key not in ("search", "classes"):
                yield from keys(value, f"{prefix}{key}.")

    found: set[str] = set()
    refused = {}
    for file in FILES:
        words = ["task=pretraining"] if file.stem in ("na_sar", "geography") else []
        config = composed(*words, f"{file.parent.name}={file.stem}")
        try:
            check_config(config, TrainConfig)
        except SnowmapError as error:
            refused[f"{file.parent.name}={file.stem}"] = str(error)
        found |= set(keys(OmegaConf.to_container(config)))
    assert refused == {}
    assert found == set(known_keys(TrainConfig))


COMBINED = ("model", "experiment", "debug", "split", "head", "target")


def combinations_of_choices() -> list[dict[str, str]]:
    """Choices of the groups that may touch each other's keys, so that each two of them meet at least once."""
    of = {group: sorted(file.stem for file in (CONF / group).glob("*.yaml")) for group in COMBINED}
    of |= {group: ["null", *of[group]] for group in OPTIONAL}
    of["split"].remove("geography")  # task=pretraining alone takes them, and no other split
    of["experiment"].remove("na_sar_pretraining")

    def pairs(row: dict[str, str]) -> list:
        return list(itertools.combinations([(group, row[group]) for group in COMBINED if group in row], 2))

    first = (dict(zip(groups, choices, strict=True)) for groups in itertools.combinations(COMBINED, 2)
             for choices in itertools.product(*(of[group] for group in groups)))  # fmt: skip
    apart, rows = dict.fromkeys(pair for row in first for pair in pairs(row)), []
    while apart:
        row = dict(next(iter(apart)))
        for group in [group for group in COMBINED if group not in row]:
            met = {choice: sum(pair in apart for pair in pairs({**row, group: choice})) for choice in of[group]}
            row[group] = max(met, key=met.__getitem__)
        for pair in pairs(row):
            apart.pop(pair, None)
        rows.append(row)
    return rows


def test_any_choices_compose_and_fit_or_are_refused_with_the_reason():
    """A file can only disagree with another one, so pairs are enough: all six at once are thousands.

    An experiment may bring options of its own model and head, which another one does not have.
    """
    passed, brought_by = set(), cache(lambda experiment: OmegaConf.to_container(composed(f"experiment={experiment}")))
    for row in combinations_of_choices():
        try:
            config = checked(*(f"{group}={choice}" for group, choice in row.items() if choice != "null"))
        except SnowmapError as error:
            group, key = re.match(r"'?(model|head)\.(\w+)[=']", str(error)).groups()
            brought = brought_by(row["experiment"])[group]
            assert key in brought
            assert brought["name"] != row[group]
            continue
        passed.add((config["model"]["name"], config["trainer"]["max_epochs"]))
        assert config["head"]["name"] == row["head"]
        assert config["model"]["name"] == row["model"]
    assert ("elevation", 1) in passed  # debug=fast knows nothing of nets


@pytest.mark.parametrize("key", ["ablation=no_sar", "init_from=best.ckpt"])
def test_what_only_nets_have_is_refused_for_a_baseline(key):
    with pytest.raises(SnowmapError, match=rf"{key.partition('=')[0]}=… is for nets; model=elevation is a baseline"):
        checked("model=elevation", key)


def test_every_default_of_the_schema_is_that_of_conf():
    """What `model=` changes beside itself is the training that the model needs; machines have trainers of their own."""
    default = OmegaConf.to_container(
        composed("model=climatology", "logger=wandb", "sweep=optuna", "launcher=slurm"), resolve=False
    )
    for entry in fields(TrainConfig):
        if is_dataclass(entry.type):
            known = asdict(entry.type()) | {key: default[entry.name][key] for key in ROOTS.get(entry.name, ())}
            assert default[entry.name] == known, entry.name
        elif entry.name not in NAMED and entry.name != "search":
            assert default[entry.name] == entry.default, entry.name
    for group, schemas in NAMED.items():
        for name, schema in schemas.items():
            written = OmegaConf.to_container(OmegaConf.load(CONF / group / f"{name}.yaml"))
            written = written["model"] if group == "model" else written
            assert written == asdict(schema(name=name)) | {key: written[key] for key in ROOTS.get(group, ())}, name


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
        check_overrides([override], TrainConfig, CONF)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        (
            "experiment=no_sarr",
            "expected both_targets | finetune | freeze_thaw | ice_cracks | na_sar_pretraining | no_sar | sar_ablation",
        ),
        ("debug=foo", "debug=foo: expected fast | overfit"),
        ("model=unet,unett", "model=unett: expected boosted_trees | boosted_trees_no_sar"),
        ("experiment=[no_sar,nope]", "experiment=nope: expected"),
        ("experiment=null", "experiment=null: expected both_targets"),  # Hydra would end with a traceback
        ("trainer=null", "trainer=null: expected cpu | ddp | gpu | slurm"),
        ("~split", "split=null: expected blocked"),
        ("~logger=[]", "logger=[]: expected csv"),
        ("~experiment=[]", "experiment=[]: expected both_targets"),
        ("target=[swe,hs]", "expected one of both | crack | freeze_thaw | glacier | hs | swe"),
        ("model=[unet],[unet,unet3d]", "expected one of boosted_trees | boosted_trees_no_sar"),
        ("experiment=glob(nop*)", "experiment=glob(nop*): expected names among both_targets | finetune"),
    ],
)
def test_an_unknown_choice_of_a_group_is_answered_with_all(override, told):
    with pytest.raises(SnowmapError) as caught:
        check_overrides(["seed=1", override], TrainConfig, CONF)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [["experiment=[]"], ["model=glob(*)"], ["~experiment"], ["experiment=mine", "--config-dir", "/there"]],
)
def test_choices_that_hydra_knows_better_pass(arguments):
    check_overrides(arguments, TrainConfig, CONF)


@pytest.fixture(scope="module")
def whole():
    return composed()


WHOLE = "a whole number ≥ "
UP = "and ≤ 1000000"


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("trainer.max_epochs=abc", f"trainer.max_epochs=abc: expected {WHOLE}1 {UP}, or -1"),
        ("trainer.max_epochs=0", f"expected {WHOLE}1"),
        ("trainer.max_steps=0", f"expected {WHOLE}1"),
        ("trainer.accumulate_grad_batches=0", f"expected {WHOLE}1 {UP}"),
        ("trainer.check_val_every_n_epoch=0", f"expected {WHOLE}1 {UP}"),
        ("trainer.devices=-1", f"expected {WHOLE}1, a list of indices such as [0,2], or auto"),
        ("trainer.devices=[0,0]", f"expected {WHOLE}1, a list of indices such as [0,2], or auto"),
        ("trainer.limit_val_batches=0", "expected a whole number of batches ≥ 1, or a share > 0 and ≤ 1.0, or null"),
        ("trainer.limit_train_batches=true", "trainer.limit_train_batches=true: expected a whole number of batches"),
        ("trainer.overfit_batches=1.5", "expected 0, a whole number of batches ≥ 1, or a share > 0 and ≤ 1.0"),
        ("trainer.gradient_clip_val=nan", "expected a number ≥ 0, or null"),
        ("trainer.max_time=soon", "expected days:hours:minutes:seconds, e.g. 00:04:00:00, or null"),
        ("trainer.precision=12-bit", "expected 32-true | bf16-mixed | 16-mixed"),
        ("optimizer=3", "optimizer=3: expected keys, e.g. optimizer.layer_decay=…"),
        ("optimizer.learning_rate=-1", "expected a number > 0 and ≤ 10"),
        ("optimizer.weight_decay=-1", "expected a number ≥ 0 and ≤ 100"),
        ("optimizer.half_life_steps=0", f"expected {WHOLE}1"),
        ("optimizer.warmup_steps=-1", f"expected {WHOLE}0 {UP}"),
        ("callbacks.patience=-1", f"expected {WHOLE}1 {UP}, or null"),
        ("callbacks.ema=1.5", "expected a number > 0 and < 1, or null"),
        ("seed=-1", f"expected {WHOLE}0 and ≤ 4294967295"),
        (
            "loss=msee",
            "loss=msee: expected mse | mae | huber | cross_entropy | focal | dice | lovasz; did you mean 'mse'?",
        ),
        ("evaluate=true", "evaluate=True: expected test | validation | none"),
        ("ablation=no_sra", "did you mean 'no_sar'?"),
        ("compile=perhaps", "compile=perhaps: expected true or false"),
        ("search=3", "search=3: expected a mapping"),
        ("+trainer.max_epoch=3", "no key of the configuration; did you mean 'trainer.max_epochs'?"),
        ("target.names=[swe,swe]", "target.names=[swe, swe]: expected a list of at least one name, none of them"),
        ("data.bands=[]", "data.bands=[]: expected a list of at least one name"),
        ("data.bands=[phase,phase]", "expected a list of at least one name, none of them empty or twice, or null"),
        ("data.derived=[slope,slope]", "expected a list of names, none of them empty or twice, or null"),
        ("data.augment=spin", "expected none | flip"),
        ("data.batch_size=0", f"expected {WHOLE}1 {UP}"),
        ("data.time=0", "data.time=0: expected a number of windows ≥ 1, season, or null"),
        ("data.time=sesaon", "data.time=sesaon"),
        ("data.crop=[3]", f"data.crop=[3]: expected a list of 2 whole numbers ≥ 1 {UP}, or null"),
        ("data.phase_sign=2", "expected 1 | -1, or null"),
        ("data.retrieval=leins", "did you mean 'leinss'?"),
        ("data.retrieval=guneriussen", "guneriussen needs a density, the others have none; give one, e.g. data.snow_d"),
        ("data.snow_density_kg_m3=300", "data.retrieval=oveisgharan with data.snow_density_kg_m3=300.0: guneriussen"),
        ("data.corrections=[plane]", "data.corrections=[plane]: expected a list of ramp, stratified"),
        ("data.wavelength_m=24", "data.wavelength_m=24.0: expected a number ≥ 0.005 and ≤ 2, or null"),
        ("data.root={a: 1}", "data.root={a: 1}: expected a text"),
        ("model.name=vnet", "model.name=vnet: expected unet | "),
        ("head.name=student", "head.name=student: expected point | gaussian | quantile"),
        ("split.name=roling", "did you mean 'rolling'?"),
        ("model.channels=3", "model.channels=3: expected a list of 1 to 8 whole numbers ≥ 1 and ≤ 2048"),
        ("model.channels=[]", "model.channels=[]: expected a list of 1 to 8 whole numbers"),
        ("model.channels=[0]", "model.channels=[0]: expected a list of 1 to 8 whole numbers"),
        ("model.dropout=nan", "expected a number ≥ 0 and < 1"),
        ("scoring.elevation_step_m=1e-9", "expected a number ≥ 10 and ≤ 10000"),
        ("scoring.snow_threshold_hs_cm=inf", "scoring.snow_threshold_hs_cm=inf: expected a number > 0"),
        ("scoring.snow_threshold_swe_mm=1e308", "expected a number > 0 and ≤ 10000"),
        ("scoring.aspect_directions=6", "scoring.aspect_directions=6: expected 8 | 4"),
        ("seed=${trainer.foo}", "seed cannot be resolved: Interpolation key 'trainer.foo' not found"),
        ("seed=${seed}", "seed cannot be resolved: Recursive interpolation detected"),
        ("data.root=${oc.env:NOT_THERE}", "data.root cannot be resolved: "),
    ],
)
def test_a_wrong_value_is_one_line_that_names_key_value_and_range(whole, override, told):
    config, typed = whole.copy(), OverridesParser.create().parse_override(override)
    OmegaConf.update(config, typed.key_or_group, typed.value(), merge=False, force_add=True)  # as Hydra, but at once
    with pytest.raises(SnowmapError) as caught:
        check_config(config, TrainConfig)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_interpolations_are_resolved_and_then_checked(monkeypatch):
    monkeypatch.setenv("EPOCHS", "7")
    config = checked("trainer.max_epochs=${oc.env:EPOCHS}", "seed=${trainer.max_epochs}", "data.root=a/${seed}")
    assert (config["trainer"]["max_epochs"], config["seed"], config["data"]["root"]) == (7, 7, "a/7")
    monkeypatch.setenv("EPOCHS", "0")
    with pytest.raises(SnowmapError, match=r"trainer\.max_epochs=0: expected a whole number ≥ 1"):
        checked("trainer.max_epochs=${oc.env:EPOCHS}")


def test_every_number_and_list_of_the_schema_says_what_it_takes():
    def silent(schema: type) -> list[str]:
        return [
            f"{schema.__name__}.{entry.name}"
            for entry in fields(schema)
            if not is_dataclass(entry.type) and re.search("int|float|list", str(entry.type))
            if "expected" not in entry.metadata
        ]

    kinds = [kind for known in NAMED.values() for kind in known.values()]
    parts = [entry.type for config in (TrainConfig, EvaluateConfig) for entry in fields(config)]
    schemas = {TrainConfig, EvaluateConfig, *kinds, *filter(is_dataclass, parts)}
    assert [key for schema in schemas for key in silent(schema)] == []


def test_evaluate_needs_a_checkpoint():
    with pytest.raises(SnowmapError, match="ckpt"):
        check_config(composed(name="evaluate"), EvaluateConfig)
    assert check_config(composed("ckpt=a.ckpt", name="evaluate"), EvaluateConfig)["split"] == "test"


def test_scoring_is_checked_and_the_same_wherever_maps_are_scored():
    with pytest.raises(SnowmapError, match=r"scoring.level=1.0: expected a number > 0 and < 1"):
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
    (run / "run.json").touch()
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
        (line,) = re.findall(rf"^  {group}= .*(?:\n {{8}} .*)*", done.stdout, flags=re.MULTILINE)
        for file in (CONF / group).glob("*.yaml"):
            assert re.search(rf"\b{file.stem}\b", line), file
    for key in re.findall(r"^  ([a-z_.]+)=", done.stdout, flags=re.MULTILINE):
        assert key.startswith("hydra.") or key in {*GROUPS, *known_keys(TrainConfig)}, key
