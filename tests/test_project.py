"""Promises about the project itself: light imports, downward arrows, no unsafe calls, no dead options."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from selfsight.config import EvolveConfig
from selfsight.recipes.explain import options

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src" / "selfsight"
MODULES = sorted(SRC.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in MODULES}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# Which rooms a room may import. `cli` stands above all; `errors` may be imported by all. The rules of Vision-Zero are a
# room of their own below evaluation: its arena plays by them, and the loop that trains is measured by it. So are the
# records and rules of VisPlay: a report reads what a run wrote, and says by which rule.
ROOMS = {
    "errors": set(),
    "install": set(),
    "images": set(),
    "language": {"images"},
    "run": set(),
    "recipes": set(),
    "settings": set(),
    "config": {"recipes", "settings"},
    "trackers": {"install", "recipes", "run", "settings"},
    "policy": {"config", "images", "install", "language", "run", "starter"},
    "rules": {"images", "language", "run"},
    "visplay rules": {"config", "images", "language", "run"},
    "evaluate": {"config", "images", "language", "policy", "rules", "run"},
    "starter": set(),
    "building": {"images", "language", "policy", "rules", "run", "starter"},
    "methods": {"config", "evaluate", "images", "language", "policy", "rules", "run", "settings", "starter"}
    | {"trackers", "visplay rules"},
    "report": {"config", "images", "language", "recipes", "rules", "run", "settings", "visplay rules"},
    "export": {"config", "evaluate", "images", "language", "recipes", "report", "run", "settings", "starter"},
    "beginning": {"config", "evaluate", "images", "run", "trackers"},
    "doctor": {"install", "starter", "trackers"},
}
# Rooms, and files in the other rooms, that must load without torch and transformers.
LIGHT_ROOMS = ("export", "images", "language", "run", "recipes", "report", "settings")
VISION_ZERO_RULES = ("ballots", "clues", "game", "lockstep", "scoring", "switching", "transcript")
ALARM_RULES = ("rules", "suggestions", "questions", "steps", "rounds", "ending")
VISPLAY_RULES = ("gates", "records", "rewards")
LIGHT_FILES = (
    "beginning", "cli", "cli_results", "cli_shared", "cli_words", "config", "doctor", "errors",
    "evaluate.named", "install", "methods.vision_zero",
    "methods.vision_zero.rules",
    "trackers", "trackers.beside", "trackers.figures", "trackers.known", "trackers.protocol", "trackers.reading",
    "trackers.sender",
    *(f"methods.alarms.{name}" for name in ALARM_RULES),
    *(f"methods.vision_zero.{name}" for name in VISION_ZERO_RULES),
    *(f"methods.visplay.{name}" for name in VISPLAY_RULES),
)  # fmt: skip


def imports(tree: ast.AST) -> Iterator[tuple[ast.stmt, str]]:
    """Every import anywhere in a module: the statement and the absolute name it asks for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import on line {node.lineno}"
            yield node, node.module or ""


def module_name(path: Path) -> str:
    parts = path.relative_to(SRC.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


# ---------------------------------------------------------------------------------------------- options


def test_every_option_has_a_reader() -> None:
    """An option that nothing reads but its declaration would be a lie to whoever sets it."""
    declared = {SRC / "config.py", *(SRC / "settings").iterdir()}
    source = "\n".join(path.read_text(encoding="utf-8") for path in MODULES if path not in declared)
    names = {option.key.rpartition(".")[2]: option.key for option in options(EvolveConfig)}
    del names["preset"]  # config.py itself reads it, to fill in the gates
    unread = {key for name, key in names.items() if not re.search(rf"\.{name}\b", source)}
    assert not unread, f"nothing reads {sorted(unread)}"


# ---------------------------------------------------------------------------------------------- imports


def test_rules_language_images_and_configuration_import_no_torch() -> None:
    rooms = [module_name(p) for p in MODULES if p.relative_to(SRC).parts[0] in LIGHT_ROOMS]
    light = [*rooms, *(f"selfsight.{name}" for name in LIGHT_FILES)]
    code = (
        "import importlib, sys\n"
        f"for name in {light!r}:\n"
        "    importlib.import_module(name)\n"
        "    loaded = {'torch', 'transformers', 'peft'} & set(sys.modules)\n"
        "    assert not loaded, (name, loaded)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def room_of(module: str) -> str:
    """The room of "selfsight.ROOM..."; the door of Vision-Zero and what it opens to are the room `rules`, VisPlay's
    rules are one, too, and how the starter is made (all but its door, which only says where it lies) is `building`.
    """
    inner = module.split(".")[1:]
    if inner[0] == "starter" and len(inner) > 1:
        return "building"
    if inner[:2] == ["methods", "vision_zero"] and (len(inner) == 2 or inner[2] in VISION_ZERO_RULES):
        return "rules"
    if inner[:2] == ["methods", "visplay"] and len(inner) > 2 and inner[2] in VISPLAY_RULES:
        return "visplay rules"
    return inner[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SRC)))
def test_a_room_imports_only_rooms_below_it(path: Path) -> None:
    room = path.relative_to(SRC).with_suffix("").parts[0]
    if room in ("cli", "cli_results", "cli_shared", "cli_words", "__main__", "__init__"):
        return
    room = room_of(module_name(path))
    allowed = ROOMS[room] | {room, "errors"}
    for node, name in imports(TREES[path]):
        if name == "selfsight":
            assert isinstance(node, ast.ImportFrom)
            targets = {alias.name for alias in node.names} - {"__version__"}
        elif name.startswith("selfsight."):
            targets = {room_of(name)}
        else:
            continue
        assert targets <= allowed, f"line {node.lineno} imports {name}"


def test_only_evaluation_and_the_starter_see_the_truth() -> None:
    seeing = {
        path.relative_to(SRC).parts[0]
        for path, tree in TREES.items()
        for node, name in imports(tree)
        if re.search(r"\bworlds\.(truth|grammar|ask|statements)\b", name)
        or (
            name == "selfsight.images.worlds"
            and {a.name for a in node.names} & {"truth", "grammar", "ask", "statements"}
        )
    }
    assert seeing <= {"images", "evaluate", "starter"}
    outside_worlds = {
        path
        for path in (SRC / "images").rglob("*.py")
        for _, name in imports(TREES[path])
        if path.parent.name != "worlds" and re.search(r"\bworlds\.(truth|grammar|ask|statements)\b", name)
    }
    assert not outside_worlds


def test_every_third_party_import_is_a_declared_requirement() -> None:
    extras = [text for name, texts in PROJECT["optional-dependencies"].items() if name != "dev" for text in texts]
    declared = {_normal(Requirement(text).name) for text in [*PROJECT["dependencies"], *extras]}
    providers = metadata.packages_distributions()
    for path, tree in TREES.items():
        for _, name in imports(tree):
            top = name.partition(".")[0]
            if top == "selfsight" or top in sys.stdlib_module_names:
                continue
            found = {_normal(name) for name in providers.get(top, [top])}
            # huggingface_hub comes with transformers, whose own range decides its version.
            assert found & (declared | {"huggingface-hub"}), f"{path.name} imports {top}"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# ----------------------------------------------------------------------------------------------- safety

FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve", "cloudpickle"}
FORBIDDEN_CALLS = {
    "eval", "exec", "compile", "torch.load", "torch.save", "yaml.load", "yaml.unsafe_load", "yaml.full_load",
    "os.system", "os.popen", "numpy.load", "np.load", "hub.load", "torch.hub.load",
}  # fmt: skip


def unsafe(tree: ast.AST) -> list[str]:
    """What in a module could run a stranger's code, with line numbers."""
    found = [f"{n.lineno}: import {name}" for n, name in imports(tree) if name.split(".")[0] in FORBIDDEN_MODULES]
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        if name in FORBIDDEN_CALLS:
            found.append(f"{node.lineno}: {name}()")
        for keyword in node.keywords:
            is_false = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
            if keyword.arg in ("trust_remote_code", "allow_pickle", "shell") and not is_false:
                found.append(f"{node.lineno}: {keyword.arg}=")
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SRC)))
def test_no_module_can_run_code_from_data(path: Path) -> None:
    assert unsafe(TREES[path]) == []


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from joblib import load",
        "eval(text)",
        "torch.load(path)",
        "yaml.load(text, Loader=L)",
        "f(trust_remote_code=True)",
        "f(trust_remote_code=flag)",
        "subprocess.run(command, shell=True)",
    ],
)
def test_the_search_for_unsafe_code_finds_it(text: str) -> None:
    assert unsafe(ast.parse(text))
    assert not unsafe(ast.parse("f(trust_remote_code=False); model.eval(); re.compile('x')"))


# ----------------------------------------------------------------------------------------------- the tree


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SRC)))
def test_a_file_holds_one_concept(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    assert not text.strip() or ast.get_docstring(TREES[path]), "the docstring comes first"


def test_the_package_carries_no_file_over_16_mib() -> None:
    large = [path for path in SRC.rglob("*") if path.is_file() and path.stat().st_size > 16 * 2**20]
    assert not large


def test_no_handwritten_file_names_a_place_on_a_machine() -> None:
    pattern = re.compile(r"/(?:home|root|work|Users)/\w|https?://(?:localhost|10\.|192\.168\.)")
    suffixes = {".py", ".md", ".toml", ".yaml", ".yml", ""}
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.suffix in suffixes and path.is_file() and path != Path(__file__):
            found = pattern.search(path.read_text(encoding="utf-8"))
            assert not found, f"{name} mentions {found and found.group()}"


def test_versions_of_package_and_changelog_agree() -> None:
    from selfsight import __version__

    assert PROJECT["version"] == __version__ == metadata.version("selfsight")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## [Unreleased]" in changelog or f"## [{__version__}]" in changelog


def test_every_command_in_the_readme_exists() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?:^|`)make ([a-z]+)", readme, re.MULTILINE))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert {"evolve", "test"} <= targets <= set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    commands = set(re.findall(r"^(?:\.venv/bin/)?selfsight ([a-z]+)", readme, re.MULTILINE))
    from selfsight.cli import app

    known = {info.name or (info.callback.__name__ if info.callback else "") for info in app.registered_commands} | {
        group.name for group in app.registered_groups
    }
    assert commands
    assert commands <= known


def test_every_override_in_the_readme_is_a_known_key() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    keys = {option.key for option in options(EvolveConfig)}
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", readme, re.DOTALL))
    used = set(re.findall(r"(?<![\w-])([a-z_]+(?:\.[a-z_]+)*)=", blocks))
    assert {"model", "images"} <= used
    assert used <= keys
