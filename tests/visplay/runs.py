"""A tiny run of VisPlay for tests."""

from pathlib import Path

from selfsight.config import EvolveConfig, load_config

# Two rounds in about two seconds: every stage more than once, every phase with more than one step.
BUDGET = (
    "threads=1",
    "visplay.gates={preset: robust}",  # the preset itself, not the starter recipe's tuning of it
    "save_steps=1",
    "grpo.num_generations=4",
    "optim.learning_rate=1e-3",
    "visplay.rounds=2",
    "visplay.questioner_steps=2",
    "visplay.reasoner_steps=3",
    "visplay.images_per_step=3",
    "visplay.num_votes=6",
    "visplay.questions_per_image=4",
    "visplay.questions_per_step=3",
    "visplay.pool_images=6",
    "visplay.min_pool=3",
    "visplay.max_question_length=12",
    "visplay.max_answer_length=8",
    "evaluation.questions=9",
    "evaluation.num_samples=2",
    "evaluation.batch_size=9",
)


def config(model: Path, output_dir: Path, *overrides: str, run_name: str = "run") -> EvolveConfig:
    """The settings of a tiny run in `output_dir`/`run_name`."""
    place = (f"model={model}", f"output_dir={output_dir}", f"run_name={run_name}")
    return load_config("visplay-smoke", [*place, *BUDGET, *overrides])
