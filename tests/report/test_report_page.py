"""report.html: one file, safe by construction, complete, and honest about what it leaves out."""

import base64
import hashlib
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from made_runs import vision_zero_run, visplay_run
from selfsight.images import ImageRef
from selfsight.report import page
from selfsight.report.gallery import chosen
from selfsight.report.page import harmless_json, render, write_report
from selfsight.report.pictures import Pictures, thumbnail
from selfsight.report.questions import question_tables
from selfsight.report.reading import read_run


class Elements(HTMLParser):
    """What a parser makes of a page: elements with attributes, and the text inside scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.blocks: dict[str, Any] = {}
        self.scripts: list[str] = []
        self._inside: dict[str, str | None] | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._inside = dict(attrs) if tag == "script" else None

    def handle_data(self, data: str) -> None:
        if self._inside is None:
            return
        if self._inside.get("type") == "application/json":
            self.blocks[str(self._inside["id"]).removeprefix("data-")] = json.loads(data)
        else:
            self.scripts.append(data)
        self._inside = None


def report_of(run: Path, tmp_path: Path, **options: Any) -> Elements:
    return Elements(write_report(run, tmp_path / "report.html", **options).path.read_text())


def test_the_report_lies_in_the_run_unless_told_otherwise(tmp_path: Path) -> None:
    run = visplay_run(tmp_path, images=1, rounds=1)
    assert write_report(run).path == run / "report.html"


def test_every_question_is_in_the_page_with_its_details(visplay: Path, tmp_path: Path) -> None:
    blocks = report_of(visplay, tmp_path).blocks
    columns, names = blocks["questions"]["columns"], blocks["questions"]["names"]
    assert {len(values) for values in columns.values()} == {96}
    kept = columns["fate"].index(0)
    assert columns["text"][kept] == "How many red circles are there?"
    assert names["answers"][columns["label"][kept]] == "3"
    detail = blocks["details-0"][kept]
    assert [outcome for _, outcome, _ in detail["gates"]] == ["passed"] * 8
    assert len(detail["answers"]) == 8
    assert blocks["details-0"][2]["rewards"][3].startswith("r = max(0,")


def test_truth_reaches_the_page_only_when_it_is_given(visplay: Path, tmp_path: Path) -> None:
    class Three:
        key = "num:3"
        reason = ""

    assert set(report_of(visplay, tmp_path).blocks["questions"]["columns"]["truth"]) == {0}
    told = report_of(visplay, tmp_path, truth=lambda image, text: Three()).blocks
    truth = told["questions"]["columns"]["truth"]
    assert set(truth) == {0, 1, 4}  # unreadable; the label is right; no label
    assert told["details-0"][2]["truth"] == "the right answer is 3"


def test_games_can_be_replayed_from_the_page(vision_zero: Path, tmp_path: Path) -> None:
    blocks = report_of(vision_zero, tmp_path).blocks
    columns, play = blocks["games"]["columns"], blocks["plays-0"][0]
    assert {len(values) for values in columns.values()} == {12}
    assert [clue[:2] for clue in play["clues"]] == [[seat, round] for round in (1, 2) for seat in range(1, 6)]
    assert len(play["ballots"][0]["votes"]) == 8
    assert sum(play["rewards"]) == pytest.approx(0)
    assert play["advantages"] is not None
    assert blocks["plays-0"][2]["advantages"] is None  # its decision stage trained
    assert any("add up to 0" in line for line in play["lines"])
    assert blocks["album"]["images"][columns["spy_image"][0]][1] == "blank-112x112"


def test_a_run_of_both_methods_shows_questions_and_games(
    visplay: Path, vision_zero: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = Path(shutil.copytree(visplay, tmp_path / "both"))
    shutil.copy(vision_zero / "rounds/1/games.jsonl", both / "rounds/1/games.jsonl")
    run = read_run(both)
    mixed = replace(run, config=run.config.model_copy(update={"method": "mixed"}))
    monkeypatch.setattr(page, "read_run", lambda path: mixed)
    blocks = report_of(both, tmp_path).blocks
    assert (blocks["questions"]["shown"], blocks["games"]["shown"]) == (96, 6)
    assert {place for place, _ in blocks["album"]["images"]} == set(range(len(blocks["album"]["images"])))


def test_a_game_that_does_not_follow_from_its_samples_is_named_and_not_shown(tmp_path: Path) -> None:
    run = vision_zero_run(tmp_path)
    file = run / "rounds/1/games.jsonl"
    lines = file.read_text().splitlines()
    changed = json.loads(lines[1])
    changed["score"]["citizens_win"] = not changed["score"]["citizens_win"]
    unnamed = json.loads(lines[2])
    unnamed["image"]["id"] = 5
    lines[1:4] = [json.dumps(changed), json.dumps(unnamed), "{"]
    file.write_text("\n".join(lines) + "\n")
    written = write_report(run)
    assert written.games == 9
    assert sorted(trouble.where for trouble in written.troubles) == [
        f"rounds/1/games.jsonl, line {n}" for n in (2, 3, 4)
    ]  # fmt: skip


def test_equal_pictures_are_kept_once(vision_zero: Path, tmp_path: Path) -> None:
    blocks = report_of(vision_zero, tmp_path).blocks
    assert len(blocks["album"]["images"]) == 13  # one of each game, and one blank
    assert len(blocks["pictures-0"]) == 13
    width, height, data = blocks["pictures-0"][0]
    assert (width, height) == (112, 112)
    assert base64.b64decode(data)[8:12] == b"WEBP"


def test_a_picture_that_cannot_be_opened_is_named_and_shown_as_missing(visplay: Path, tmp_path: Path) -> None:
    config = read_run(visplay).config.model_copy(update={"images": str(tmp_path)})
    Image.new("RGB", (600, 300), "red").save(tmp_path / "red.png")
    pictures = Pictures(config, None, 3)
    assert pictures.add(ImageRef("m-red", str(tmp_path / "red.png"))) is not None
    for origin in ("gone.png", "../../etc/hostname", "a\0b"):
        assert pictures.add(ImageRef(f"m-{origin}", str(tmp_path / origin))) is None
    (trouble,) = pictures.troubles()
    assert trouble.what.startswith("3 cannot be shown")
    assert str(tmp_path) not in trouble.what
    (red,) = pictures.thumbnails
    assert (red.width, red.height) == (256, 128)


@pytest.mark.parametrize("ref", [
    ImageRef("blank-99999x99999", "blank:99999x99999"),
    ImageRef("w-mixed-train-0-1", "world:mixed?split=train&seed=0&size=99999&index=1"),
    ImageRef("w-mixed-train-0-1", "nowhere"), ImageRef("nothing", "nothing"),
])  # fmt: skip
def test_a_picture_of_impossible_size_or_name_is_not_drawn(vision_zero: Path, ref: ImageRef) -> None:
    assert Pictures(read_run(vision_zero).config, None, 1).add(ref) is None


@pytest.mark.parametrize("root", ["~nobody/x", "a\0b", 5, ""])
def test_a_root_that_is_no_folder_does_not_stop_a_report(tmp_path: Path, root: object) -> None:
    (tmp_path / "photos").mkdir()
    run = visplay_run(tmp_path, images=1, rounds=1, photographs=True, overrides=[f"images={tmp_path / 'photos'}"])
    summary = json.loads((run / "summary.json").read_text())
    summary["images"] = {"of": {"root": root}}
    (run / "summary.json").write_text(json.dumps(summary))
    (trouble,) = write_report(run).troubles
    assert trouble.what.startswith("2 cannot be shown")


def test_more_pictures_are_smaller_ones(visplay: Path) -> None:
    sides = []
    for expected in (10, 2_000, 10_000):
        pictures = Pictures(read_run(visplay).config, None, expected)
        pictures.add(ImageRef("w-mixed-train-0-1", "world:mixed?split=train&seed=0&size=448&index=1"))
        sides.append(pictures.thumbnails[0].width)
    assert sides == [256, 160, 112]
    assert thumbnail(Image.new("RGB", (40, 20)), 256, lossless=True).width == 40


def test_a_part_of_a_large_run_is_whole_images_and_says_so(visplay: Path, tmp_path: Path) -> None:
    table = next(question_tables(visplay, None, []))
    part = chosen(table, 10)
    assert [q.id for q in part] == [q.id for q in chosen(table, 10)]
    assert len(part) == 16
    assert all(sum(q.asked.question.image == p.asked.question.image for q in part) == 8 for p in part)
    questions = report_of(visplay, tmp_path, most_questions=32).blocks["questions"]
    assert (questions["shown"], questions["asked"]) == (32, 96)
    assert sorted(set(questions["columns"]["round"])) == [1, 2]


def test_troubles_stand_in_the_page(visplay: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(visplay, tmp_path / "copy"))
    (run / "rounds/1/votes.parquet").write_bytes(b"")
    with (run / "metrics.jsonl").open("a") as stream:
        stream.write("no json\n")
    written = write_report(run, tmp_path / "report.html")
    shown = Elements(written.path.read_text()).blocks["overview"]["troubles"]
    assert [where for where, _ in shown] == ["metrics.jsonl, line 17", "rounds/1/votes.parquet"]
    assert str(run) not in written.path.read_text()
    assert written.questions == 96


# ------------------------------------------------------------------------------------------------- safety


def test_the_policy_names_every_script_and_style_by_its_hash_and_nothing_else(visplay: Path, tmp_path: Path) -> None:
    page = write_report(visplay, tmp_path / "report.html").path.read_text()
    policy = next(a["content"] for tag, a in Elements(page).found if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert not {"'unsafe-inline'", "'unsafe-eval'", "'self'", "*"} & set(policy.split())
    for tag, name in (("script", "script-src"), ("style", "style-src")):
        bodies = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()}'" for body in bodies]
        assert hashes == rules[name].split()
    assert rules["trusted-types"] == "'none'"


def test_the_page_asks_nobody_for_anything(visplay: Path, tmp_path: Path) -> None:
    page = write_report(visplay, tmp_path / "report.html").path.read_text()
    for tag, attributes in Elements(page).found:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form", "img")
        assert not {"src", "srcset", "action", "style"} & set(attributes)
        assert all(not name.startswith("on") for name in attributes)
        assert tag != "a" or str(attributes["href"]).startswith("#")
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page)


hostile = st.text(st.characters(), max_size=40) | st.sampled_from(
    ["</script>", "<!--", "]]>", "\u2028", "\ud800", "&lt;"]
)


@given(st.recursive(hostile, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(hostile, inner, max_size=3)))
@settings(max_examples=150, deadline=None)
def test_json_in_the_page_is_inert_and_reads_back_the_same(value: object) -> None:
    text = harmless_json(value)
    assert text.isascii()
    assert not {"<", ">", "&"} & set(text)
    assert json.loads(text) == value


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        harmless_json(float("nan"))


def test_names_in_the_frame_of_the_page_are_escaped() -> None:
    page = render("<b>&", "</title><script>alert(1)</script>", "<img src=x onerror=alert(1)>", [])
    assert "<b>&" not in page
    assert "<img" not in page
    assert len(Elements(page).scripts) == 7
    assert "alert" not in "".join(Elements(page).scripts)
