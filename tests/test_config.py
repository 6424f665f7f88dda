"""The configuration: what recipes may say, and what a reader is told when they say it wrongly."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsight.config import (
    GATE_PRESETS,
    EvolveConfig,
    config_hash,
    describe,
    load_config,
    to_yaml,
)
from selfsight.errors import SelfsightError
from selfsight.recipes import dump_yaml, parse_yaml, recipe_names, recipe_summary
from selfsight.recipes.explain import options


def failure(*overrides: str, recipe: str | Path = "visplay-starter") -> SelfsightError:
    with pytest.raises(SelfsightError) as caught:
        load_config(recipe, overrides)
    return caught.value


# ------------------------------------------------------------------------------------------------ recipes


@pytest.mark.parametrize("name", recipe_names())
def test_every_packaged_recipe_loads_under_its_own_name(name: str) -> None:
    assert load_config(name).recipe == name
    assert len(recipe_summary(name)) > 20


def test_the_default_recipe_is_the_robust_one_on_the_starter() -> None:
    config = load_config("visplay-starter")
    assert (config.model, config.images, config.dtype) == ("starter", "worlds", "float32")
    assert config.visplay.gates.preset == "robust"
    assert (config.visplay.rounds, config.grpo.num_generations, config.visplay.num_votes) == (3, 8, 8)


def test_the_paper_recipe_differs_from_the_default_in_gates_and_anchor_only() -> None:
    robust, paper = (load_config(name).model_dump() for name in ("visplay-starter", "visplay-starter-paper"))
    assert paper["visplay"]["gates"] == {"preset": "paper", **GATE_PRESETS["paper"]}
    assert paper["grpo"]["beta_anchor"] == 0.0 < robust["grpo"]["beta_anchor"]
    for config in (robust, paper):
        del config["recipe"], config["visplay"]["gates"], config["grpo"]["beta_anchor"]
    assert robust == paper


def test_the_paper_preset_is_the_papers_band_and_nothing_else() -> None:
    rest = {key: value for key, value in GATE_PRESETS["paper"].items() if key != "band"}
    assert GATE_PRESETS["paper"]["band"] == (0.25, 0.75)
    assert not any(rest.values())


def test_both_presets_set_every_gate() -> None:
    gates = {option.key.rpartition(".")[2] for option in options(EvolveConfig) if ".gates." in option.key}
    assert all(set(preset) == gates - {"preset"} for preset in GATE_PRESETS.values())


def test_an_override_of_the_preset_changes_the_gates_that_the_recipe_did_not_name() -> None:
    gates = load_config("visplay-starter", ["visplay.gates.preset=paper"]).visplay.gates
    assert gates.band == (0.25, 0.75)
    assert not gates.novelty
    kept = load_config("visplay-starter", ["visplay.gates.preset=paper", "visplay.gates.blind=true"])
    assert kept.visplay.gates.blind


def test_a_recipe_file_may_extend_a_packaged_recipe_and_a_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("extends: visplay-smoke\nseed: 7\nvisplay: {rounds: 4}\n")
    (tmp_path / "mine.yaml").write_text("extends: base.yaml\nvisplay: {num_votes: 6}\n")
    config = load_config(tmp_path / "mine.yaml")
    smoke = load_config("visplay-smoke")
    assert (config.seed, config.visplay.rounds, config.visplay.num_votes) == (7, 4, 6)
    assert config.visplay.questions_per_step == smoke.visplay.questions_per_step


def test_a_recipe_that_extends_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("extends: b.yaml\n")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\n")
    assert "extends itself" in str(failure(recipe=tmp_path / "a.yaml"))


def test_an_unknown_recipe_suggests_the_nearest() -> None:
    assert "did you mean 'visplay-starter'?" in str(failure(recipe="visplay-startr"))


def test_a_missing_recipe_file_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "none.yaml") in str(failure(recipe=tmp_path / "none.yaml"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("seed: 1\nseed: 2\n", "the key 'seed' is given twice"),
        ("a: &a [1]\nb: *a\n", "aliases"),
        ("- 1\n", "not a mapping"),
        ("seed: [1\n", "not valid YAML"),
        ("model: !!python/object/apply:os.system ['true']\n", "tags"),
        ("? [1, 2]\n: 3\n", "a key is not a text"),
        ("seed: !!int nine\n", "tags"),
        (f"seed: {'9' * 5000}\n", "not valid YAML"),
        ("extends: [a, b]\n", "should be the name of one recipe"),
    ],
)
def test_a_malformed_recipe_is_refused_with_its_path(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    message = str(failure(recipe=path))
    assert complaint in message
    assert str(path) in message


# ---------------------------------------------------------------------------------------------- overrides


def test_overrides_are_read_as_yaml() -> None:
    config = load_config(
        "visplay-starter",
        [
            "optim.learning_rate=1e-6",
            "evaluation.audit=false",
            "visplay.gates.agreement_floor=null",
            "visplay.gates.band=[0.3, 0.8]",
            "model=./my-vlm",
            "images=worlds:charts",
        ],
    )
    assert config.optim.learning_rate == 1e-6
    assert not config.evaluation.audit
    assert config.visplay.gates.agreement_floor is None
    assert config.visplay.gates.band == (0.3, 0.8)
    assert (config.model, config.images) == ("./my-vlm", "worlds:charts")


def test_one_lora_key_switches_lora_on() -> None:
    assert load_config("visplay-starter").lora is None
    lora = load_config("visplay-starter", ["lora.r=4"]).lora
    assert lora is not None and lora.r == 4


def test_the_last_override_wins() -> None:
    assert load_config("visplay-starter", ["seed=1", "seed=2"]).seed == 2


def test_a_folder_may_be_named_like_a_number() -> None:
    assert load_config("visplay-starter", ["run_name=2024", "images=007"]).run_name == "2024"


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "", "a b", "x" * 101])
def test_a_run_name_cannot_leave_the_output_folder(name: str) -> None:
    assert "run_name" in str(failure(f"run_name='{name}'"))


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("visplay.roundz=3", "visplay.rounds"),
        ("rounds=3", "visplay.rounds"),
        ("learning_rate=1", "optim.learning_rate"),
        ("visplay.gates.bande=null", "visplay.gates.band"),
        ("grpo.num_generation=8", "grpo.num_generations"),
    ],
)
def test_an_unknown_key_suggests_the_nearest_and_names_the_override(override: str, nearest: str) -> None:
    message = str(failure(override))
    assert f"did you mean '{nearest}'?" in message
    assert f"the override {override}" in message


def test_an_unknown_key_in_a_file_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("visplay:\n  rouns: 3\n")
    message = str(failure("seed=1", recipe=path))
    assert "'visplay.rouns'" in message
    assert str(path) in message


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("visplay.rounds=0", "a whole number, at least 1"),
        ("visplay.rounds=many", "a whole number, at least 1"),
        ("visplay.rounds=true", "a whole number, at least 1"),
        ("visplay.rounds=1.5", "a whole number, at least 1"),
        ("grpo.epsilon=1", "a number, above 0, below 1"),
        ("optim.learning_rate=.nan", "a number, above 0"),
        ("optim.learning_rate=1e999", "a number, above 0"),
        ("dtype=fp16", "float32 or bfloat16"),
        ("evaluation.audit=1", "true or false"),
        ("model=null", "a text"),
        ("threads=0", "a whole number, at least 1, or null"),
        ("report_to=[mlflow]", "a list of none or jsonl or tensorboard or wandb or trackio"),
        ("visplay.gates.band=[0.1]", "[low, high], each from 0 to 1, or null"),
        ("visplay.gates.plausibility_floor=2", "a number, at most 0, or null"),
    ],
)
def test_a_wrong_value_is_told_with_its_key_and_what_is_allowed(override: str, expected: str) -> None:
    key = override.partition("=")[0]
    message = str(failure(override))
    assert message.startswith(f"{key} is ")
    assert f"should be {expected} (in the override {override})" in message


@pytest.mark.parametrize(
    "overrides",
    [
        ("visplay.gates.band=[0.9, 0.1]",),
        ("visplay.gates.agreement_floor=0.9", "visplay.gates.agreement_ceiling=0.5"),
        ("min_pixels=10", "max_pixels=5"),
        ("report_to=[none, wandb]",),
        ("report_to=[]",),
    ],
)
def test_settings_that_contradict_each_other_are_refused(overrides: tuple[str, ...]) -> None:
    message = str(failure(*overrides))
    assert overrides[-1].partition("=")[0].rpartition(".")[2] in message
    assert "unknown key" not in message


def test_one_place_for_figures_needs_no_list() -> None:
    assert load_config("visplay-smoke", ["report_to=wandb"]).report_to == ["wandb"]


@pytest.mark.parametrize("override", ["rounds", "=3", "visplay..rounds=3", ".=1"])
def test_what_is_not_an_override_is_refused(override: str) -> None:
    assert "is not an override" in str(failure(override))


def test_a_group_cannot_be_replaced_by_a_value() -> None:
    assert "visplay is 3, but should be a group of settings" in str(failure("visplay=3"))


def test_the_recipe_is_chosen_by_its_own_option() -> None:
    assert "--recipe other" in str(failure("recipe=other"))


# ------------------------------------------------------------------------------------ written and compared


@pytest.mark.parametrize("name", recipe_names())
def test_a_written_configuration_reads_back_equal(name: str, tmp_path: Path) -> None:
    config = load_config(name, ["run_name='1e5'", "lora.r=8", "seed=3"])
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    assert load_config(path) == config


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.dictionaries(st.text(), plain_values, max_size=4))
def test_yaml_that_we_write_reads_back_unchanged(data: dict[str, object]) -> None:
    assert parse_yaml(dump_yaml(data), where="here") == data


@pytest.mark.parametrize(
    ("text", "value"),
    [("5e-5", 5e-5), ("no", "no"), ("on", "on"), ("1:30", "1:30"), ("010", 10), ("2024-01-01", "2024-01-01")],
)
def test_values_mean_what_they_look_like(text: str, value: object) -> None:
    assert parse_yaml(text, where="here") == value


def test_the_hash_follows_results_and_not_bookkeeping() -> None:
    base = config_hash(load_config("visplay-starter"))
    for override in (
        "output_dir=elsewhere",
        "run_name=x",
        "save_total_limit=5",
        "report_to=[none]",
        "max_bad_fraction=0.5",
    ):
        assert config_hash(load_config("visplay-starter", [override])) == base
    changed = ("seed=1", "visplay.gates.blind=true", "evaluation.questions=10", "lora.r=8", "threads=1")
    hashes = {config_hash(load_config("visplay-starter", [override])) for override in changed}
    assert len(hashes - {base}) == len(changed)


def test_settings_of_the_method_that_does_not_run_leave_the_hash_alone() -> None:
    for recipe, own, other in (
        ("visplay-starter", "visplay.rounds=5", "vision_zero.players=6"),
        ("vision-zero-starter", "vision_zero.players=6", "visplay.rounds=5"),
    ):
        base = config_hash(load_config(recipe))
        assert config_hash(load_config(recipe, [other])) == base
        assert config_hash(load_config(recipe, [own])) != base


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("vision_zero.iterations=50", "`iterations` 50 is not a multiple of `eval_steps` 40"),
        ("grpo.beta=0.01", "its KL is that to the starting model, `grpo.beta_anchor`"),
        ("vision_zero.players=2", "vision_zero.players"),
        ("vision_zero.switching.mode=fixed:0", "vision_zero.switching.mode"),
        ("vision_zero.rewards.alpha=1.0", "vision_zero.rewards.alpha"),
        ("vision_zero.voterr=seated", "did you mean 'vision_zero.voter'?"),
    ],
)
def test_settings_that_make_no_game_are_refused(override: str, complaint: str) -> None:
    error = failure(override, recipe="vision-zero-starter")
    assert complaint in f"{error} {error.hint}"


def test_a_baseline_that_is_off_is_a_text_and_not_false() -> None:
    config = load_config("vision-zero-starter", ["vision_zero.rewards.baseline=off"])
    assert config.vision_zero.rewards.baseline == "off"
    assert load_config("vision-zero-smoke").vision_zero.rewards.baseline == "pre"


def test_a_configuration_cannot_be_changed() -> None:
    config = load_config("visplay-starter")
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 3


def test_every_option_is_described() -> None:
    for option in options(EvolveConfig):
        assert len(option.description) > 10, option.key
    text = describe(load_config("visplay-starter", ["visplay.rounds=5"]))
    assert "visplay.rounds = 5\n" in text
    assert "lora.r = null\n" in text
