"""What a model or a stranger wrote stands in cards as code, and never as links, images, HTML or metadata."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from browser.payloads import PAYLOADS
from selfsight.export import export_run
from selfsight.export.inert import block, cell, code
from selfsight.recipes import parse_yaml
from selfsight.run import pretty_json

from .exportable import exportable, front_matter_and_text

MARKDOWN = MarkdownIt("commonmark").enable("table")
LINKS = (
    "[click](javascript:owned())", "![x](https://invalid.example/x.png)", "<https://invalid.example>",
    "[a]: https://invalid.example", "https://invalid.example/x", "a@invalid.example", "www.invalid.example",
    "` [x](y) `", "``` \n# title", "| a | b |", "a\n\n# title", "---\nlicense: mit", "\\` [x](y)", "> quote", "- item",
    "*a* _b_ **c**", "&lt;b&gt;", "$x$",
)  # fmt: skip
HOSTILE = tuple(text.replace("\ud800", "") for text in (*PAYLOADS, *LINKS))  # no table holds half a character
KINDS = {"paragraph", "heading", "bullet_list", "list_item", "table", "thead", "tbody", "tr", "th", "td", "strong"}


def tokens(text: str) -> list[Token]:
    """All tokens of a Markdown text, those inside lines too."""
    found: list[Token] = []
    for token in MARKDOWN.parse(text):
        found += [token, *(token.children or [])]
    return found


def kinds(text: str) -> set[str]:
    return {token.type.removesuffix("_open").removesuffix("_close") for token in tokens(text)}


@pytest.mark.parametrize("text", LINKS)
def test_a_text_is_one_span_of_code(text: str) -> None:
    for line in (f"before {code(text)} after", f"- {code(text)}"):
        assert kinds(line) <= {"paragraph", "inline", "text", "code_inline", "bullet_list", "list_item"}


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="`|\\<>&[]()!*_#-~ \n\tab:/.@\x1b\u202e"))
def test_no_text_leaves_its_span_its_cell_or_its_block(text: str) -> None:
    rows = tokens(f"| a | b |\n| --- | --- |\n| {cell(text)} | {cell(text)} |")
    assert [token.type for token in rows if token.type == "td_open"] == ["td_open"] * 2
    allowed = {"code_inline", "inline", "text", *KINDS}
    assert {t.type.removesuffix("_open").removesuffix("_close") for t in rows} <= allowed
    assert kinds(f"x\n\n{block(text, 'yaml')}\n\ny") == {"paragraph", "inline", "text", "fence"}


@pytest.mark.parametrize("part", range(4))
def test_nothing_hostile_comes_to_life_in_a_card(tmp_path: Path, part: int) -> None:
    """Every field of tables and summaries in turn holds every text."""
    texts = iter(HOSTILE[part::4] * 50)
    run = exportable(tmp_path, images=14, rounds=1, say=lambda field: next(texts))
    text = HOSTILE[part]
    summary = json.loads((run / "summary.json").read_bytes())
    labels = {"labels": 100, "label_accuracy": 0.2, "calibration": [], "families": {
        one: {"share": 0.5, "label_accuracy": 0.1} for one in HOSTILE[part::4]
    }}  # fmt: skip
    entry = json.loads((run / "rounds" / "1" / "round.json").read_bytes()) | {"audit": {"labels": labels}}
    (run / "rounds" / "1" / "round.json").write_bytes(pretty_json(entry))
    (run / "summary.json").write_bytes(pretty_json(summary | {
        "measured_on": {"world": text, "picture_size": text}, "versions": {text: text}, "config_hash": text,
    }))  # fmt: skip
    (run / "metrics.jsonl").write_text("no json\n")
    settings = (run / "config.yaml").read_text().replace("recipe: visplay-starter", f"recipe: {json.dumps(text[:80])}")
    (run / "config.yaml").write_text(settings)
    export_run(run, tmp_path / "out")
    for name, keys in (
        ("questions", {"pretty_name", "task_categories", "annotations_creators", "language_creators",
                       "size_categories", "tags", "configs"}),
        ("model", {"library_name", "pipeline_tag", "tags"}),
    ):  # fmt: skip
        metadata, body = front_matter_and_text(tmp_path / "out" / name / "README.md")
        assert set(parse_yaml(metadata, where=name)) == keys
        assert kinds(body) <= {"inline", "text", "code_inline", "fence", "softbreak", *KINDS}
        titles = [token.content for token in tokens(body) if token.type == "inline" and token.level == 1]
        assert not [one for one in titles if one.startswith(("title", "# title"))]
        assert not [c for c in body if c in "\x00\x1b\u202e\u2028"]
