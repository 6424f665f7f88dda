"""What a terminal shows of a game: harmless, complete, and to a person no more than it may know."""

import io
from dataclasses import replace

import pytest
from PIL import Image
from rich.console import Console

from selfsight.images import ImageRef
from selfsight.methods.vision_zero import Completion, Game, GameSettings, ScoringSettings, deal, score
from selfsight.report.playing import TerminalTable, in_half_blocks, rewards_as_arithmetic

IMAGE = ImageRef("f-0011223344556677", "photos/\x1b[31mred.png")
PICTURE = Image.new("RGB", (8, 8), "red")
HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202esecret note\x9b31m"


def dealt(spy: int, voter: str = "referee", votes: int = 8) -> Game:
    settings = GameSettings(players=4, clue_rounds=1, voter=voter, votes=votes)  # type: ignore[arg-type]
    games = (
        deal(settings, seed=s, id="g", image=IMAGE, spy_image=ImageRef("blank-8x8", "blank:8x8")) for s in range(99)
    )
    return next(game for game in games if game.secret.spy == spy)


def with_clues(game: Game) -> Game:
    for seat in range(1, 5):
        game = game.with_clue(
            Completion(f"{HOSTILE} of {seat} \\boxed{{\x1b[5mclue {seat}}}" if seat != 3 else "no box")
        )
    return game


def referee_votes(game: Game, *votes: str) -> Game:
    return game.with_votes({None: [Completion(f"{HOSTILE} \\boxed{{{vote}}}") for vote in votes]})


def shown(game: Game, *, person: int | None = None, ended: bool = True) -> str:
    stream = io.StringIO()
    table = TerminalTable(stream, person=person, source=io.StringIO())
    table.opening(game, PICTURE)
    for clues in range(1, len(game.turns) + 1):
        table.clue(replace(game, turns=game.turns[:clues], ballots=()))
    if ended:
        table.ending(game, ScoringSettings())
    return stream.getvalue()


FINISHED = referee_votes(with_clues(dealt(spy=4)), *"44444", "1", "n/a", "x")


def test_nothing_that_a_terminal_obeys_reaches_it() -> None:
    text = shown(FINISHED)
    assert "secret note" in text
    assert "clue 1" in text
    assert all(character == "\n" or character.isprintable() for character in text)


def test_the_rewards_of_the_golden_game_are_shown_as_arithmetic() -> None:
    """The method page: 8 votes, all on the spy; r_s = -.8 and +.2667 for each citizen."""
    game = referee_votes(with_clues(dealt(spy=4)), *"44444444")
    lines = rewards_as_arithmetic(game, score(game, ScoringSettings()), ScoringSettings())
    assert "  player 4 (spy): −0.1 × (8 − 0) = −0.8" in lines
    assert "  player 1: 0.1/3 × (8 − 0) − 0.1 × (0 − 0) = +0.2667" in lines
    assert "  player 3, refused clue of round 1: −0.5" in lines
    assert "  the referee: +1, +1, +1, +1, +1, +1, +1, +1" in lines


def test_votes_and_the_winner_are_shown() -> None:
    text = shown(FINISHED)
    assert "the referee: 4, 4, 4, 4, 4, 1, n/a, invalid" in text
    assert "The citizens win." in text
    assert "Votes for player 1: 1, player 2: 0, player 3: 0, player 4: 5; n/a 1, invalid 1" in text
    assert "Mean over citizens: (1 + 0 + 0) / 3 = 0.3333" in text
    assert "[refused: no balanced" in text


def test_the_samples_of_a_seated_citizen_share_its_one_vote() -> None:
    game = with_clues(dealt(spy=4, voter="seated", votes=2))
    game = game.with_votes({seat: [Completion("\\boxed{4}"), Completion("\\boxed{n/a}")] for seat in (1, 2, 3)})
    text = shown(game)
    assert "player 4: 1.5; n/a 3" in text
    assert "player 4 (spy): −0.1 × (1.5 − 0) = −0.15" in text


@pytest.mark.parametrize("person", [1, 4])
def test_a_person_is_shown_no_role_and_no_reasoning_of_others_until_the_votes_are_in(person: int) -> None:
    during = shown(FINISHED, person=person, ended=False)
    assert "secret note" not in during
    assert "(spy)" not in during
    assert ("You are player 4, the spy" in during) == (person == 4)
    assert "clue 2" in during
    assert f"player {person} (you)" in during
    assert "refused" not in during  # another's clue; the placeholder says enough
    after = shown(FINISHED, person=person)[len(during) :]
    assert "Player 4 was the spy" in after
    assert "secret note" in after


def test_only_the_spy_is_not_told_what_the_picture_is() -> None:
    assert IMAGE.id in shown(FINISHED, person=1, ended=False)
    assert IMAGE.id not in shown(FINISHED, person=4, ended=False)
    assert "photos" not in shown(FINISHED, person=4, ended=False)


def test_a_person_is_asked_for_a_line_and_the_end_of_input_is_none() -> None:
    stream = io.StringIO()
    table = TerminalTable(stream, person=1, source=io.StringIO("a clue\nlast"))
    assert [table.ask("Your clue:") for _ in range(3)] == ["a clue", "last", None]
    table.left()
    assert stream.getvalue().count("Your clue:") == 3
    assert stream.getvalue().endswith("the game was not finished.\n")


def test_a_picture_is_drawn_only_where_there_are_colours() -> None:
    assert "▀" not in shown(FINISHED)
    text = in_half_blocks(Image.new("RGB", (20, 10), (255, 0, 0)), 8)
    assert text.plain == ("▀" * 8 + "\n") * 2
    console = Console(file=io.StringIO(), force_terminal=True, color_system="truecolor", width=20)
    with console.capture() as capture:
        console.print(text)
    assert "38;2;255;0;0" in capture.get()
