"""Promises about the benches of speed: peers do the same work, a check that must fail does, and lines are honest."""

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from transformers import Qwen2_5_VLForConditionalGeneration

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "bench"))

import generating  # noqa: E402
import learner  # noqa: E402
import plot  # noqa: E402
import round as one_round  # noqa: E402
import scaling  # noqa: E402
import step  # noqa: E402
from selfsight.errors import SelfsightError  # noqa: E402
from selfsight.images.source import ImageRef  # noqa: E402
from selfsight.language.prompts import Prompt  # noqa: E402
from selfsight.policy import ModelOptions, Policy, Rollout, SampleRequest, Sampling  # noqa: E402
from speaking import build_speaking  # noqa: E402
from tiny_models import build_qwen2_5_vl  # noqa: E402


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts of 40 tokens, 16 of them the image."""
    monkeypatch.setattr(learner, "SIDE", 112)
    monkeypatch.setattr(learner, "PROMPT", 40)


# ------------------------------------------------------------------------------------------- a whole step


def test_a_step_is_timed_with_its_tokens_and_says_when_there_is_no_peer(
    small: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(step, "find_spec", lambda name: None)
    assert step.main(["--prompts", "2", "--completion", "3", "--repeats", "2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["trl"] == "not importable here, so not measured"
    (case,) = found["cases"].values()
    assert case["tokens_per_step"] == 2 * 8 * 3
    assert case["checked"]["sampler_minus_learner"] < 1e-4
    assert len(case["seconds"]["ours"]) == 2 and case["times_faster_than"] == {}


def test_a_step_that_draws_fewer_tokens_than_its_peer_would_is_refused(
    small: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(step, "find_spec", lambda name: None)
    monkeypatch.setattr(step, "our_step", lambda policy, work: lambda: work.rewards([[1, 2]]))
    with pytest.raises(SelfsightError, match=r"48 tokens were to be drawn, but these were: \{'ours': 4\}"):
        step.measure(learner.build_model(tmp_path / "model"), 1, 3, repeats=1, warmup=1)


def test_our_steps_are_taken_between_those_of_the_peer_and_the_warm_up_is_not_counted() -> None:
    taken: list[str] = []
    turns = step.InTurn(lambda: taken.append("ours"), warmup=1)
    turns.on_train_begin(None, None, None)
    for number in (1, 2, 3):
        taken.append("trl")
        turns.on_step_end(None, SimpleNamespace(global_step=number), None)
    assert taken == ["trl", "ours"] * 3
    assert {name: len(values) for name, values in turns.seconds.items()} == {"ours": 2, "trl": 2}


@pytest.mark.parametrize(("factor", "refused"), [(1.0, False), (1.001, True)])
def test_a_loss_that_is_not_the_peers_is_noticed(small: None, tmp_path: Path, factor: float, refused: bool) -> None:
    policy = learner.load_policy(learner.build_model(tmp_path / "model"))
    work = step.Work(step.prompts_of_steps(policy, 1, 1), length=3)
    peer = plain_grpo(policy, work, factor)
    if refused:
        with pytest.raises(SelfsightError, match="not TRL's on its own rollouts"):
            step.same_loss(policy, peer, work)
    else:
        assert step.same_loss(policy, peer, work) < 1e-4
        assert work.drawn == 0 and all(p.grad is None for p in policy.learner.parameters.values())


def plain_grpo(policy: Policy, work: step.Work, factor: float) -> Any:
    """A stand-in for GRPOTrainer: the loss written out on a padded batch of transformers, times `factor`."""
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(policy.vlm.folder, dtype=torch.float32)
    prompt = policy.vlm.encoder.encode(work.steps[0][0])
    answers = torch.from_numpy(np.random.default_rng(0).integers(100, 500, (learner.SAMPLES, work.length)))

    def draw(rows: Sequence[object]) -> dict[str, torch.Tensor]:
        work.drawn += answers.numel()
        return {
            "prompt_ids": torch.from_numpy(prompt.input_ids).expand(len(rows), -1),
            "completion_ids": answers,
            "advantages": torch.linspace(-1, 1, len(rows)),
        }

    def loss(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        (image,) = prompt.images
        pixels = policy.vlm.encoder.image(image).pixels
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
        types = torch.zeros_like(ids)
        types[:, : len(prompt)] = torch.from_numpy(prompt.token_types)
        repeated = {name: value.repeat(len(ids), 1) for name, value in pixels.items()}
        logits = model(input_ids=ids, mm_token_type_ids=types, **repeated).logits[:, len(prompt) - 1 : -1]
        logprobs = logits.log_softmax(-1).gather(-1, answers[..., None])[..., 0]
        ratio = (logprobs - logprobs.detach()).exp()
        return -factor * (ratio * batch["advantages"][:, None]).mean()

    return SimpleNamespace(
        model=model, train_dataset=[{}], _generate_and_score_completions=draw, _compute_loss=loss
    )  # fmt: skip


# --------------------------------------------------------------------------------------------- a round


def tiny_policy(folder: Path) -> Policy:
    return Policy.load("tiny", folder, open_image=learner.open_image, options=ModelOptions())


def test_generate_draws_what_the_local_sampler_draws_from_prompts_of_any_length(small: None, tmp_path: Path) -> None:
    policy = tiny_policy(build_qwen2_5_vl(tmp_path / "model", hidden=128, heads=4, kv_heads=2))
    shown = ImageRef("b-1", "bench")
    prompts = [
        Prompt(shown, "Is it red?"),
        Prompt(shown, "How many squares are to the left of it?"),
        Prompt(None, "Hm"),
    ]
    requests = [SampleRequest(str(k), prompt, 3, k) for k, prompt in enumerate(prompts)]
    for sampling in (Sampling(0.8, 6), Sampling(max_completion_length=6, greedy=True)):
        expected = policy.sample(requests, sampling)
        drawn = generating.GenerateSampler(policy.vlm, rows=4).sample(requests, sampling)
        assert one_round.same_rollouts(expected, drawn) == 1
        for id, rollouts in expected.items():
            for ours, theirs in zip(rollouts, drawn[id], strict=True):
                np.testing.assert_allclose(theirs.logprobs, ours.logprobs, atol=1e-4)
                assert (theirs.request_id, theirs.index, theirs.text) == (id, ours.index, ours.text)
                assert (theirs.finished, theirs.temperature) == (ours.finished, ours.temperature)


def test_generate_ends_a_sample_where_the_local_sampler_ends_it(tmp_path: Path) -> None:
    policy = tiny_policy(build_speaking(tmp_path / "model", build_qwen2_5_vl))
    prompt = Prompt(None, "How many?")
    expected = policy.sample([SampleRequest("a", prompt, 12, 3)], Sampling(max_completion_length=5))["a"]
    drawn = generating.GenerateSampler(policy.vlm, rows=5).sample(
        [SampleRequest("a", prompt, 12, 3)], Sampling(max_completion_length=5)
    )["a"]
    assert [r.finished for r in drawn] == [r.finished for r in expected]
    assert [len(r.token_ids) for r in drawn] == [len(r.token_ids) for r in expected]
    assert len({len(r.token_ids) for r in drawn}) > 1 and any(r.finished for r in drawn)


TINY_ROUND = (
    "visplay.reasoner_steps=1", "visplay.pool_images=4", "visplay.max_question_length=8", "visplay.max_answer_length=6",
    "visplay.gates.preset=paper", "visplay.gates.supervisor=null", "visplay.gates.agreement_floor=null",
    "visplay.gates.band=[0.0, 1.0]",
)  # fmt: skip


def test_a_round_by_both_systems_is_the_same_round(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = build_speaking(tmp_path / "model", build_qwen2_5_vl)
    options = ["--recipe", "visplay-smoke", "--threads", "1", "--rows", "9", f"model={model}", *TINY_ROUND]
    assert one_round.main(options) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["checked"]["same_answers"] == 1
    assert found["tokens_drawn"]["shared"] == found["tokens_drawn"]["generate"] > 100
    assert found["pool"]["shared"] >= 4 and found["pool_in_common"] == 1
    for name in ("shared", "generate"):
        (played,) = found["rounds"][name]
        assert set(played["phases"]) == {"questioner", "curation", "reasoner"}
        assert played["seconds"] == pytest.approx(sum(played["parts"].values()))
        assert min(played["parts"][part] for part in ("sampling", "learning", "controller")) > 0
    seconds = found["median_seconds"]
    assert found["times_faster_per_token"]["generate"] == pytest.approx(seconds["generate"] / seconds["shared"])


def test_a_sampler_that_answers_otherwise_is_not_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_speaking(tmp_path / "model", build_qwen2_5_vl)
    honest = generating.GenerateSampler.sample

    def other_streams(
        self: generating.GenerateSampler, requests: Sequence[SampleRequest], sampling: Sampling
    ) -> dict[str, list[Rollout]]:
        return honest(self, [SampleRequest(r.id, r.prompt, r.n, r.seed + 1000) for r in requests], sampling)

    monkeypatch.setattr(generating.GenerateSampler, "sample", other_streams)
    with pytest.raises(SelfsightError, match=r"only .* are the same"):
        one_round.main(["--recipe", "visplay-smoke", f"model={model}", *TINY_ROUND])


# -------------------------------------------------------------------------------------------- growth


def test_growth_is_fitted_and_drawn_for_every_prompt_length(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "growth.svg"
    sizes = ["--prompts", "60", "110", "--samples", "4", "2", "3", "--completion", "3", "--repeats", "1"]
    assert scaling.main([*sizes, "--svg", str(picture)]) == 0
    cases = json.loads(capsys.readouterr().out)["cases"]
    assert [case["image_tokens"] for case in cases.values()] == [16, 64]
    for case in cases.values():
        assert set(case["median_seconds"]) == {"G=2", "G=3", "G=4"}
        assert len(case["fit"]["between"]) == 2
    drawing = ElementTree.parse(picture).getroot()
    assert len(drawing.findall("{http://www.w3.org/2000/svg}circle")) == 6
    assert re.findall(r">(P = \d+)<", picture.read_text()) != []


def test_a_fit_tells_a_line_from_a_bend() -> None:
    straight = scaling.fit([(x, 0.5 + 0.01 * x) for x in (10, 20, 40, 80)])
    assert straight["a_seconds"] == pytest.approx(0.5) and straight["b_seconds_per_token"] == pytest.approx(0.01)
    assert straight["largest_residual"] < 1e-9 and straight["between"] == pytest.approx([0.01] * 3)
    bent = scaling.fit([(x, 0.5 + 0.001 * x * x) for x in (10, 20, 40, 80)])
    assert bent["largest_residual"] > 0.3 and bent["between"] == sorted(bent["between"])
    assert bent["r2"] < 0.95


def test_cases_that_do_not_fit_into_one_row_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SelfsightError, match="20480 tokens do not fit into one row"):
        scaling.main(["--prompts", "4096", "--samples", "4", "8", "256", "--completion", "64"])
    with pytest.raises(SelfsightError, match="holds no image"):
        scaling.main(["--prompts", "47", "--samples", "2", "3", "4", "--completion", "3"])
    with pytest.raises(SystemExit):
        scaling.main(["--samples", "4", "64"])
    assert "two points always lie on a line" in capsys.readouterr().err


def test_a_drawing_puts_points_on_their_line_and_names_below_each_other() -> None:
    lines = [plot.Line(name, [(0, 1), (50, 2), (100, 3)], 1.0, 0.02) for name in ("<one>", "two")]
    drawing = ElementTree.fromstring(plot.svg(lines, title="t", x_name="x", y_name="y"))
    space = "{http://www.w3.org/2000/svg}"
    circles = [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in drawing.findall(f"{space}circle")]
    (x0, y0), (x1, y1), (x2, y2) = circles[:3]
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2) and y1 - y0 == pytest.approx(y2 - y1, abs=0.2) and y2 < y0
    names = {t.text: float(t.attrib["y"]) for t in drawing.findall(f"{space}text") if t.text in ("<one>", "two")}
    assert names["two"] - names["<one>"] >= 15
