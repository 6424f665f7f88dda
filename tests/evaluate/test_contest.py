"""`selfsight arena` from models to figures: scripted players for what it says, tiny real models for the wiring."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from scripted_players import Scripted, bluffed, few, is_spy, told

from selfsight.errors import SelfsightError
from selfsight.evaluate.arena import arena_result, read_matches
from selfsight.evaluate.contest import ContestSettings, clues_truth, contend, run_contest
from selfsight.evaluate.games import decide, heldout_images, read_games
from selfsight.evaluate.players import open_player
from selfsight.images import ImageRef
from selfsight.images.worlds.truth import scene_of
from selfsight.methods.vision_zero import GameSettings, Request, deal
from selfsight.policy.open import read_image
from selfsight.report import render_arena
from tiny_models import build_qwen2_5_vl

RULES = GameSettings(players=3, clue_rounds=1, votes=2)


class Steps:
    """Counts the steps of every phase."""

    def __init__(self) -> None:
        self.phases: dict[str, tuple[int | None, int]] = {}

    def phase(self, name: str, total: int | None) -> None:
        self.name = name
        self.phases[name] = (total, 0)

    def step(self, metrics: object) -> None:
        total, done = self.phases[self.name]
        self.phases[self.name] = (total, done + 1)

    def note(self, text: str) -> None:
        raise AssertionError(text)


def test_a_better_bluffer_and_voter_is_told_from_a_worse_one_in_every_part(tmp_path: Path) -> None:
    a, b = Scripted(clue=bluffed), Scripted(clue=told, vote=lambda request, k: "\\boxed{n/a}")
    steps = Steps()
    contest = ContestSettings(games=6, samples=3, out=tmp_path)
    result: dict[str, Any] = contend(a, b, few(6), RULES, contest, names=("mine", "starter"), progress=steps)
    assert result["arena"]["a"]["rate"] == 1.0
    assert (result["decisions"]["a"]["accuracy"], result["decisions"]["b"]["accuracy"]) == (1.0, 0.0)
    assert result["decisions"]["change"]["accuracy"] == 1.0
    assert result["decisions"]["probes"]["clue_only"]["accuracy"] == 1.0
    assert result["decisions"]["probes"]["image_only"]["accuracy"] == 0.0
    assert all(total == done for total, done in steps.phases.values())
    assert arena_result(read_matches(tmp_path / "arena.jsonl")) == result["arena"]

    stream = io.StringIO()
    render_arena(
        {"a": "mine\x1b[2J", "b": "starter", "rules": {"players": 3, "clue_rounds": 1, "spy_view": "blank"}} | result,
        stream,
    )
    shown = stream.getvalue()
    assert "\x1b" not in shown
    for wanted in (
        "chance 33.3 %",
        "as spy",
        "A without the image",
        "always player",
        "+100.0",
        "100.0 % [61.0, 100.0]",
        "B's samples: 100.0 % n/a, 0.0 % invalid",
    ):
        assert wanted in shown


def test_how_true_the_clues_are_and_how_far_a_voter_can_come_is_told() -> None:
    """Citizens say what is there; the spy, who sees nothing, speaks of what no scene has."""

    def clue(request: Request) -> str:
        image = request.prompt.image
        assert image is not None
        if is_spy(request):
            return f"\\boxed{{There are {90 + request.seat} red circles.}}"
        thing = scene_of(image).things[request.seat - 1]  # type: ignore[union-attr]
        return f"\\boxed{{There is a {thing.size} {thing.colour} {thing.shape}.}}"

    contest = ContestSettings(games=3, samples=2)
    found = contend(Scripted(), Scripted(clue=clue), few(3), RULES, contest, names=("a", "b"), progress=Steps())
    truth = found["decisions"]["clue_truth"]  # type: ignore[index]
    assert (truth["citizen"]["true_of_decided"], truth["spy"]["true_of_decided"]) == (1.0, 0.0)
    assert truth["knowing_voter"]["accuracy"] == 1.0
    stream = io.StringIO()
    rules = {"players": 3, "clue_rounds": 1, "spy_view": "blank"}
    render_arena({"a": "mine", "b": "starter", "rules": rules} | found, stream)
    shown = " ".join(stream.getvalue().split())
    assert "100.0 % [61.0, 100.0] of a citizen's, 0.0 % [0.0, 56.1] of a spy's" in shown
    assert "a voter that sees everything: 100.0 % [43.9, 100.0] of the spies" in shown


def test_of_photographs_no_truth_is_told() -> None:
    photo, blank = ImageRef("f-0123456789abcdef", "photo.png"), ImageRef("blank-1x1", "blank:1x1")
    assert clues_truth([deal(RULES, seed=0, id="g", image=photo, spy_image=blank)]) is None


def test_clues_of_an_earlier_contest_can_be_judged_again(tmp_path: Path) -> None:
    first, again = ContestSettings(games=3, out=tmp_path), ContestSettings(games=3, clues=tmp_path / "clues.jsonl")
    played = contend(Scripted(), Scripted(), few(3), RULES, first, names=("a", "b"), progress=Steps())
    # B's clues are not drawn again: this B would give others.
    other = contend(Scripted(), Scripted(clue=bluffed), few(3), RULES, again, names=("a", "b"), progress=Steps())
    assert other["decisions"]["a"] == played["decisions"]["a"]  # type: ignore[index]


def test_clues_of_other_rules_are_refused(tmp_path: Path) -> None:
    drawn, read = ContestSettings(games=3, out=tmp_path), ContestSettings(games=4, clues=tmp_path / "clues.jsonl")
    contend(Scripted(), Scripted(), few(3), RULES, drawn, names=("a", "b"), progress=Steps())
    with pytest.raises(SelfsightError, match=r"clues\.jsonl: holds games of other rules"):
        other = GameSettings(players=4, clue_rounds=1, votes=2)
        contend(Scripted(), Scripted(), few(3), other, read, names=("a", "b"), progress=Steps())


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    qwen = build_qwen2_5_vl(folder / "qwen")
    config = json.loads((qwen / "config.json").read_text())
    (qwen / "config.json").write_text(json.dumps(config | {"selfsight_prompt_pack": "compact"}))
    return qwen, build_qwen2_5_vl(folder / "other", seed=1)


def test_two_real_models_of_different_packs_play_and_every_game_replays(
    models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selfsight.evaluate.players.COMPLETION_LENGTHS", {"compact": 6, "full": 6})
    a, b = map(str, models)
    contest = ContestSettings(games=3, images="worlds:scenes", seed=2, picture_size=56, samples=2, out=tmp_path / "out")
    result: dict[str, Any] = run_contest(a, b, RULES, contest, progress=Steps())
    assert json.loads((tmp_path / "out" / "result.json").read_text()) == json.loads(json.dumps(result))
    matches = read_matches(tmp_path / "out" / "arena.jsonl")
    assert arena_result(matches, seed=2) == result["arena"]
    assert {m.game.secret.spy_image.id for m in matches} == {"blank-56x56"}
    assert result["arena"]["games"] == 6
    assert result["images"]["of"]["split"] == "heldout"
    # The same model on the same clues says the same again.
    images = heldout_images("worlds:scenes", "blank", seed=2, size=56)
    games = read_games(tmp_path / "out" / "clues.jsonl")
    player = open_player(models[0], read_image(images))
    assert decide(player, games, samples=2) == decide(player, games, samples=2)
