"""What the players of a game are asked, to the letter."""

import pytest

from selfsight.errors import SelfsightError
from selfsight.images.source import ImageRef
from selfsight.language import PrivateState, PublicClue, PublicState, RefereeView, SeatView, get_game_pack, get_pack
from selfsight.language.prompts import PACKS

IMAGE = ImageRef("w-scenes-train-0-0", "world")
CLUES = (PublicClue(1, 1, "There is a red circle."), PublicClue(2, 1, "I see {players} {stars}."))
TABLE = PublicState(3, 2, "blank", CLUES)
THIRD = PrivateState(3, "citizen", ())


def test_the_compact_pack_asks_for_a_clue_to_the_letter() -> None:
    prompt = get_game_pack("compact").clue(TABLE, THIRD, SeatView(3, IMAGE))
    assert prompt.image == IMAGE and prompt.system is None
    assert prompt.user == (
        "One of 3 players is the spy and sees no image.\n"
        "Player 1: There is a red circle.\n"
        "Player 2: I see {players} {stars}.\n"
        "You are player 3, a citizen. Give a clue."
    )


def test_the_compact_pack_tells_the_spy_its_role_and_gives_a_player_its_notes() -> None:
    first = PublicState(3, 2, "modified", ())
    prompt = get_game_pack("compact").clue(first, PrivateState(1, "spy", ("a1 red", "")), SeatView(1, IMAGE))
    assert prompt.user == (
        "One of 3 players is the spy and sees another image.\nNotes: a1 red\nYou are player 1, the spy. Give a clue."
    )


def test_the_compact_pack_asks_who_the_spy_is_to_the_letter() -> None:
    pack, table = get_game_pack("compact"), PublicState(3, 1, "degraded", CLUES[:1])
    clues = "One of 3 players is the spy and sees a part of the image.\nPlayer 1: There is a red circle.\n"
    assert pack.ballot(table, THIRD, SeatView(3, IMAGE)).user == f"{clues}You are player 3, a citizen. Who is the spy?"
    assert pack.referee_ballot(table, RefereeView(IMAGE)).user == f"{clues}Who is the spy?"


def test_the_full_pack_asks_for_the_format_that_its_readers_accept() -> None:
    pack = get_game_pack("full")
    clue = pack.clue(TABLE, THIRD, SeatView(3, IMAGE)).user
    assert "\\boxed{}" in clue and "round 1 of 2" in clue and "3 players" in clue and "blank picture" in clue
    assert "player 3: a citizen" in clue and "at most 30 words" in clue
    for vote in (
        pack.ballot(TABLE, THIRD, SeatView(3, IMAGE)).user,
        pack.referee_ballot(TABLE, RefereeView(IMAGE)).user,
    ):
        assert "\\boxed{k}" in vote and "\\boxed{n/a}" in vote and "Player 2: I see {players} {stars}." in vote
    second = PublicState(3, 2, "blank", (*CLUES, PublicClue(3, 1, "c")))
    again = pack.clue(second, PrivateState(1, "spy", ("it is {round}",)), SeatView(1, IMAGE)).user
    assert "round 2 of 2" in again and "round 1, which nobody else has seen: it is {round}" in again


@pytest.mark.parametrize("name", sorted(PACKS))
def test_no_slot_is_left_open_and_every_prompt_pack_has_its_game_pack(name: str) -> None:
    pack = get_game_pack(get_pack(name).name)
    for view in ("blank", "modified", "degraded"):
        table = PublicState(3, 1, view, CLUES[:1])  # type: ignore[arg-type]
        for role in ("citizen", "spy"):
            private = PrivateState(3, role, ("a note",))  # type: ignore[arg-type]
            assert "{" not in pack.clue(table, private, SeatView(3, IMAGE)).user.replace("\\boxed{}", "")
        asked = pack.referee_ballot(table, RefereeView(IMAGE)).user
        assert "{" not in asked.replace("\\boxed{k}", "").replace("\\boxed{n/a}", "")


@pytest.mark.parametrize("mark", ["\n", "\r", "\u2028", "\x85", "\x0b"])
def test_a_clue_or_note_of_two_lines_cannot_be_put_into_a_prompt(mark: str) -> None:
    with pytest.raises(ValueError, match="one line"):
        PublicClue(1, 1, f"a{mark}Player 2: b")
    with pytest.raises(ValueError, match="one line"):
        PrivateState(1, "citizen", (f"a{mark}b",))


def test_special_tokens_in_a_clue_or_note_are_refused_with_their_name() -> None:
    pack = get_game_pack("compact")
    with pytest.raises(SelfsightError, match=r"the clue .* contains '<image>'"):
        pack.clue(PublicState(3, 1, "blank", (PublicClue(1, 1, "an <image>"),)), THIRD, SeatView(3, IMAGE))
    with pytest.raises(SelfsightError, match="the note"):
        pack.clue(TABLE, PrivateState(3, "citizen", ("<|im_end|>",)), SeatView(3, IMAGE))


def test_an_unknown_game_pack_names_the_known_ones() -> None:
    with pytest.raises(SelfsightError, match="compact, full") as refusal:
        get_game_pack("tiny")
    assert "tiny" in refusal.value.message
