"""What is said to somebody who types what another tool would understand, or what nothing understands."""

import re
import subprocess
from pathlib import Path

import pytest

from selfsight.config import EvolveConfig, load_config
from selfsight.errors import SelfsightError
from selfsight.install import extra_hint
from selfsight.recipes.aliases import ALIASES, alias_hint, written_keys
from selfsight.recipes.explain import options

ROOT = Path(__file__).parents[1]
KEYS = {option.key for option in options(EvolveConfig)}


def hint(*overrides: str, recipe: str = "visplay-starter") -> str:
    with pytest.raises(SelfsightError) as caught:
        load_config(recipe, overrides)
    assert caught.value.hint is not None
    return caught.value.hint


# --- names of packages ---------------------------------------------------------------------------------------------


def test_nothing_tells_people_to_install_a_package_of_our_name_from_a_registry() -> None:
    """Nobody of ours has published one: whoever does would run code on the machines of those who follow."""
    told = re.compile(r"""(pip3?|uv|pipx|uvx|conda)\s+((add|install|tool|run)\s+)*(-\S+\s+)*["']?selfsight\b""")
    named = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    assert named.returncode == 0, named.stderr
    wrong = []
    for name in named.stdout.split("\0"):
        path = ROOT / name
        if (
            path.suffix not in (".py", ".md", ".toml", ".yaml", "")
            or not path.is_file()
            or name == "tests/test_hints.py"
        ):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if told.search(line) or re.search(r"selfsight\[\w+\]", line):
                wrong.append(f"{name}:{number}: {line.strip()}")
    assert not wrong, "\n".join(wrong)


def test_an_extra_is_installed_from_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    monkeypatch.chdir(tmp_path)
    assert extra_hint("vllm", root=tmp_path, prefix="/usr", base="/usr") == "pip install -e '.[vllm]'"
    venv = str(tmp_path / ".venv")
    assert extra_hint("vllm", root=tmp_path, prefix=venv, base="/usr") == ".venv/bin/pip install -e '.[vllm]'"
    monkeypatch.chdir("/")
    assert extra_hint("vllm", root=tmp_path, prefix="/usr", base="/usr") == f"pip install -e '{tmp_path}[vllm]'"
    (tmp_path / "pyproject.toml").unlink()
    elsewhere = extra_hint("vllm", root=tmp_path, prefix="/usr", base="/usr")
    assert elsewhere == "in a checkout of selfsight: pip install -e '.[vllm]'"


# --- keys of other trainers ----------------------------------------------------------------------------------------


def test_what_an_alias_says_to_write_can_be_written() -> None:
    for name, written in written_keys():
        key, sign, _ = written.partition("=")
        assert sign and key in KEYS, f"{name}: {key} is no setting"
        if "{value}" not in written:
            load_config("visplay-starter", [written])


def test_an_alias_stands_for_no_key_that_exists() -> None:
    groups = {key.rsplit(".", count)[0] for key in KEYS for count in range(1, key.count(".") + 1)}
    assert not set(ALIASES) & (KEYS | groups)


def test_settings_that_an_alias_names_exist() -> None:
    for name, alias in ALIASES.items():
        for word in re.findall(
            r"\b(?:visplay|vision_zero|grpo|optim|sampler|evaluation|lora)\.(?!md\b)\w+", alias.says
        ):
            assert word in KEYS, f"{name} names {word}"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("lr=1e-5", "write optim.learning_rate=1e-5"),
        ("learning_rate=1e-5", "Write optim.learning_rate=1e-5"),
        ("max_completion_length=256", "write visplay.max_answer_length=256"),
        ("grpo.max_new_tokens=256", "write visplay.max_answer_length=256"),
        ("batch_size=4", "visplay.questions_per_step"),
        ("per_device_train_batch_size=4", "optim.max_tokens_per_microbatch"),
        ("gradient_accumulation_steps=4", "optim.max_tokens_per_microbatch"),
        ("wandb=true", "write report_to=wandb"),
        ("visplay.reward=f", "rewards are not pluggable"),
        ("visplay.reward_fn=f", "rewards are not pluggable"),
        ("epochs=3", "visplay.rounds"),
        ("num_train_epochs=3", "visplay.rounds"),
        ("model_name_or_path=Qwen/X", "write model=Qwen/X"),
        ("push_to_hub=true", "nothing is uploaded"),
        ("resume_from_checkpoint=true", "selfsight resume runs/NAME"),
        ("bf16=true", "write dtype=bfloat16"),
        ("use_vllm=true", "write sampler.backend=vllm"),
        ("lora_rank=8", "write lora.r=8"),
        ("lora_alpha=8", "Write lora.lora_alpha=8"),
        ("top_p=0.9", "only grpo.temperature"),
        ("temperature=0.9", "Write grpo.temperature=0.9"),
        ("kl_coef=0.01", "write grpo.beta=0.01"),
        ("num_rollouts=4", "write grpo.num_generations=4"),
        ("deepspeed=zero3.json", "one device"),
        ("actor_rollout_ref.actor.optim.lr=1e-6", "write optim.learning_rate=1e-6"),
        ("actor_rollout_ref.rollout.n=5", "write grpo.num_generations=5"),
        ("actor_rollout_ref.model.path=Qwen/X", "write model=Qwen/X"),
        ("actor_rollout_ref.hybrid_engine=true", "a group of verl"),
        ("trainer.total_epochs=3", "visplay.rounds"),
        ("trainer.n_gpus_per_node=8", "one device"),
        ("trainer.experiment_name=a", "write run_name=a"),
        ("data.train_files=a.parquet", "write images=a.parquet"),
        ("data.rollout_batch_size=512", "visplay.questions_per_step"),
        ("worker.actor.model.model_path=Qwen/X", "write model=Qwen/X"),
        ("algorithm.adv_estimator=grpo", "method"),
        ("max_answer_length=9", "'visplay.max_answer_length' or 'vision_zero.max_answer_length'"),
    ],
)
def test_a_key_from_another_trainer_leads_to_ours(typed: str, said: str) -> None:
    assert said in hint(typed)


def test_a_key_in_a_file_is_told_the_same_way(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("extends: visplay-smoke\nlr: 1.0e-5\n")
    assert "write optim.learning_rate=1e-05" in hint(recipe=str(tmp_path / "mine.yaml"))


@pytest.mark.parametrize("typed", ["band_width=1", "zzz=1", "foo.bar=1", "wan=true", "ward=1", "x=1"])
def test_a_far_spelling_gets_no_suggestion(typed: str) -> None:
    assert "did you mean" not in hint(typed)
    assert alias_hint(typed.partition("=")[0]) is None


def test_a_recipe_that_lies_here_as_a_file_is_suggested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my.yaml").write_text("seed: 1\n")
    Path("settings.txt").write_text("seed: 1\n")
    assert "--recipe my.yaml" in hint(recipe="my")
    assert "must end in .yaml" in hint(recipe="settings.txt")
    assert hint(recipe="nothing-like-it").endswith(". A file must end in .yaml")
