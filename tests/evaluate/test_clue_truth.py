"""Clues against the scenes behind worlds, with a grammar of two sentences."""

import pytest
from scripted_players import Scripted, few, is_spy

from selfsight.errors import SelfsightError
from selfsight.evaluate.clue_truth import clue_truth, judge_clues, most_false
from selfsight.evaluate.games import draw_clues, heldout_games
from selfsight.images import ImageRef
from selfsight.images.worlds.scene import Picture, Scene
from selfsight.images.worlds.truth import scene_of
from selfsight.methods.vision_zero import Game, GameSettings, Request, deal

RULES = GameSettings(players=4, clue_rounds=1, votes=2)


def read(text: str) -> int | None:
    """ "K things" and nothing else is a statement; so is "many things", of which nothing is decided."""
    head, _, tail = text.partition(" thing")
    return None if not tail else -1 if head == "many" else int(head)


def holds(count: int, picture: Picture) -> bool | None:
    assert isinstance(picture, Scene)
    return None if count < 0 else len(picture.things) == count


def counted(request: Request) -> str:
    """Citizens count right; the spy, who sees nothing, says one hundred. Spaces make clues differ."""
    image = request.prompt.image
    assert image is not None
    count = 100 if is_spy(request) else len(scene_of(image).things)  # type: ignore[union-attr]
    return f"\\boxed{{{count} things, says {request.seat}}}"


def games(clue: object = counted) -> tuple[Game, ...]:
    return draw_clues(Scripted(clue=clue), heldout_games(8, RULES, few(8), seed=0))  # type: ignore[arg-type]


def test_citizens_that_see_and_a_spy_that_guesses_are_told_apart_by_truth_alone() -> None:
    played = games()
    judged = judge_clues(played, read, holds)
    assert len(judged) == 8 * 4
    result = clue_truth(played, judged)
    assert result["citizen"]["true"] == result["citizen"]["true_of_decided"] == 1.0  # type: ignore[index]
    assert (result["spy"]["true"], result["spy"]["false"], result["spy"]["n"]) == (0.0, 1.0, 8)  # type: ignore[index]
    voter = result["knowing_voter"]
    assert (voter["accuracy"], voter["chance"], voter["n"]) == (1.0, 0.25, 8)  # type: ignore[index]


def test_a_clue_outside_the_grammar_is_unreadable_and_not_false() -> None:
    played = games(lambda request: f"\\boxed{{A fine picture, number {request.seat}}}")
    result = clue_truth(played, judge_clues(played, read, holds))
    citizen = result["citizen"]
    assert (citizen["valid"], citizen["readable"], citizen["false"]) == (1.0, 0.0, 0.0)  # type: ignore[index]
    assert citizen["true_of_decided"] is citizen["true_of_decided_ci95"] is None  # type: ignore[index]
    assert result["knowing_voter"]["accuracy"] == 0.25  # type: ignore[index]


def test_what_the_grammar_does_not_decide_and_what_was_refused_counts_as_neither() -> None:
    played = games(lambda r: f"\\boxed{{many things {r.seat}}}" if r.seat != 1 else "no box at all")
    judged = judge_clues(played, read, holds)
    assert {(clue.seat == 1, clue.valid, clue.readable, clue.true) for clue in judged} == {
        (True, False, False, None),
        (False, True, True, None),
    }


def test_lots_are_drawn_between_players_with_as_many_false_clues() -> None:
    """Seat 1 tells the truth unless it is the spy, the others lie: one of three or of four liars is the spy."""
    played = games(lambda r: counted(r) if r.seat == 1 else f"\\boxed{{{100 + r.seat} things}}")
    judged = judge_clues(played, read, holds)
    of_first = [clue for clue in judged if clue.game_id == judged[0].game_id]
    assert most_false(of_first) == sorted({2, 3, 4} | {played[0].secret.spy})
    assert most_false([]) == []
    # Every seat is the spy's twice.
    voter = clue_truth(played, judged)["knowing_voter"]
    assert voter["accuracy"] == pytest.approx((2 / 4 + 6 / 3) / 8)  # type: ignore[index]


def test_nothing_is_known_about_a_photograph() -> None:
    ref = ImageRef("f-0123456789abcdef", "photo.png")
    game = deal(RULES, seed=0, id="g", image=ref, spy_image=ImageRef("blank-1x1", "blank:1x1"))
    with pytest.raises(SelfsightError, match="nothing is known about the image f-"):
        judge_clues([game], read, holds)
