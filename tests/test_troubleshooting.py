"""The page of troubles quotes what the program says: every message in it is a message of the source."""

import ast
import re
from pathlib import Path

import pytest

from selfsight.config import EvolveConfig
from selfsight.recipes.explain import options

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
QUOTED = re.findall(r"^> (.+)$", PAGE, re.MULTILINE)
GAP = "\0"


def templates() -> list[str]:
    """Every string of the sources, with a gap in the place of each value that is put in."""
    found = []
    for path in (ROOT / "src" / "selfsight").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else GAP for part in node.values]
                found.append("".join(str(part) for part in parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


def quoted_from(message: str, template: str) -> bool:
    """Whether the words of a message are a template's from its beginning on, gap for gap."""
    words, held = (re.sub(r"\s+", " ", text) for text in (message.replace("…", GAP), template))
    said = held.split(": ", 1)[-1] if held.startswith("Error: ") else held
    return said.startswith(words)


TEMPLATES = templates()


@pytest.mark.parametrize("message", QUOTED)
def test_a_quoted_message_is_one_of_the_source(message: str) -> None:
    assert any(quoted_from(message, template) for template in TEMPLATES), message


def test_a_message_that_nobody_says_is_found_out() -> None:
    assert len(QUOTED) > 20
    assert not any(quoted_from("Model …: is too beautiful.", template) for template in TEMPLATES)
    assert not any(quoted_from("…: cannot be writ (…)", template) for template in TEMPLATES)


def test_settings_on_the_page_exist() -> None:
    keys = {option.key for option in options(EvolveConfig)}
    groups = "|".join(sorted({key.partition(".")[0] for key in keys if "." in key}))
    used = set(re.findall(rf"`((?:{groups})(?:\.\w+)+)", PAGE)) | set(re.findall(r"`([a-z_.]+)=", PAGE))
    assert len(used) > 8
    assert used <= keys
