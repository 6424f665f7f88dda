"""The rules of the house, read from the source itself, so that new code is held to them by itself.

Each rule is a function over a syntax tree; the last tests show that each one can fail.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
FILES = sorted((SOURCE / "selfsight").rglob("*.py"))

# Modules that run code from data, or write what only they can read.
BANNED_MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "cloudpickle",
    "dill",
    "joblib",
    "marshal",
    "shelve",
    "jsonpickle",
}
BANNED_CALLS = {
    "eval", "exec", "__import__", "compile",
    "os.system", "os.popen", "os.killpg",
    "torch.load", "torch.save", "pandas.read_pickle", "pd.read_pickle",
    "yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "yaml.Loader", "yaml.UnsafeLoader",
}  # fmt: skip
BANNED_ARGUMENTS = {"shell", "allow_pickle", "trust_remote_code"}
BANNED_WORDS = re.compile(r"\b(pkill|killall)\b")

# What a method must never see: which answer is right, or the scene that says so. Of the worlds it may
# have the source of images and nothing else.
WORLDS = "selfsight.images.worlds"
OPEN_TO_ALL = {WORLDS, f"{WORLDS}.WorldSource"}
# Text by authors who know it: what the starter was taught with must not teach a second time.
LESSONS = ("selfsight.starter.corpus", "selfsight.starter.games", "selfsight.starter.pretrain")
MAY_SEE_TRUTH = ("selfsight.evaluate", "selfsight.starter", "selfsight.images.worlds")

TORCH_FREE_ROOMS = ("language", "images", "run", "settings")
TORCH_FREE_MODULES = (
    "config", "errors", "cli", "methods/visplay/rewards", "methods/visplay/gates",
    *(f"methods/alarms/{name}" for name in ("rules", "suggestions", "questions", "steps", "rounds", "ending")),
    *(f"methods/vision_zero/{name}" for name in (
        "ballots", "clues", "game", "lockstep", "rules", "scoring", "switching", "transcript"
    )),
)  # fmt: skip


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def dotted(node: ast.expr) -> str:
    """ "a.b.c" of an attribute chain; "" if it is none."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := dotted(node.value)):
        return f"{before}.{node.attr}"
    return ""


def imports(tree: ast.AST, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """Every module that might be imported: for `from a import b`, both a and a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                kept = len(parts) - node.level + (1 if is_package else 0)
                base = ".".join([*parts[:kept], *([base] if base else [])])
            yield node.lineno, base
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every string that is not a docstring."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value


def is_off(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is False


def dangers(tree: ast.AST, module: str, is_package: bool) -> Iterator[str]:
    """Deserialisers that run code, evaluation of text, shells, foreign code, and signals by name."""
    for line, name in imports(tree, module, is_package):
        if name.split(".")[0] in BANNED_MODULES or name in BANNED_CALLS:
            yield f"{line}: import of {name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and dotted(node.func) in BANNED_CALLS:
            yield f"{node.lineno}: call of {dotted(node.func)}"
        elif isinstance(node, ast.Attribute) and dotted(node) in BANNED_CALLS:
            yield f"{node.lineno}: use of {dotted(node)}"
        elif isinstance(node, ast.keyword) and node.arg in BANNED_ARGUMENTS and not is_off(node.value):
            yield f"{node.value.lineno}: {node.arg} is not False"
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                name = key.value if isinstance(key, ast.Constant) else None
                if name in BANNED_ARGUMENTS and not is_off(value):
                    yield f"{value.lineno}: {name} is not False"
    for line, text in texts(tree):
        if BANNED_WORDS.search(text):
            yield f"{line}: {text!r}"


def truths(tree: ast.AST, module: str, is_package: bool) -> Iterator[str]:
    """Ways to the right answers from a module that must not know them."""
    if any(module == room or module.startswith(f"{room}.") for room in MAY_SEE_TRUTH):
        return
    for line, name in imports(tree, module, is_package):
        if (name.startswith(f"{WORLDS}.") and name not in OPEN_TO_ALL) or name.startswith(LESSONS):
            yield f"{line}: import of {name}"
    for line, text in texts(tree):
        if text.startswith((f"{WORLDS}.", *LESSONS)):
            yield f"{line}: {text!r}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and re.search(r"\bworlds\.(?!WorldSource)", dotted(node)):
            yield f"{node.lineno}: use of {dotted(node)}"


Rule = Callable[[ast.AST, str, bool], Iterator[str]]


@pytest.mark.parametrize("rule", [dangers, truths])
def test_every_file_of_the_package_keeps_the_rule(rule: Rule) -> None:
    broken = [
        f"{path.relative_to(SOURCE)}:{found}"
        for path in FILES
        for found in rule(ast.parse(path.read_text()), module_name(path), path.name == "__init__.py")
    ]
    assert not broken, "\n".join(broken)
    assert len(FILES) > 20


IMPORT_ALL = """
import importlib, pkgutil, sys
heavy = ("torch", "transformers", "safetensors", "peft")
names = sys.argv[1:]
while names:
    name = names.pop(0)
    module = importlib.import_module(name)
    loaded = [one for one in heavy if one in sys.modules]
    assert not loaded, f"{name} imports {', '.join(loaded)}"
    names += [f"{name}.{found.name}" for found in pkgutil.iter_modules(getattr(module, "__path__", []))]
    print(name)
"""


def imported_without_torch(*names: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", IMPORT_ALL, *names], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("room", TORCH_FREE_ROOMS)
def test_a_room_of_rules_imports_no_torch(room: str) -> None:
    done = imported_without_torch(f"selfsight.{room}")
    assert done.returncode == 0, done.stderr
    there = {module_name(path) for path in (SOURCE / "selfsight" / room).rglob("*.py")}
    assert set(done.stdout.split()) == there


def test_single_modules_of_rules_import_no_torch() -> None:
    there = [name for name in TORCH_FREE_MODULES if (SOURCE / "selfsight" / f"{name}.py").exists()]
    done = imported_without_torch(*(f"selfsight.{name.replace('/', '.')}" for name in there))
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == len(there) >= 2


# --- the rules can fail ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "import torch\nweights = torch.load('a.pt')",
        "from torch import load",
        "import yaml\nyaml.load(text, Loader=yaml.SafeLoader)",
        "value = eval(answer)",
        "exec(answer)",
        "import os\nos.system('ls')",
        "run = os.popen",
        "subprocess.run(command, shell=True)",
        "subprocess.run(command, shell=flag)",
        "numpy.load(path, allow_pickle=True)",
        "AutoModel.from_pretrained(path, trust_remote_code=True)",
        "AutoModel.from_pretrained(path, trust_remote_code=options.trust)",
        "options = {'trust_remote_code': True}",
        "subprocess.run(['pkill', '-9', 'python'])",
    ],
)
def test_a_danger_is_found(code: str) -> None:
    assert list(dangers(ast.parse(code), "selfsight.policy.model", False))


@pytest.mark.parametrize(
    "code",
    [
        "model.eval()",
        "re.compile('a')",
        "yaml.safe_load(text)",
        "AutoModel.from_pretrained(path, trust_remote_code=False)",
        "safetensors.torch.load_file(path)",
        '"""We never call torch.load or pkill."""',
        "evaluate(model)",
    ],
)
def test_harmless_code_is_left_alone(code: str) -> None:
    assert not list(dangers(ast.parse(code), "selfsight.policy.model", False))


SEES_TRUTH = [
    "import selfsight.images.worlds.truth",
    "from selfsight.images.worlds.truth import truth",
    "from selfsight.images.worlds import truth",
    "from selfsight.images.worlds import WorldSource, grammar",
    "from ...images.worlds import truth",
    "from ...images.worlds.grammar import FAMILIES",
    "from selfsight.images.worlds.ask import ask",
    "from selfsight.images.worlds.source import picture_of",
    "from selfsight.images import worlds\nworlds.scene.Scene",
    "def late():\n    from selfsight.images.worlds import truth",
    "from selfsight.images.worlds.statements import holds",
    "from selfsight.starter.games import vote_turn",
    "from selfsight.starter import games",
    "from ...starter.corpus import page",
    "importlib.import_module('selfsight.starter.games')",
    "importlib.import_module('selfsight.images.worlds.truth')",
    "import selfsight.images.worlds as w\nimport selfsight.images\nselfsight.images.worlds.truth.truth(q, s)",
]


@pytest.mark.parametrize("code", SEES_TRUTH)
def test_a_method_that_looks_at_the_truth_is_found(code: str) -> None:
    assert list(truths(ast.parse(code), "selfsight.methods.visplay.loop", False))


def test_evaluation_may_see_the_truth_and_a_method_may_see_worlds() -> None:
    assert not list(truths(ast.parse(SEES_TRUTH[1]), "selfsight.evaluate.audit", False))
    assert not list(truths(ast.parse(SEES_TRUTH[1]), "selfsight.starter.corpus", False))
    for harmless in ("from selfsight.images.worlds import WorldSource", "from selfsight.starter import starter_folder"):
        assert not list(truths(ast.parse(harmless), "selfsight.methods.visplay.loop", False))


def test_a_room_that_imports_torch_is_found() -> None:
    done = imported_without_torch("selfsight.errors", "torch")
    assert done.returncode != 0
    assert "torch imports torch" in done.stderr
