"""What a vote is: every string is exactly one of an accusation, an abstention and an invalid vote."""

import pytest

from selfsight.methods.vision_zero import Vote, read_vote

SEATS = ["3", "Player 3", "PLAYER_3", "player3", "\\text{Player 3}", "3.", " 3 ", "３", "$3$", "**3**", "PLAYER\\_3"]
ABSTENTIONS = ["N/A", "n/a", "n/a.", "NA", "na", "\\text{N/A}", "\\text{n/a}.", "N / A"]
INVALID = [
    "1 or 2", "-1", "3/4", "0", "5", "10", "03", "", "  ", "Player 3 is the spy", "the third player", "not 3", "1, 2",
    "3 4", "2.5", "²", "½", "1e0", "Player", "three", "banana", "nan", "n", "/", "\\", "{}", "3?", "١٢", "+3",
]  # fmt: skip


@pytest.mark.parametrize("text", SEATS)
@pytest.mark.parametrize("frame", ["{}", "I compare. \\boxed{{{}}}", "<think>Hm, 1?</think><answer>{}</answer>"])
def test_a_seat_can_be_written_in_many_ways(text: str, frame: str) -> None:
    assert read_vote(frame.format(text), players=4) == Vote("accusation", 3)


@pytest.mark.parametrize("text", ABSTENTIONS)
@pytest.mark.parametrize("frame", ["{}", "Cannot tell. \\boxed{{{}}}", "<answer>{}</answer>"])
def test_an_abstention_is_said_as_na(text: str, frame: str) -> None:
    assert read_vote(frame.format(text), players=4) == Vote("abstention")


@pytest.mark.parametrize("text", INVALID)
@pytest.mark.parametrize("frame", ["{}", "I compare. \\boxed{{{}}}", "<answer>{}</answer>"])
def test_everything_else_is_invalid_and_says_why(text: str, frame: str) -> None:
    vote = read_vote(frame.format(text), players=4)
    assert (vote.kind, vote.seat) == ("invalid", None)
    assert vote.reason


@pytest.mark.parametrize(
    ("text", "seat"),
    [
        ("\\boxed{1} no, \\boxed{3}", 3),
        ("\\boxed{3} or \\boxed{\\text{Player 2}}", 2),
        ("\\boxed{1} but <answer>3</answer>", 3),
        ("<answer>1</answer> but \\boxed{3}", 3),
        ("<answer>\\boxed{3}</answer>", 3),
        ("<think>\\boxed{1}</think> \\boxed{3}", 3),
        ("\\boxed{\\boxed{3}}", 3),
        ("<answer>2</answer> <answer>4</answer>", 4),
    ],
)
def test_of_two_votes_the_last_one_counts(text: str, seat: int) -> None:
    assert read_vote(text, players=4) == Vote("accusation", seat)


@pytest.mark.parametrize(
    "text",
    [
        "\\boxed{3", "3}", "\\boxed{1} \\boxed{", "\\boxed{1} \\boxed{3", "<answer>3", "<answer>1</answer><answer>3",
        "<think>3", "<think>\\boxed{3}</think>", "\\boxed{1}\\boxed{}", "The spy is player 3, since its clue is wrong.",
        "{\"spy\": 3}", "\\boxed{" * 5_000, "}" * 70_000, "3" * 70_000,
    ],
)  # fmt: skip
def test_an_unfinished_or_unmarked_vote_is_invalid(text: str) -> None:
    assert read_vote(text, players=4).kind == "invalid"


def test_a_completion_that_was_cut_off_is_invalid_whatever_it_says() -> None:
    assert read_vote("\\boxed{3}", players=4, finished=False).kind == "invalid"
    assert read_vote("\\boxed{n/a}", players=4, finished=False).kind == "invalid"


def test_a_seated_citizen_cannot_accuse_itself_and_a_referee_can_accuse_anybody() -> None:
    assert read_vote("\\boxed{3}", players=4, voter=3).kind == "invalid"
    assert read_vote("\\boxed{3}", players=4, voter=2) == Vote("accusation", 3)
    assert [read_vote(str(k), players=9).seat for k in range(11)] == [None, *range(1, 10), None]
