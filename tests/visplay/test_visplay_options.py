"""Each option changes what it says and nothing else: steps and curation with policies that read from a script."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsight.config import EvolveConfig, GateSettings, load_config
from selfsight.errors import SelfsightError
from selfsight.images.source import ImageRef
from selfsight.language import NoveltyMemory
from selfsight.language.prompts import COMPACT, FULL, Prompt
from selfsight.language.votes import count_votes
from selfsight.methods.stages import Stage, stages_of
from selfsight.methods.visplay import gates as g
from selfsight.methods.visplay.asking import Place, plausibility, propose
from selfsight.methods.visplay.curation import (
    ask_candidates,
    candidates_hash,
    check_pool,
    decide,
    pieces,
    pool_wanted,
)
from selfsight.methods.visplay.phases import questioner_batch, reasoner_batch
from selfsight.methods.visplay.records import (
    QUESTIONS,
    VOTES,
    Asked,
    PoolItem,
    Question,
    asked_from_rows,
    question_row,
    vote_rows,
)
from selfsight.methods.visplay.roles import Roles
from selfsight.methods.visplay.schedule import phases
from selfsight.methods.visplay.stream import ImageStream, round_images
from selfsight.policy import Rollout, SampleRequest, Sampling
from selfsight.run.tables import read_table, write_table

IMAGES = [ImageRef(f"w-mixed-train-0-{number}", "test") for number in range(3)]
QUESTION = "How many red circles are there?"


class Scripted:
    """A policy that says what a script says for (request, sample)."""

    trainable = True

    def __init__(self, says: Callable[[SampleRequest, int], str], lowest: Callable[[str], float] = lambda _: -1.0):
        self.says, self.lowest = says, lowest
        self.requests: list[SampleRequest] = []
        self.samplings: list[Sampling] = []
        self.texts: dict[bytes, str] = {}
        self.scored: list[tuple[Prompt, np.ndarray]] = []

    def sample(self, requests: Sequence[SampleRequest], sampling: Sampling) -> dict[str, list[Rollout]]:
        self.requests += requests
        self.samplings.append(sampling)
        return {r.id: [self._rollout(r, k) for k in range(r.n)] for r in requests}

    def _rollout(self, request: SampleRequest, index: int) -> Rollout:
        text = self.says(request, index)
        finished = not text.endswith("...")
        ids = np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int64)
        self.texts[ids.tobytes()] = text
        return Rollout(request.id, index, ids, np.zeros(len(ids), np.float32), text.rstrip("."), finished, 0)

    def logprobs(self, pairs: Sequence[tuple[Prompt, np.ndarray]], *, reference: str | None) -> list[np.ndarray]:
        assert reference == "anchor"
        self.scored += pairs
        return [np.array([-0.1, self.lowest(self.texts[ids.tobytes()])]) for _, ids in pairs]

    def token_at(self, rollout: Rollout, character: int) -> int:
        return character  # a token per character


def asks(*questions: str) -> Scripted:
    """A questioner whose sample k is question k."""
    return Scripted(lambda request, index: questions[index % len(questions)])


def answers(**votes: int) -> Scripted:
    """A reasoner whose samples are these answers so many times, in order, and then no box."""
    said = [f"\\boxed{{{answer}}}" for answer, count in votes.items() for _ in range(count)]
    return Scripted(lambda request, index: said[index] if index < len(said) else "I cannot tell")


def roles(questioner: Scripted, reasoner: Scripted) -> Roles:
    parts: Any = (questioner, reasoner)
    return Roles(*parts, COMPACT, lambda image: image)


def config(*overrides: str) -> EvolveConfig:
    return load_config("visplay-smoke", ["visplay.gates={preset: paper}", *overrides])


def batch(questioner: Scripted, reasoner: Scripted, *overrides: str, memory: NoveltyMemory | None = None) -> Any:
    place = Place(1, "questioner", 0)
    return questioner_batch(
        roles(questioner, reasoner), config(*overrides), IMAGES[:1], place, memory or NoveltyMemory()
    )


def rewards(batch: Any) -> list[float]:
    return list(batch.groups[0].rewards)


# --- the questioner's step -----------------------------------------------------------------------------------


@pytest.mark.parametrize("num_votes", [4, 6, 10])
def test_num_votes_answers_are_drawn_for_each_question(num_votes: int) -> None:
    reasoner = answers(yes=3)
    step = batch(asks(QUESTION), reasoner, f"visplay.num_votes={num_votes}", "grpo.num_generations=2")
    assert [request.n for request in reasoner.requests] == [num_votes] * 2
    assert [row["confidence"] for row in step.rows] == [3 / num_votes] * 2


def test_diversity_weight_scales_the_price_of_repeating_oneself() -> None:
    different = ("Is there a cat?", "What colour does that far house over there have?")
    spread = {
        weight: rewards(
            batch(asks(*different, *different[:1] * 2), answers(yes=2, no=1), f"visplay.diversity_weight={weight}")
        )
        for weight in (0, 0.5, 1)
    }
    # c = 1/2; clusters of 3, 1, 3 and 3 of 4.
    assert spread[0] == [1.0, 1.0, 1.0, 1.0]
    assert spread[0.5] == [0.625, 0.875, 0.625, 0.625]
    assert spread[1] == [0.25, 0.75, 0.25, 0.25]


def test_a_question_that_cannot_be_read_or_was_cut_off_earns_nothing_and_is_never_asked() -> None:
    reasoner = answers(yes=2)
    questioner = asks(QUESTION, "no question mark", "How many red...", "Is there a cat?")
    step = batch(questioner, reasoner, "grpo.num_generations=4")
    assert [reward > 0 for reward in rewards(step)] == [True, False, False, True]
    assert [request.prompt.user for request in reasoner.requests] == [QUESTION, "Is there a cat?"]
    assert [row["reason"] for row in step.rows] == [
        "", "question does not end in '?'", "cut off at max_question_length", "",
    ]  # fmt: skip
    assert step.metrics["valid"] == 0.5


def test_lengths_and_temperature_reach_the_sampler() -> None:
    questioner, reasoner = asks(QUESTION), answers(yes=2)
    batch(questioner, reasoner, "grpo.temperature=0.7", "visplay.max_question_length=11", "visplay.max_answer_length=9")
    assert questioner.samplings == [Sampling(temperature=0.7, max_completion_length=11)]
    assert reasoner.samplings == [Sampling(temperature=0.7, max_completion_length=9)]


def test_the_plausibility_floor_takes_the_reward_of_what_the_base_would_not_say() -> None:
    odd = "Is purple cat the?"
    for floor, expected in (("null", [True] * 4), ("-5.0", [True, False, True, False]), ("-9.0", [True] * 4)):
        questioner = asks(QUESTION, odd)
        questioner.lowest = lambda text: -7.0 if text == odd else -2.0
        reasoner = answers(yes=2)
        step = batch(questioner, reasoner, f"visplay.gates.plausibility_floor={floor}")
        assert [reward > 0 for reward in rewards(step)] == expected
        assert len(reasoner.requests) == sum(expected)
        assert [row["gate"] for row in step.rows] == [None if paid else "plausibility" for paid in expected]
        assert bool(questioner.scored) == (floor != "null")


def test_thinking_before_a_question_does_not_make_it_implausible() -> None:
    thought = f"<think>hmm, qwzx</think><question>{QUESTION}</question>"
    questioner = Scripted(lambda request, index: thought)

    parts: Any = (questioner, answers(yes=2))
    both, image = Roles(*parts, FULL, lambda i: i), IMAGES[0]
    pairs = propose(both, config(), [image], 1, Place(1, "questioner", 0))[image.id]
    for odd, lowest in (("z", -0.1), (QUESTION[0], -8.0), (">", -8.0)):
        scores = np.array([-8.0 if character == odd else -0.1 for character in thought])
        questioner.logprobs = lambda pairs, *, reference, scores=scores: [scores]  # type: ignore[method-assign]
        assert plausibility(both, pairs) == {pairs[0][0].id: lowest}


def test_worn_out_wordings_earn_nothing_with_the_novelty_gate() -> None:
    memory = NoveltyMemory()
    memory.add([QUESTION] * 30 + ["Is there a cat?"] * 2)
    questioner = asks(QUESTION, "What stands near that old house?")
    assert all(reward > 0 for reward in rewards(batch(questioner, answers(yes=2), memory=memory)))
    step = batch(questioner, answers(yes=2), "visplay.gates.novelty=0.1", memory=memory)
    assert [reward > 0 for reward in rewards(step)] == [False, True, False, True]
    assert step.metrics["refused"] == 0.5


def test_nothing_in_a_group_depends_on_other_images() -> None:
    reasoner = Scripted(lambda request, index: "\\boxed{yes}" if index < (2 if "0/" in request.id else 4) else "-")
    pair = roles(asks(QUESTION, "Is there a cat?"), reasoner)
    place = Place(1, "questioner", 0)
    alone = questioner_batch(pair, config(), IMAGES[:1], place, NoveltyMemory())
    together = questioner_batch(pair, config(), IMAGES, place, NoveltyMemory())
    assert len(together.groups) == 3
    assert list(together.groups[0].rewards) == list(alone.groups[0].rewards)
    assert together.rows[:4] == alone.rows


# --- the reasoner's step -------------------------------------------------------------------------------------


def items(count: int) -> list[PoolItem]:
    return [PoolItem(f"q{n}", IMAGES[n % 3], QUESTION, "yes", 0.5) for n in range(count)]


def test_an_answer_earns_one_for_the_label_and_nothing_else() -> None:
    pair = roles(asks(QUESTION), answers(yes=1, no=2))
    step = reasoner_batch(pair, config(), items(2), Place(1, "reasoner", 0))
    assert [list(group.rewards) for group in step.groups] == [[1.0, 0.0, 0.0, 0.0]] * 2
    assert step.metrics["format_failures"] == 0.25
    flipped = reasoner_batch(pair, config("visplay.controls.reward=random"), items(40), Place(1, "reasoner", 0))
    flips = np.concatenate([group.rewards for group in flipped.groups])
    assert set(flips) == {0.0, 1.0}
    assert 0.3 < flips.mean() < 0.7


# --- curation ------------------------------------------------------------------------------------------------


def gates_of(*overrides: str) -> GateSettings:
    return config(*overrides).visplay.gates


def test_both_presets_are_the_chains_of_the_method_page() -> None:
    memory = NoveltyMemory()
    assert g.chain(gates_of(), memory, 5) == (g.FormatGate(), g.BandGate(0.25, 0.75), g.TieGate())
    assert g.chain(gates_of("visplay.gates.preset=robust"), memory, 5) == (
        g.FormatGate(),
        g.PlausibilityGate(-5.0),
        g.BandGate(0.4, 0.95, name="agreement"),
        g.TieGate(),
        g.DuplicateGate(seed=5),
        g.NoveltyGate(memory, 0.02),
        g.BalanceGate(0.5, 0.35, seed=5),
    )


@pytest.mark.parametrize(
    ("override", "gate"),
    [
        ("plausibility_floor=-4.0", g.PlausibilityGate(-4.0)),
        ("band=[0.3, 0.8]", g.BandGate(0.3, 0.8)),
        ("agreement_floor=0.5", g.BandGate(0.5, 1.0, name="agreement")),
        ("agreement_ceiling=0.9", g.BandGate(0.0, 0.9, name="agreement")),
        ("duplicates=true", g.DuplicateGate(seed=5)),
        ("novelty=0.1", g.NoveltyGate(NoveltyMemory(), 0.1)),
        ("blind=true", g.BlindGate()),
        ("supervisor=0.7", g.SupervisorGate(0.7)),
        ("max_answer_share=0.6", g.BalanceGate(0.6, 1.0, seed=5)),
        ("max_family_share=0.2", g.BalanceGate(1.0, 0.2, seed=5)),
    ],
)
def test_each_gate_is_one_option(override: str, gate: g.Gate) -> None:
    memory = gate.memory if isinstance(gate, g.NoveltyGate) else NoveltyMemory()
    before = g.chain(gates_of("visplay.gates.band=null"), memory, 5)
    after = g.chain(gates_of("visplay.gates.band=null", f"visplay.gates.{override}"), memory, 5)
    assert before == (g.FormatGate(), g.TieGate())
    assert [one for one in after if one not in before] == [gate]
    assert [one for one in after if one in before] == list(before)


def candidates(reasoner: Scripted, *overrides: str) -> tuple[list[Asked], Any]:
    settings = config("visplay.gates.band=null", *overrides)
    questioner = asks(QUESTION, "Is there a cat?", "no question", QUESTION)
    place = Place(1, "curation", 0)
    asked = ask_candidates(roles(questioner, reasoner), settings, IMAGES[:2], place, NoveltyMemory())
    return asked, decide(asked, settings, NoveltyMemory(), 1, None)


def test_costly_evidence_is_asked_for_only_where_it_can_still_matter() -> None:
    def says(request: SampleRequest, index: int) -> str:
        if request.prompt.user.startswith("Can this be answered"):
            return "\\boxed{no}" if "cat" in request.prompt.user else "\\boxed{yes}"
        if request.prompt.image is None:
            return "\\boxed{yes}" if "cat" in request.prompt.user else "\\boxed{7}"
        return "\\boxed{yes}"

    plain, kept = candidates(Scripted(says), "visplay.gates.duplicates=true")
    assert [asked.blind for asked in plain] == [None] * 8
    assert len(kept.pool) == 4

    for gate, setting in (("blind", "true"), ("supervisor", "0.5")):
        reasoner = Scripted(says)
        _, curated = candidates(reasoner, "visplay.gates.duplicates=true", f"visplay.gates.{gate}={setting}")
        without_image = [request for request in reasoner.requests if request.prompt.image is None]
        judging = [request for request in reasoner.requests if request.prompt.user.startswith("Can this")]
        extra = without_image + judging
        assert len(extra) == 4  # not for what could not be read, nor for duplicates
        assert {request.n for request in extra} == {4}
        assert [item.question for item in curated.pool] == [QUESTION] * 2
        rejected = [verdict for verdict in curated.verdicts.values() if verdict.gate == gate]
        assert len(rejected) == 2


def test_duplicates_that_lose_the_draw_never_lack_evidence_later() -> None:
    """Evidence is gathered piece by piece, the pool is judged as a whole: both must draw the same winner."""
    for seed in range(20):
        settings = config("visplay.gates.preset=robust", "visplay.gates.blind=true", f"seed={seed}")
        questioner = asks(QUESTION)
        pair = roles(questioner, answers(yes=2, no=1))
        asked = [
            one
            for piece in range(3)
            for one in ask_candidates(pair, settings, IMAGES, Place(2, "curation", piece), NoveltyMemory())
        ]
        curated = decide(asked, settings, NoveltyMemory(), 2, None)
        assert len({item.image.id for item in curated.pool}) <= 3


def test_what_was_written_down_is_read_back_the_same(tmp_path: Path) -> None:
    reasoner = Scripted(lambda request, index: f"\\boxed{{{index // 2}}}" if index else "no box")
    asked, _ = candidates(reasoner, "visplay.gates.preset=robust", "visplay.gates.blind=true",
                          "visplay.gates.supervisor=0.5", "visplay.gates.agreement_floor=0.1")  # fmt: skip
    assert any(one.blind is not None for one in asked)
    write_table(tmp_path / "q.parquet", [question_row(a, phase="curation", step=0) for a in asked], QUESTIONS)
    write_table(tmp_path / "v.parquet", [row for a in asked for row in vote_rows(a)], VOTES)
    again = asked_from_rows(read_table(tmp_path / "q.parquet", QUESTIONS), read_table(tmp_path / "v.parquet", VOTES))
    assert again == asked


def test_a_label_from_outside_decides_labels_and_drops_what_has_none() -> None:
    settings = config("visplay.gates.band=null")
    asked, curated = candidates(answers(yes=4))
    true = {QUESTION: "3"}
    labelled = decide(asked, settings, NoveltyMemory(), 1, lambda image, question: true.get(question))
    assert {item.label for item in curated.pool} == {"yes"}
    assert {(item.question, item.label) for item in labelled.pool} == {(QUESTION, "3")}
    assert len(labelled.pool) == 4 < len(curated.pool) == 6
    assert labelled.counts[:-1] == curated.counts
    assert labelled.counts[-1] == g.GateCount("truth", 6, 2)
    assert sum(verdict.kept for verdict in labelled.verdicts.values()) == 4


def test_a_small_pool_names_the_gate_that_emptied_it() -> None:
    settings = config("visplay.questions_per_step=5", "visplay.min_pool=3")
    counts = (g.GateCount("format", 40, 4), g.GateCount("band", 36, 33))
    check_pool(items(5), counts, settings, 2)
    with pytest.raises(SelfsightError, match=r"round 2: the pool holds 4 .* 5 are needed; the gate 'band'") as refusal:
        check_pool(items(4), counts, settings, 2)
    assert "visplay.questions_per_step" in str(refusal.value.hint)
    check_pool([], counts, config("visplay.reasoner_steps=0"), 2)
    with pytest.raises(SelfsightError, match="at least 9 are needed"):
        check_pool(items(8), counts, config("visplay.min_pool=9"), 2)


@settings(deadline=None)
@given(st.integers(1, 260), st.integers(1, 4))
def test_the_pieces_of_curation_cover_every_image_of_every_attempt_once(images: int, attempts: int) -> None:
    settings = config(f"visplay.pool_images={images}", f"visplay.max_pool_attempts={attempts}")
    cut = pieces(settings)
    assert [place for start, count in cut for place in range(start, start + count)] == list(range(images * attempts))
    for start, count in cut:
        assert 1 <= count <= 50
        assert start // images == (start + count - 1) // images


def test_candidates_are_named_by_what_they_depend_on() -> None:
    base = candidates_hash(config(), "w")
    for same in ("visplay.min_pool=2", "visplay.questions_per_step=9", "visplay.reasoner_steps=7", "save_steps=3",
                 "evaluation.questions=30"):  # fmt: skip
        assert candidates_hash(config(same), "w") == base
    for other in ("seed=1", "visplay.num_votes=5", "grpo.temperature=0.9", "visplay.gates.blind=true",
                  "visplay.pool_images=9", "visplay.max_answer_length=60"):  # fmt: skip
        assert candidates_hash(config(other), "w") != base
    assert candidates_hash(config(), "v") != base


def stages(settings: EvolveConfig) -> list[Stage]:
    return stages_of([phases(settings)] * settings.visplay.rounds)


# --- schedule and stream -------------------------------------------------------------------------------------


def test_the_schedule_is_the_papers_with_a_measurement_after_every_round() -> None:
    names = [stage.name for stage in stages(config("visplay.rounds=2"))]
    assert names == [
        "round-0/evaluation",
        "round-1/questioner", "round-1/curation", "round-1/reasoner", "round-1/evaluation",
        "round-2/questioner", "round-2/curation", "round-2/reasoner", "round-2/evaluation",
    ]  # fmt: skip
    without = [name for name in names if "questioner" not in name]
    for override in ("visplay.controls.questioner=untrained", "visplay.questioner_steps=0"):
        assert [stage.name for stage in stages(config("visplay.rounds=2", override))] == without
    numbers = [stage.checkpoint_step(step) for stage in stages(config()) for step in (0, 5, 999_999)]
    assert numbers == sorted(set(numbers))


class Numbered:
    """A source of `total` images (None: endless)."""

    name = "numbered"

    def __init__(self, total: int | None) -> None:
        self.total = total

    def size(self) -> int | None:
        return self.total

    def take(self, start: int, count: int) -> list[ImageRef]:
        stop = start + count if self.total is None else min(start + count, self.total)
        return [ImageRef(f"i-{number}", "") for number in range(start, stop)]

    def usable(self, ref: ImageRef) -> bool:
        return True


def stream(total: int | None, *overrides: str) -> ImageStream:
    source: Any = Numbered(total)
    return ImageStream(source, config("visplay.questioner_steps=3", "visplay.images_per_step=4",
                                      "visplay.pool_images=10", "visplay.max_pool_attempts=2", *overrides))  # fmt: skip


def test_every_step_piece_and_round_has_images_of_its_own() -> None:
    images = stream(None)
    used = []
    for round in (1, 2, 3):
        for step in range(3):
            used += [ref.id for ref in images.for_step(round, step)]
        for start, count in pieces(images.config):
            used += [ref.id for ref in images.for_curation(round, start, count)]
    assert used == [f"i-{number}" for number in range(3 * 32)]
    assert round_images(images.config) == (12, 32)
    assert not images.repeats


@pytest.mark.parametrize(("total", "repeats"), [(96, False), (95, True), (3, True)])
def test_a_source_that_is_too_small_repeats_and_says_so(total: int, repeats: bool) -> None:
    images = stream(total, "visplay.rounds=3")
    assert images.repeats == repeats
    for round in (1, 2, 3):
        for step in range(3):
            ids = [ref.id for ref in images.for_step(round, step)]
            assert len(ids) == len(set(ids)) == min(4, total)


def test_noise_is_rewarded_by_uncertainty_alone_which_is_why_there_are_gates() -> None:
    """Uniform guessing over four options at m = 10: mean c = .42 and mean r_unc = .80, exactly."""
    from itertools import product
    from math import factorial

    from selfsight.methods.visplay.rewards import uncertainty

    confidence = reward = Fraction(0)
    for split in product(range(11), repeat=4):
        if sum(split) != 10:
            continue
        ways = factorial(10)
        for count in split:
            ways //= factorial(count)
        votes = count_votes([str(option) for option, count in enumerate(split) for _ in range(count)])
        confidence += Fraction(ways, 4**10) * Fraction(votes.winner_count, 10)
        reward += Fraction(ways, 4**10) * Fraction(uncertainty(votes)).limit_denominator(10)
    assert float(confidence) == pytest.approx(0.42, abs=0.01)
    assert float(reward) == pytest.approx(0.80, abs=0.01)


def test_a_pool_is_wanted_for_every_step_once() -> None:
    assert pool_wanted(config("visplay.reasoner_steps=7", "visplay.questions_per_step=3")) == 21


@pytest.mark.parametrize(("floor", "kept"), [("0.5", 6), ("0.75", 0)])
def test_the_supervisor_is_asked_as_often_as_the_reasoner_and_an_unreadable_verdict_is_not_a_yes(
    floor: str, kept: int
) -> None:
    verdicts = ("\\boxed{yes}", "hm", "\\boxed{yes}", "\\boxed{no}")
    asked, curated = candidates(
        Scripted(lambda request, index: verdicts[index if "Can this" in request.prompt.user else 0]),
        f"visplay.gates.supervisor={floor}",
    )
    assert {one.supervisor for one in asked} == {0.5, None}
    assert len(curated.pool) == kept


def test_the_question_records_carry_their_image() -> None:
    asked = Asked(Question("q", IMAGES[0], QUESTION, True, "", QUESTION), None, ())
    row = question_row(asked, phase="curation", step=3)
    assert (row["image_id"], row["origin"], row["step"]) == (IMAGES[0].id, "test", 3)
