"""Fifty thousand hostile clues and votes: no exception, no forged line, linear time."""

import re
import time
from collections.abc import Callable

import numpy as np
import pytest

from selfsight.language import get_game_pack
from selfsight.methods.vision_zero import PLACEHOLDER, Completion, GameSettings, open_requests, read_clue, read_vote

from .playing import COMPACT, new_game

PIECES = [
    "\\boxed{", "}", "{", "\\", "\\text{", "<answer>", "</answer>", "<think>", "</think>", "\n", "\r\n", "\u2028",
    "\x85", "\x00", "\u202e", "\u200b", "\ud800", "\U0010ffff", "Player 4: ", "PLAYER_2:", "Round 1:", "user:",
    "<|image_pad|>", "<|im_", "<s>", "end|>", "[INST]", "\\bo", "xed", "red", " cube", " ", "I see", ".", "3", "n/a",
    "N/A", "-", "/", "½", "٣", "Ⅷ", "ﷺ", "é", "e\u0301", "赤", "🟥", "?", ":", "：", "_", "#", "$",
    "**", "(", ")", "player", "0", "9" * 30,
]  # fmt: skip


def hostile(rng: np.random.Generator, pieces: int) -> str:
    return "".join(PIECES[i] for i in rng.integers(0, len(PIECES), pieces))


def test_fifty_thousand_clues_and_votes_are_read_without_an_exception() -> None:
    rng = np.random.default_rng(0)
    kinds: dict[str, int] = {}
    valid = 0
    started = time.process_time()
    for number in range(50_000):
        text = hostile(rng, int(rng.integers(0, 14)))
        if number % 2:
            text = f"{text[:7]}\\boxed{{{text[7:]}}}"
        reading = read_clue(text, ("a red cube",))
        assert reading.valid or reading.text == PLACEHOLDER
        assert len(reading.text) <= 200 and len(reading.note) <= 400
        assert reading.text.isprintable() and reading.note.isprintable()
        assert not any(re.search(r"<\|[^<>|]{0,64}\|>|</?s>", shown) for shown in (reading.text, reading.note))
        valid += reading.valid
        vote = read_vote(text, players=5, voter=2)
        assert (vote.kind == "accusation") == (vote.seat in {1, 3, 4, 5})
        kinds[vote.kind] = kinds.get(vote.kind, 0) + 1
    assert time.process_time() - started < 25  # about 5 on a quiet core
    assert valid > 1_000 and min(kinds.values()) > 50 and set(kinds) == {"accusation", "abstention", "invalid"}


@pytest.mark.parametrize("pack", ["compact", "full"])
def test_a_transcript_has_as_many_lines_as_clues_whatever_the_players_write(pack: str) -> None:
    rng = np.random.default_rng(1)
    lines_without_clues = len(open_requests([new_game()], get_game_pack(pack))[0].prompt.user.splitlines())
    for number in range(150):
        game = new_game(GameSettings(players=3, clue_rounds=2), id=f"g-{number}")
        for heard in range(6):
            (request,) = open_requests([game], get_game_pack(pack))
            lines = request.prompt.user.splitlines()
            assert sum(line.startswith("Player ") for line in lines) == heard
            notes = sum(1 for note in game.private(game.turn[1]).notes if note)
            assert len(lines) == lines_without_clues + heard + notes
            text = hostile(rng, int(rng.integers(0, 30)))
            game = game.with_clue(Completion(f"{text[:20]}\\boxed{{{text[20:]}}}"))


NESTS: list[Callable[[int], str]] = [
    lambda n: "\\boxed{" * n,
    lambda n: "\\boxed{" * n + "x" + "}" * n,
    lambda n: "<answer>" * n + "</answer>" * n,
    lambda n: "<|" * n + "|>" * n,
    lambda n: "\\boxed{" + "Player " * n + "}",
    lambda n: "\\boxed{" + "ﷺ" * n + "}",
    lambda n: "\\boxed{" + "\\text{" * n + "}" * n + "}",
    lambda n: "\\boxed{" + "player     " * n + "}",
    lambda n: "\u200b" * n + "\\boxed{3}",
    lambda n: "<a " * n + "\\boxed{3}",
]


@pytest.mark.parametrize("nest", NESTS)
def test_reading_takes_linear_time(nest: Callable[[int], str]) -> None:
    def seconds(n: int) -> float:
        text = nest(n)[:65_000]
        best = float("inf")
        for _ in range(3):
            started = time.process_time()
            read_clue(text)
            read_vote(text, players=5)
            best = min(best, time.process_time() - started)
        return best

    short, long = seconds(700), seconds(5_600)
    assert long < 30 * short + 0.02  # eight times the text; quadratic would be 64 times


def test_notes_cannot_smuggle_a_special_token_into_a_players_own_prompt() -> None:
    game = new_game(GameSettings(players=3, clue_rounds=2))
    for text in ("<|im<s>_end|>", "<i<s>mage>", "\\bo\\boxedxed{"):
        for _ in range(3):
            game = game.with_clue(Completion(text))
        (request,) = open_requests([game], COMPACT)
        assert "<|" not in request.prompt.user and "<image>" not in request.prompt.user
        game = new_game(GameSettings(players=3, clue_rounds=2))
