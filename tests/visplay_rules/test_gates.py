"""The chain of curation gates: what each keeps, and that nothing is lost or depends on order."""

import math
import random
from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsight.config import GateSettings
from selfsight.language import NoveltyMemory, Votes, count_votes, family_of
from selfsight.methods.visplay.gates import (
    BalanceGate,
    BandGate,
    BlindGate,
    Candidate,
    DuplicateGate,
    FormatGate,
    Gate,
    NoveltyGate,
    PlausibilityGate,
    SupervisorGate,
    TieGate,
    Verdict,
    chain,
    curate,
)


def paper() -> tuple[Gate, ...]:
    return chain(GateSettings(preset="paper"), NoveltyMemory(), 0)


def robust(seed: int = 0) -> tuple[Gate, ...]:
    return chain(GateSettings(preset="robust"), NoveltyMemory(), seed)


def split(winner: int, m: int, answer: str = "yes") -> Votes:
    """`winner` votes for `answer`; the others abstain."""
    return count_votes([answer] * winner + [None] * (m - winner))


def candidate(number: int, question: str = "How many red circles are there?", **facts: object) -> Candidate:
    known: dict[str, object] = {"valid": True, "votes": split(5, 10), "min_logprob": -1.0} | facts
    image = str(known.pop("image_id", f"image {number}"))
    return Candidate(f"q{number:04d}", image, question, **known)  # type: ignore[arg-type]


def kept_by(gate: Gate, *pool: Candidate) -> list[str]:
    return sorted(curate(pool, [gate]).kept_ids)


@pytest.mark.parametrize(("m", "kept"), [(8, range(2, 7)), (9, range(3, 7)), (10, range(3, 8))])
def test_the_papers_band_is_inclusive_and_counted_in_integers(m: int, kept: range) -> None:
    pool = [candidate(k, votes=split(k, m)) for k in range(m + 1)]
    assert kept_by(BandGate(0.25, 0.75), *pool) == [f"q{k:04d}" for k in kept]


@pytest.mark.parametrize(("m", "kept"), [(10, range(4, 10)), (20, range(8, 20)), (5, range(2, 5))])
def test_the_agreement_floor_and_ceiling_are_inclusive_too(m: int, kept: range) -> None:
    """19 of 20 is exactly .95, and .4 of 5 exactly 2: binary floats would decide these by rounding."""
    pool = [candidate(k, votes=split(k, m)) for k in range(m + 1)]
    assert kept_by(BandGate(0.4, 0.95, name="agreement"), *pool) == [f"q{k:04d}" for k in kept]


def test_a_band_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="low <= high"):
        BandGate(0.8, 0.2)


def test_a_question_nobody_answered_is_outside_every_band() -> None:
    assert kept_by(BandGate(0.0, 1.0), candidate(0, votes=count_votes([]))) == []


def test_format_rejections_carry_the_parsers_reason() -> None:
    pool = [
        candidate(0),
        candidate(1, valid=False, votes=None, invalid_reason="question does not end in '?'"),
    ]
    verdicts = curate(pool, [FormatGate()]).verdicts
    assert verdicts[0] == Verdict("q0000", True, "", "")
    assert verdicts[1] == Verdict("q0001", False, "format", "question does not end in '?'")


def test_a_tie_and_a_single_vote_give_no_label() -> None:
    pool = [
        candidate(0, votes=count_votes(["a", "a", "b"])),
        candidate(1, votes=count_votes(["a", "a", "b", "b"])),
        candidate(2, votes=count_votes(["a", None, None])),
    ]
    curation = curate(pool, [TieGate()])
    assert [verdict.reason for verdict in curation.verdicts] == [
        "",
        "tie at 2 of 4 votes",
        "no answer has two votes (best 1 of 3)",
    ]


@pytest.mark.parametrize(
    ("logprob", "kept"), [(-5.0, True), (-5.01, False), (0.0, True), (-math.inf, False), (math.nan, False)]
)
def test_plausibility_rejects_what_the_base_questioner_would_hardly_say(logprob: float, kept: bool) -> None:
    assert bool(kept_by(PlausibilityGate(), candidate(0, min_logprob=logprob))) is kept


def test_a_gate_whose_evidence_is_missing_says_so_instead_of_passing() -> None:
    for gate, facts in [
        (PlausibilityGate(), {"min_logprob": None}),
        (BlindGate(), {}),
        (BandGate(), {"votes": None}),
    ]:
        with pytest.raises(ValueError, match="q0007"):
            curate([candidate(7, **facts)], [gate])


def test_one_wording_per_image_but_any_number_of_images() -> None:
    pool = [
        candidate(0, "Is it red?", image_id="x"),
        candidate(1, "is it RED ?", image_id="x"),
        candidate(2, "Is it red?", image_id="y"),
        candidate(3, "Is it blue?", image_id="x"),
    ]
    kept = kept_by(DuplicateGate(), *pool)
    assert len(kept) == 3 and {"q0002", "q0003"} <= set(kept)
    assert len(kept_by(DuplicateGate(per_pool=1), *pool)) == 2
    assert len(kept_by(DuplicateGate(per_image=2), *pool)) == 4


def test_wording_that_earlier_rounds_wore_out_is_rejected() -> None:
    memory = NoveltyMemory()
    worn, fresh = "Is there a red circle in the image?", "Which bar of the chart is tallest?"
    assert kept_by(NoveltyGate(memory), candidate(0, worn)) == ["q0000"]
    memory.add([worn] * 5 + [f"What is the {n}th largest value shown on this chart?" for n in range(95)])
    assert kept_by(NoveltyGate(memory, 0.02), candidate(0, worn), candidate(1, fresh)) == ["q0001"]
    assert kept_by(NoveltyGate(memory, 0.2), candidate(0, worn), candidate(1, fresh)) == ["q0000", "q0001"]


@pytest.mark.parametrize(
    ("blind", "kept"),
    [
        (split(8, 8), False),
        (split(6, 8), False),  # exactly .75
        (split(5, 8), True),  # unsure
        (split(8, 8, "no"), True),  # sure of something else
        (count_votes([None] * 8), True),
        (count_votes([]), True),
    ],
)
def test_a_question_that_the_blind_answer_right_and_surely_is_rejected(blind: Votes, kept: bool) -> None:
    assert bool(kept_by(BlindGate(0.75), candidate(0, blind=blind))) is kept


def test_the_supervisor_must_say_yes_often_enough() -> None:
    pool = [candidate(n, supervisor=share) for n, share in enumerate([1.0, 0.625, 0.5, 0.0])]
    curation = curate(pool, [SupervisorGate(0.625)])
    assert curation.kept_ids == {"q0000", "q0001"}
    assert curation.verdicts[2].reason == "50% of the verdicts say that the image answers it, below 62%"
    with pytest.raises(ValueError, match="'q0009' carries no verdicts"):
        curate([candidate(9)], [SupervisorGate()])


def existence(number: int, answer: str) -> Candidate:
    return candidate(number, "Is there a red circle?", votes=split(6, 10, answer))


def test_a_family_that_is_85_percent_no_is_evened_out() -> None:
    pool = [existence(n, "no" if n < 85 else "yes") for n in range(100)]
    kept = set(kept_by(BalanceGate(answer_cap=0.5, family_cap=1.0), *pool))
    answers = Counter("no" if int(name[1:]) < 85 else "yes" for name in kept)
    assert answers == {"no": 15, "yes": 15}


def test_a_family_of_one_answer_shrinks_to_the_allowance() -> None:
    assert len(kept_by(BalanceGate(family_cap=1.0, allowance=4), *(existence(n, "no") for n in range(50)))) == 4


def test_small_families_are_left_alone() -> None:
    questions = ["Is there a cat?", "What color is it?", "How many are there?", "Which bar is highest?"]
    pool = [candidate(n, question) for n, question in enumerate(questions)]
    assert len(kept_by(BalanceGate(), *pool)) == 4


def test_a_family_that_fills_the_pool_is_cut_to_its_share() -> None:
    pool = [existence(n, ["yes", "no"][n % 2]) for n in range(300)]
    pool += [candidate(300 + n, f"How many {['red', 'blue', 'green'][n % 3]} stars are there?",
                       votes=split(6, 10, f"num:{n % 4}")) for n in range(60)]  # fmt: skip
    pool += [candidate(400 + n, "What color is it?", votes=split(6, 10, f"text:{n % 5}")) for n in range(60)]
    curation = curate(pool, [BalanceGate(answer_cap=0.5, family_cap=0.4)])
    sizes = Counter(family_of(c.question) for c in pool if c.question_id in curation.kept_ids)
    assert sizes["is there a _"] == 80  # 80 / (80 + 60 + 60) = .4
    assert sizes["how many _ are there"] == sizes["what color is it"] == 60


def test_caps_that_upset_each_other_are_applied_until_both_hold() -> None:
    """Cutting the largest family to size leaves answers over their cap, which only a second pass sees."""
    questions = ["Is there a cat?", "What color is it?", "How many red dots are there?", "Is it big?"]
    sizes = [[6, 9], [1, 1], [3, 1], [5]]
    pool: list[Candidate] = []
    for question, answers in zip(questions, sizes, strict=True):
        for answer, size in enumerate(answers):
            votes = split(6, 10, f"num:{answer}")
            pool += [candidate(len(pool) + at, question, votes=votes) for at in range(size)]
    gate = BalanceGate(answer_cap=0.5, family_cap=0.4, allowance=1)
    once = curate(pool, [gate])
    kept = [item for item in pool if item.question_id in once.kept_ids]
    assert kept and curate(kept, [gate]).kept_ids == once.kept_ids


POOLS = st.lists(
    st.tuples(
        st.sampled_from(["Is there a cat?", "What color is it?", "How many red dots are there?", "Is it big?"]),
        st.sampled_from(["yes", "no", "num:1", "num:2"]),
    ),
    max_size=80,
)


@given(POOLS, st.sampled_from([0.3, 0.5, 0.8, 1.0]), st.sampled_from([0.25, 0.4, 1.0]), st.integers(0, 5))
@settings(max_examples=150, deadline=None)
def test_no_answer_and_no_family_exceeds_its_cap(pool, answer_cap, family_cap, allowance) -> None:  # type: ignore[no-untyped-def]
    candidates = [candidate(n, question, votes=split(6, 10, answer)) for n, (question, answer) in enumerate(pool)]
    kept_ids = curate(candidates, [BalanceGate(answer_cap, family_cap, allowance)]).kept_ids
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for item in candidates:
        if item.question_id in kept_ids:
            assert item.votes is not None and item.votes.winner is not None
            answers[family_of(item.question)][item.votes.winner] += 1
    total = len(kept_ids)
    for counts in answers.values():
        size = sum(counts.values())
        assert size <= max(allowance, family_cap * total + 1e-9)
        assert max(counts.values()) <= max(allowance, answer_cap * size + 1e-9)
    if answer_cap == family_cap == 1.0:
        assert total == len(candidates)


@given(POOLS, st.integers(0, 3), st.randoms())
@settings(max_examples=100, deadline=None)
def test_the_chain_does_not_depend_on_the_order_of_the_pool(pool, seed, rng: random.Random) -> None:  # type: ignore[no-untyped-def]
    candidates = [
        candidate(n, question, votes=split(2 + n % 8, 10, answer), image_id=f"i{n % 7}", min_logprob=-float(n % 7))
        for n, (question, answer) in enumerate(pool)
    ]
    shuffled = list(candidates)
    rng.shuffle(shuffled)
    gates = robust(seed)
    first, second = curate(candidates, gates), curate(shuffled, gates)
    assert {v.question_id: v for v in first.verdicts} == {v.question_id: v for v in second.verdicts}
    assert first.counts == second.counts
    assert curate(candidates, gates) == first


@given(POOLS)
@settings(max_examples=50, deadline=None)
def test_every_candidate_gets_one_verdict_and_every_rejection_one_gate_and_a_reason(pool) -> None:  # type: ignore[no-untyped-def]
    candidates = [
        candidate(n, question, valid=n % 5 != 0, votes=None if n % 5 == 0 else split(n % 11, 10, answer))
        for n, (question, answer) in enumerate(pool)
    ]
    curation = curate(candidates, robust())
    assert [v.question_id for v in curation.verdicts] == [c.question_id for c in candidates]
    assert all(v.kept == (v.gate == "") == (v.reason == "") for v in curation.verdicts)
    by_gate = Counter(v.gate for v in curation.verdicts if not v.kept)
    remaining = len(candidates)
    for count in curation.counts:
        assert count.seen == remaining and count.rejected == by_gate[count.gate]
        remaining -= count.rejected
    assert remaining == len(curation.kept_ids)


def test_the_seed_decides_who_stays_when_only_some_can() -> None:
    pool = [existence(n, "no") for n in range(200)]
    kept = [frozenset(kept_by(BalanceGate(family_cap=1.0, seed=seed), *pool)) for seed in range(5)]
    assert len(set(kept)) == 5


def test_the_paper_preset_is_format_and_band_and_a_label() -> None:
    assert [gate.name for gate in paper()] == ["format", "band", "tie"]
    pool = [
        candidate(0),
        candidate(1, votes=split(8, 10)),
        candidate(2, min_logprob=-50.0),
        candidate(3, valid=False),
    ]
    assert curate(pool, paper()).kept_ids == {"q0000", "q0002"}  # nonsense passes: that is the paper's chain


def test_the_robust_preset_is_what_held_the_run_together() -> None:
    names = [gate.name for gate in robust()]
    assert names == ["format", "plausibility", "agreement", "tie", "duplicates", "novelty", "balance"]
    pool = [
        candidate(0),
        candidate(1, votes=split(3, 10)),
        candidate(2, min_logprob=-9.0),
        candidate(3, votes=split(10, 10)),
        candidate(4, votes=split(9, 10)),
    ]
    assert curate(pool, robust()).kept_ids == {"q0000", "q0004"}


def test_an_id_that_occurs_twice_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="q0003"):
        curate([candidate(3), candidate(3)], paper())


def test_an_empty_chain_keeps_everything_and_an_empty_pool_is_fine() -> None:
    assert curate([candidate(0)], []).kept_ids == {"q0000"}
    assert curate([], paper()).verdicts == ()
