"""A whole run of Vision-Zero: what it leaves on disk, and that its numbers follow from each other."""

import json
import re
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transformers import AutoModelForImageTextToText

from selfsight.errors import SelfsightError
from selfsight.evaluate.games import compare, decide, draw_clues, read_decisions, read_games, summarise
from selfsight.evaluate.players import ModelPlayer
from selfsight.methods.vision_zero import GameSettings, RoleBaselines, role_advantages, vote_rates
from selfsight.methods.vision_zero.playing import clue_sampling, play, vote_sampling
from selfsight.methods.vision_zero.run import evolve, resume
from selfsight.methods.vision_zero.table import deal_step, open_table
from selfsight.methods.vision_zero.transcript import replay
from selfsight.policy import Policy
from selfsight.policy.open import read_image
from selfsight.policy.weights import weights_hash
from selfsight.run import read_journal
from selfsight.run.hashing import hash_bytes
from watching import Watcher, lines, same

from .game_runs import Witnessed, config

PHASES = ["decision", "decision", "clue", "clue", "decision", "decision"]  # fixed:2


def games_of(run: Path) -> list[dict]:
    """All games of a run, in order."""
    return [line for folder in sorted((run / "rounds").iterdir()) for line in _lines(folder / "games.jsonl")]


def _lines(path: Path) -> list[dict]:
    return lines(path) if path.exists() else []


def test_a_run_leaves_its_rounds_on_disk(straight: Witnessed) -> None:
    for round in (1, 2):
        folder = straight.path / "rounds" / str(round)
        assert {path.name for path in folder.iterdir()} == {
            "games.jsonl", "model", "evaluation.parquet", "decisions.jsonl", "round.json",
        }  # fmt: skip
    stages = [entry.stage for entry in read_journal(straight.path / "journal.jsonl")]
    assert stages == ["round-0/evaluation"] + [f"round-{r}/{p}" for r in (1, 2) for p in ("games", "evaluation")]


def test_the_summary_keeps_its_contract(straight: Witnessed) -> None:
    written = json.loads((straight.path / "summary.json").read_text())
    assert written == straight.summary
    assert {"method", "recipe", "seed", "rounds", "base", "final", "delta", "timings", "versions"} <= set(written)
    assert (written["method"], written["recipe"], written["seed"]) == ("vision-zero", "vision-zero-smoke", 0)
    assert written["final"] == written["rounds"][-1]["heldout"]
    assert written["delta"]["accuracy"] == pytest.approx(written["final"]["accuracy"] - written["base"]["accuracy"])
    for entry, records in zip(written["rounds"], (_of_round(straight, 1), _of_round(straight, 2)), strict=True):
        games = entry["games"]
        assert games["n"] == len(records) == 9
        assert games["citizens_win"] == np.mean([record["score"]["citizens_win"] for record in records])
        assert sum(games["phases"].values()) == 9
        refused = [not turn["valid"] for record in records for turn in record["turns"]]
        assert games["invalid_clues"] == np.mean(refused)
    parts = written["timings"]
    assert set(parts["phases"]) == {"evaluation", "games"}
    drawn = sum(len(r.token_ids) for call in straight.calls for _, rollouts in call for r in rollouts)
    assert parts["tokens_sampled"] == drawn > 0


def _of_round(seen: Witnessed, round: int) -> list[dict]:
    return lines(seen.path / "rounds" / str(round) / "games.jsonl")


def test_every_game_of_a_run_is_on_record_and_replays_to_the_last_bit(straight: Witnessed) -> None:
    records = games_of(straight.path)
    assert [record["id"] for record in records] == [f"step-{step}/{place}" for step in range(6) for place in range(3)]
    assert len({record["image"]["id"] for record in records}) == 18  # fresh images
    for record in records:
        game, _ = replay(record)
        assert game.secret.spy == record["spy"]
    assert len({record["spy"] for record in records}) == 3


def test_the_model_of_a_round_is_a_plain_folder_with_the_very_weights(straight: Witnessed) -> None:
    model = AutoModelForImageTextToText.from_pretrained(straight.path / "rounds" / "2" / "model")
    assert weights_hash(model) == straight.table.policy.weights_hash()
    assert straight.summary["final_weights"] == hash_bytes(weights_hash(model).encode())
    assert model.config.selfsight_prompt_pack == "compact"
    assert weights_hash(model) != straight.base_hash


def test_every_round_is_measured_on_the_same_clues_of_the_starting_model(straight: Witnessed, player: Path) -> None:
    first = straight.path / "rounds" / "0"
    games = read_games(first / "clues.jsonl")
    assert Counter(game.secret.spy for game in games) == {1: 2, 2: 2, 3: 2}  # 5 games are asked for
    assert not {game.secret.image.id for game in games} & {record["image"]["id"] for record in games_of(straight.path)}
    base = Policy.load("base", player, open_image=read_image(straight.table.source))
    dealt = [replace(game, turns=(), ballots=()) for game in games]
    drawn = draw_clues(ModelPlayer(base, straight.table.pack, max_completion_length=8), dealt)
    assert [game.turns for game in drawn] == [game.turns for game in games]
    found = [read_decisions(straight.path / "rounds" / str(k) / "decisions.jsonl") for k in range(3)]
    entries = [straight.summary["base_decisions"], *(entry["decisions"] for entry in straight.summary["rounds"])]
    for decisions, entry in zip(found, entries, strict=True):
        assert [decision.clues for decision in decisions] == [decision.clues for decision in found[0]]
        assert entry.pop("change") == (None if decisions is found[0] else compare(found[0], decisions))
        assert entry == json.loads(json.dumps(summarise(decisions)))
    again = decide(ModelPlayer(straight.table.policy, straight.table.pack, max_completion_length=8), games, samples=4)
    assert again == found[2]
    assert again != found[0]


def test_held_out_games_can_be_left_out(player: Path, tmp_path: Path) -> None:
    summary = evolve(config(player, tmp_path, *SHORT, "vision_zero.eval_games=0"), progress=Watcher())
    assert summary["base_decisions"] is None and summary["rounds"][0]["decisions"] is None
    assert not list(tmp_path.rglob("decisions.jsonl"))


def test_a_step_takes_one_call_for_each_clue_and_one_for_all_votes(straight: Witnessed) -> None:
    assert len(straight.calls) == 6 * (3 * 2 + 1)
    for step in range(6):
        calls = straight.calls[7 * step : 7 * step + 7]
        assert [{request.n for request, _ in call} for call in calls] == [{1}] * 6 + [{4}]
        assert all(len(call) == 3 for call in calls)


def test_a_step_of_games_encodes_every_view_once_while_sampling(player: Path, tmp_path: Path) -> None:
    settings = config(player, tmp_path)
    table = open_table(settings)
    games = deal_step(settings, table.source, 0)
    encoded: list[int] = []
    tower = table.policy.vlm.model.model.visual
    tower.register_forward_pre_hook(lambda module, args: encoded.append(len(args[0])))
    ways = {"clue": clue_sampling(settings), "vote": vote_sampling(settings)}
    with table.policy.sharing_images():
        shared = play(table.policy, games, table.pack, **ways)
    one = len(table.policy.vlm.encoder.image(games[0].secret.image).pixels["pixel_values"])
    assert sum(encoded) == one * (3 + 1)  # three citizens' images, and one blank for all spies
    encoded.clear()
    alone = play(table.policy, games, table.pack, **ways)
    assert sum(encoded) > one * 6 * 3  # again in every call
    for game in games:
        for ours, theirs in zip(shared.clues[game.id], alone.clues[game.id], strict=True):
            assert [r.text for r in ours.rollouts] == [r.text for r in theirs.rollouts]
            for a, b in zip(ours.rollouts, theirs.rollouts, strict=True):
                assert np.abs(a.logprobs - b.logprobs).max() < 1e-4


def test_only_the_active_stage_gets_gradient(straight: Witnessed) -> None:
    assert [line["phase"] for line in lines(straight.path / "metrics.jsonl")] == PHASES
    assert len(straight.learned) == 6
    for step, (groups, _) in enumerate(straight.learned):
        calls = straight.calls[7 * step : 7 * step + 7]
        trained = [rollout for group in groups for rollout in group.rollouts]
        sampled = calls[-1:] if PHASES[step] == "decision" else calls[:-1]
        expected = [rollout for call in sampled for _, rollouts in call for rollout in rollouts]
        assert {id(rollout) for rollout in trained} == {id(rollout) for rollout in expected}
        prompts = {request.id: request.prompt for call in sampled for request, _ in call}
        assert all(group.prompt == prompts[group.rollouts[0].request_id] for group in groups)


def test_votes_are_grouped_by_prompt_and_paid_as_on_record(straight: Witnessed) -> None:
    records = {record["id"]: record for record in games_of(straight.path)}
    for step in (0, 1, 4, 5):
        groups, stats = straight.learned[step]
        assert len(groups) == 3
        for group in groups:
            game = records[group.rollouts[0].request_id.removesuffix("/vote/referee")]
            assert group.advantages is None
            assert group.rewards.tolist() == game["score"]["decision_rewards"][0]
            assert (game["baselines"], game["advantages"], game["phase"]) == (None, None, "decision")
        flat = sum(len(set(group.rewards.tolist())) == 1 for group in groups)
        assert stats.zero_variance_groups == flat


def test_clues_learn_from_role_advantages_less_the_penalty_of_a_refused_clue(straight: Witnessed) -> None:
    records = {record["id"]: record for record in games_of(straight.path)}
    metrics = lines(straight.path / "metrics.jsonl")
    baselines = RoleBaselines()
    refused = 0
    for step in (2, 3):
        own = [record for id, record in records.items() if id.startswith(f"step-{step}/")]
        earned = [(record["score"]["clue_rewards"], record["spy"]) for record in own]
        found = role_advantages(earned, baselines, alpha=0.95, baseline="pre")
        assert [record["advantages"] for record in own] == [[*values] for values in found.by_game]
        baselines = found.following
        assert (metrics[step]["baseline_spy"], metrics[step]["baseline_citizen"]) == (baselines.spy, baselines.citizen)
        groups, _ = straight.learned[step]
        assert len(groups) == 3 * 6
        for group in groups:
            id, _, round, seat = group.rollouts[0].request_id.rsplit("/", 3)
            turn = 3 * (int(round) - 1) + int(seat) - 1
            penalty = records[id]["score"]["clue_penalties"][turn]
            assert penalty == (0.0 if records[id]["turns"][turn]["valid"] else 0.5)
            refused += penalty > 0
            assert group.rewards is None
            assert group.advantages.tolist() == [records[id]["advantages"][int(seat) - 1] - penalty]
    assert 0 < refused < 36
    assert baselines != RoleBaselines()
    assert baselines.spy + 2 * baselines.citizen == pytest.approx(0)
    assert metrics[5]["baseline_spy"] == baselines.spy  # decision steps leave it alone


def test_the_kl_holds_to_the_starting_model_throughout(straight: Witnessed) -> None:
    assert set(straight.anchors) == {straight.base_hash}
    kl = [line["kl_anchor"] for line in lines(straight.path / "metrics.jsonl")]
    assert kl[0] == 0.0 < min(kl[1:])


def test_metrics_follow_from_the_games_on_record(straight: Witnessed) -> None:
    records = games_of(straight.path)
    for step, line in enumerate(lines(straight.path / "metrics.jsonl")):
        games = [replay(record) for record in records if record["id"].startswith(f"step-{step}/")]
        rates = vote_rates([game for game, _ in games])
        assert (line["accuracy"], line["abstention"]) == (rates.accuracy, rates.abstention)
        assert line["citizens_win"] == pytest.approx(np.mean([score.citizens_win for _, score in games]))
        assert line["spy_wins"] + line["citizens_win"] == pytest.approx(1)
        spies = [score.clue_rewards[game.secret.spy - 1] for game, score in games]
        assert line["reward_spy"] == pytest.approx(np.mean(spies))
        citizens = [r for g, s in games for seat, r in enumerate(s.clue_rewards, 1) if seat != g.secret.spy]
        assert line["reward_citizen"] == pytest.approx(np.mean(citizens))
        paid = [reward for _, score in games for rewards in score.decision_rewards for reward in rewards]
        assert line["reward"] == pytest.approx(np.mean(paid))
        assert line["invalid_votes"] == pytest.approx(sum(score.tally.invalid for _, score in games) / len(paid))
        said = [turn.reading.text for game, _ in games for turn in game.turns if turn.reading.valid]
        assert line["clue_words"] == pytest.approx(np.mean([len(text.split()) for text in said]))
        assert line["clues_cut_off"] == line["votes_cut_off"] == 0
    assert [line["next_phase"] for line in lines(straight.path / "metrics.jsonl")] == [*PHASES[1:], "clue"]


def test_no_request_of_a_run_tells_more_than_its_player_may_know(straight: Witnessed) -> None:
    records = {record["id"]: record for record in games_of(straight.path)}
    seen = 0
    for call in straight.calls:
        for request, _ in call:
            id, kind, *place = re.fullmatch(r"(step-\d+/\d+)/(clue|vote)/(.+)", request.id).groups()
            game, prompt = records[id], request.prompt
            seat = None if kind == "vote" else int(place[0].split("/")[1])
            expected = game["spy_image"] if seat == game["spy"] else game["image"]
            assert (prompt.image.id, prompt.image.origin) == (expected["id"], expected["origin"])
            text = f"{prompt.system}{prompt.user}"
            for secret in (game["image"]["id"], game["spy_image"]["id"], "blank-"):
                assert secret not in text
            assert "reward" not in text and "valid" not in text.replace("(no valid clue)", "")
            # Private working is in its author's own requests, and nowhere else.
            round = int(place[0].split("/")[0]) if seat else 0
            notes = [turn["note"] for turn in game["turns"] if turn["seat"] == seat and turn["round"] < round]
            shown = [line.removeprefix("Notes: ") for line in text.splitlines() if line.startswith("Notes: ")]
            assert shown == [note for note in notes if note]
            assert text.count("I look.") == sum("I look." in note for note in notes)
            assert ("the spy." in text) == (seat == game["spy"])
            seen += 1
    assert seen == 6 * 7 * 3


def test_a_finished_run_that_is_resumed_stays_as_it_is(straight: Witnessed, tmp_path: Path) -> None:
    shutil.copytree(straight.path, tmp_path / "run")
    summary = resume(tmp_path / "run", progress=Watcher())
    same(tmp_path / "run", straight.path)
    assert summary["final_weights"] == straight.summary["final_weights"]


def test_the_user_is_told_what_abstaining_is_worth_and_when_the_stage_changes(straight: Witnessed) -> None:
    assert any("n/a pays below a 0.25 chance of being right" in note for note in straight.watcher.notes)
    switched = [note for note in straight.watcher.notes if note.startswith("after step")]
    assert [note.split(" (")[0] for note in switched] == [
        "after step 2: from now on the clues train",
        "after step 4: from now on the decision trains",
        "after step 6: from now on the clues train",
    ]
    assert not any("role advantage estimation is off" in note for note in straight.watcher.notes)


# ------------------------------------------------------------------------------------------------ variants

SHORT = ("vision_zero.iterations=2", "vision_zero.eval_steps=2", "vision_zero.games_per_step=2")


def test_without_role_advantage_estimation_the_run_warns_and_subtracts_nothing(player: Path, tmp_path: Path) -> None:
    watcher = Watcher()
    settings = config(
        player, tmp_path, *SHORT, "vision_zero.rewards.baseline=off", "vision_zero.switching.mode=clue_only"
    )
    summary = evolve(settings, progress=watcher)
    assert any("44.1 to 37.4" in note for note in watcher.notes)
    assert (summary["baseline"], summary["mode"]) == ("off", "clue_only")
    for record in games_of(tmp_path / "run"):
        assert record["advantages"] == record["score"]["clue_rewards"]
        assert record["phase"] == "clue"
    assert summary["standing"]["baselines"] == {"spy": 0.0, "citizen": 0.0}


@pytest.mark.parametrize("view", ["modified", "degraded"])
def test_the_other_views_play_on_worlds_with_every_citizen_voting(player: Path, tmp_path: Path, view: str) -> None:
    watched = ("vision_zero.voter=seated", f"vision_zero.spy_view={view}", "vision_zero.switching.mode=both")
    evolve(config(player, tmp_path, *SHORT, *watched), progress=Watcher())
    records = games_of(tmp_path / "run")
    assert len(records) == 4
    for record in records:
        replay(record)
        assert [ballot["voter"] for ballot in record["ballots"]] == [s for s in (1, 2, 3) if s != record["spy"]]
        original, spys = record["image"]["id"], record["spy_image"]["id"]
        assert spys == f"{original}-modified" if view == "modified" else spys.endswith(f"~{original}")
        assert record["baselines"] is not None
    for line in lines(tmp_path / "run" / "metrics.jsonl"):
        assert line["groups"] == 2 * (6 + 2)  # clues and ballots of both games


def test_a_folder_of_photographs_of_different_sizes_is_enough_for_a_blank_spy(player: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number, size in enumerate([(64, 48), (80, 80), (48, 96)]):
        noise = np.random.default_rng(number).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
    watcher = Watcher()
    summary = evolve(config(player, tmp_path, *SHORT, f"images={folder}"), progress=watcher)
    assert summary["images_repeat"]
    assert any("images will repeat" in note for note in watcher.notes)
    records = games_of(tmp_path / "run")
    assert len(records) == 4 and len({record["image"]["id"] for record in records}) == 3
    assert {record["spy_image"]["id"] for record in records} == {"blank-64x48", "blank-80x80", "blank-48x96"}
    assert [path.name for path in tmp_path.glob("run/*.parquet")] == ["images.parquet"]


def test_a_damaged_image_costs_its_game_and_too_many_stop_the_run(player: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number in range(8):
        noise = np.random.default_rng(number).integers(0, 255, (48, 48, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
    content = bytearray((folder / "0.png").read_bytes())
    content[len(content) // 2] ^= 255
    (folder / "0.png").write_bytes(content)  # sound header, broken pixels
    settings = (*SHORT, f"images={folder}", "vision_zero.games_per_step=4")
    evolve(config(player, tmp_path, *settings), progress=Watcher())
    assert len(games_of(tmp_path / "run")) == 7
    (bad,) = lines(tmp_path / "run" / "quarantine.jsonl")
    assert bad["path"].endswith("0.png")
    with pytest.raises(SelfsightError, match=r"0\.png") as stopped:
        evolve(config(player, tmp_path, *settings, "max_bad_fraction=0.0", run_name="strict"), progress=Watcher())
    assert "everything is saved" in str(stopped.value.hint)


def test_rules_that_make_no_game_are_refused_before_the_folder_is_made(player: Path, tmp_path: Path) -> None:
    for override, complaint in (
        ("vision_zero.rewards.wrong=2.0", "decision rewards"),
        ("vision_zero.switching={k_min: 9, patience: 3}", "k_min is 9"),
        ("images=nowhere", "does not exist"),
    ):
        with pytest.raises(SelfsightError, match=complaint):
            evolve(config(player, tmp_path, override), progress=Watcher())
    assert not (tmp_path / "run").exists()


def test_the_recipes_games_are_those_of_the_specification() -> None:
    from selfsight.config import load_config
    from selfsight.methods.vision_zero.rules import game_settings, scoring_settings, switch_settings
    from selfsight.methods.vision_zero.scoring import ScoringSettings
    from selfsight.methods.vision_zero.switching import SwitchSettings

    large = load_config("vision-zero-qwen2.5-vl-7b")
    assert game_settings(large) == GameSettings(players=5, clue_rounds=2, spy_view="blank", voter="referee", votes=8)
    assert scoring_settings(large) == ScoringSettings()
    assert switch_settings(large) == SwitchSettings()
    assert (large.vision_zero.games_per_step, large.vision_zero.iterations) == (128, 100)
    assert (large.grpo.beta, large.grpo.beta_anchor) == (0.0, 0.04)
