"""How many of math-verify's own test cases our answer keys judge as its authors do.

    pip download --no-deps --no-binary :all: math-verify==0.9.0 && tar xzf math_verify-0.9.0.tar.gz
    python bench/math_verify_cases.py math_verify-0.9.0/tests

A case is a gold answer, a prediction, and whether they are equal. Cases that are about extraction (several boxes or
formulas, long prose), configurations, errors or time limits are left out: here a reader has found the answer before.
"""

import argparse
import ast
import json
import re
from pathlib import Path

from selfsight.language import answer_key
from selfsight.language.parse import last_box

_OTHER_SUBJECTS = ("timeout", "raise", "configs", "strict.", "boxed")
_FORMULA = re.compile(r"\$[^$]+\$|\\\(.*?\\\)|\\\[.*?\\\]", re.DOTALL)
_PROSE = re.compile(r"\b(the|is|not|which|so|we|and then)\b")
_LONG = 30


def cases_in(folder: Path) -> list[tuple[str, str, bool]]:
    """(gold, prediction, equal) of every parametrised test, read as literals: nothing of theirs is run."""
    found = []
    for file in sorted(folder.glob("test_*.py")):
        if any(subject in file.name for subject in _OTHER_SUBJECTS):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            named = isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "parametrize"
            if not named or len(node.args) < 2 or not isinstance(node.args[1], ast.List):
                continue
            for element in node.args[1].elts:
                try:
                    value = ast.literal_eval(element)
                except ValueError:  # built by code
                    continue
                if isinstance(value, tuple) and len(value) >= 3 and all(isinstance(one, str) for one in value[:2]):
                    found.append((value[0], value[1], bool(value[2])))
    return found


def answer_in(text: str) -> str | None:
    """The answer that a text states, or None if finding it is what the case is about."""
    boxes = text.count("\\boxed")
    if boxes:
        return last_box(text) if boxes == 1 else None
    stripped = text.strip()
    said = re.match(r"^answer\s+", stripped, re.IGNORECASE)
    if said is not None:
        stripped = stripped[said.end() :]
    elif len(_FORMULA.findall(stripped)) >= 2 or (
        len(stripped) > _LONG and _PROSE.search(re.sub(r"\\[a-z]+", "", stripped))
    ):
        return None
    return stripped if len(stripped) <= 300 else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the tests of an unpacked math-verify")
    options = parser.parse_args()
    cases = cases_in(options.folder)
    usable = agree = 0
    for gold, prediction, equal in cases:
        one, other = answer_in(gold), answer_in(prediction)
        if one is None or other is None:
            continue
        usable += 1
        keys = answer_key(one), answer_key(other)
        if (keys[0] == keys[1] and keys[0] is not None) == equal:
            agree += 1
        else:
            print(f"{'split' if equal else 'merged'}: {one!r} ~ {other!r}: {keys[0]} | {keys[1]}")
    print(json.dumps({"cases": len(cases), "usable": usable, "agree": agree}))


if __name__ == "__main__":
    main()
