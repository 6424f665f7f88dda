"""Recipes: YAML files with the settings of a run, and how they are read.

A recipe is plain data. `extends: NAME` takes another recipe (packaged, or a file beside it) as its base.
YAML is read with the 1.2 core rules, because those of 1.1 turn `5e-5` into a text, `no` into false and
`1:30` into ninety; a key given twice is refused instead of silently overwritten.
"""

import difflib
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from selfsight.errors import SelfsightError

__all__ = ["dump_yaml", "parse_yaml", "read_recipe", "recipe_names", "recipe_summary"]


class _CoreLoader(yaml.SafeLoader):
    """SafeLoader with the scalar rules of YAML 1.2's core schema."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value in seen:
                text = isinstance(key, yaml.ScalarNode)
                problem = f"the key '{key.value}' is given twice" if text else "a key is not a text"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        # A few lines of nested aliases unfold into gigabytes, and a tag asks for a type of its own choice;
        # settings need neither.
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None) is not None:
            raise yaml.composer.ComposerError(
                None, None, "aliases (*name) and tags (!name) are not allowed", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_decimal(self, node: yaml.ScalarNode) -> int:
        return int(node.value)  # PyYAML reads 010 as eight


_CoreLoader.add_constructor("tag:yaml.org,2002:int", _CoreLoader.construct_decimal)


class _CoreDumper(yaml.SafeDumper):
    """Quotes every text that the core rules would read as something else."""


for _tag, _pattern, _first in (
    ("null", r"^(~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^[-+]?[0-9]+$", list("-+0123456789")),
    ("float", r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$", list("-+.0123456789")),
):
    _CoreLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)
    _CoreDumper.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)


def parse_yaml(text: str, *, where: str) -> Any:
    """YAML text as plain data; `where` names its origin in errors."""
    try:
        loader = _CoreLoader(text)  # refuses control characters when it is made
    except yaml.YAMLError as error:
        raise _not_yaml(where, error) from None
    try:
        return loader.get_single_data()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _not_yaml(where, error) from None
    finally:
        loader.dispose()


def _not_yaml(where: str, error: Exception) -> SelfsightError:
    reason = " ".join(str(error).replace('in "<unicode string>",', "").split())
    return SelfsightError(
        f"{where} is not valid YAML: {reason}", hint="write key: value in a file, key=value on the command line"
    )


def dump_yaml(data: dict[str, Any]) -> str:
    """Plain data as YAML that `parse_yaml` reads back unchanged."""
    return yaml.dump(data, Dumper=_CoreDumper, sort_keys=False)


def recipe_names() -> list[str]:
    """The packaged recipes, sorted."""
    return sorted(entry.name[:-5] for entry in files(__package__).iterdir() if entry.name.endswith(".yaml"))


def recipe_summary(name: str) -> str:
    """The first comment line of a packaged recipe."""
    text, _ = _text_of(name, None)
    return text.partition("\n")[0].lstrip("# ").strip()


def read_recipe(recipe: str | Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The recipe's settings with `extends` applied, and for each dotted key the file that set it."""
    data: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for text_data, where in reversed(_chain(str(recipe))):
        _merge(data, text_data)
        origins.update(dict.fromkeys(_dotted(text_data), where))
    return data, origins


def _chain(recipe: str) -> list[tuple[dict[str, Any], str]]:
    """A recipe and those it extends, the most basic last."""
    chain: list[tuple[dict[str, Any], str]] = []
    name: str | None = recipe
    folder: Path | None = None
    while name is not None:
        text, path = _text_of(name, folder)
        where = f"the recipe {path or name}"
        if any(where == earlier for _, earlier in chain):
            raise SelfsightError(f"{where} extends itself through {chain[-1][1]}", hint="remove one `extends`")
        data = parse_yaml(text, where=where)
        if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
            raise SelfsightError(f"{where} is not a mapping of settings", hint="write lines such as `seed: 0`")
        name = data.pop("extends", None)
        if name is not None and not isinstance(name, str):
            raise SelfsightError(f"`extends` in {where} is {name!r}, but should be the name of one recipe")
        folder = path.parent if path else None
        chain.append((data, where))
    return chain


def _text_of(name: str, folder: Path | None) -> tuple[str, Path | None]:
    """A recipe's text; its path when it is a file (a name that ends in .yaml or .yml)."""
    if name.endswith((".yaml", ".yml")):
        path = (folder or Path()) / Path(name).expanduser()
        try:
            return path.read_text(encoding="utf-8"), path
        except (OSError, UnicodeDecodeError) as error:
            raise SelfsightError(f"cannot read the recipe {path}: {error}") from None
    known = recipe_names()
    if name not in known:
        raise SelfsightError(f"there is no recipe '{name}'", hint=_recipe_hint(name, folder, known))
    return (files(__package__) / f"{name}.yaml").read_text(encoding="utf-8"), None


def _recipe_hint(name: str, folder: Path | None, known: list[str]) -> str:
    """The file of that name, the nearest packaged recipe, or all of them."""
    path = (folder or Path()) / Path(name).expanduser()
    for file in (f"{name}.yaml", f"{name}.yml"):
        if path.with_name(Path(file).name).is_file():
            return f"did you mean the file {file}? (--recipe {file})"
    if path.is_file():
        return "a file of settings must end in .yaml"
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"did you mean '{near[0]}'? A file must end in .yaml"
    return f"recipes: {', '.join(known)}. A file must end in .yaml"


def _merge(base: dict[str, Any], over: dict[str, Any]) -> None:
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = value


def _dotted(data: dict[str, Any], prefix: str = "") -> list[str]:
    keys: list[str] = []
    for key, value in data.items():
        keys += _dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"]
    return keys
