"""Options in words: the list for documentation, and a validation error as a sentence.

Works on any pydantic model of nested groups, so that a settings class is declared once and its
documentation and error messages follow from the declaration.
"""

import difflib
import json
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from selfsight.errors import SelfsightError
from selfsight.recipes.aliases import DOTTED, alias_hint

_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
_BOUNDS = (("ge", "at least"), ("gt", "above"), ("le", "at most"), ("lt", "below"))


@dataclass(frozen=True)
class Option:
    """One option: its dotted key, what it may be, its default, and what it means."""

    key: str
    allowed: str
    default: object
    description: str


def options(model: type[BaseModel], prefix: str = "") -> Iterator[Option]:
    """Every leaf option of a settings model, in the order of declaration."""
    for name, field in model.model_fields.items():
        key = f"{prefix}{name}"
        group = _group(field)
        if group:
            yield from options(group, f"{key}.")
        else:
            default = field.get_default(call_default_factory=True, validated_data={})
            yield Option(key, allowed(field), default, field.description or "")


def allowed(field: FieldInfo) -> str:
    """What a field may be, in words: 'a whole number, at least 2, or null'."""
    kinds: list[str] = []
    bounds: list[str] = []
    nullable = False
    for arm, constraints in _arms(field.annotation, field.metadata):
        nullable |= arm is type(None)
        if arm is type(None):
            continue
        kinds.append(_kind(arm))
        for name, words in _BOUNDS:
            bounds += [f"{words} {getattr(c, name):g}" for c in constraints if getattr(c, name, None) is not None]
        bounds += [f"matching {c.pattern}" for c in constraints if getattr(c, "pattern", None) is not None]
    phrase = ", ".join([" or ".join(dict.fromkeys(kinds)), *dict.fromkeys(bounds)])
    return f"{phrase}, or null" if nullable else phrase


def explained(error: ValidationError, model: type[BaseModel], origins: dict[str, str], source: str) -> SelfsightError:
    """The first mistake of a validation error, in words that its author can act on.

    `origins` says for each dotted key which file or override set it; `source` stands in for the rest.
    """
    first = error.errors(include_url=False)[0]
    declared = {option.key: option for option in options(model)}
    path = [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden":
        value = first["input"]
        while isinstance(value, dict) and value:  # the group is unknown, too: the key inside it says more
            name, value = next(iter(value.items()))
            path.append(str(name))
        unknown = ".".join(path)
        where = _origin(unknown, origins, source)
        override, sign, typed = where.removeprefix("the override ").partition("=")
        text = typed if sign and override == unknown else json.dumps(value, ensure_ascii=False, default=str)
        meant = suggestion(unknown, list(declared), text)
        return SelfsightError(f"unknown key '{unknown}' in {where}", hint=meant)
    # A location may go on inside the value (a list position, an arm of a union): the longest key counts.
    prefixes = [".".join(path[:end]) for end in range(len(path), -1, -1)]
    key = next((p for p in prefixes if p in declared or any(k.startswith(f"{p}.") for k in declared)), "")
    where = _origin(key, origins, source)
    if first["type"] == "value_error":
        return SelfsightError(f"{key}: {first['ctx']['error']} (in {where})" if key else f"{first['ctx']['error']}")
    option = declared.get(key)
    expected = option.allowed if option else f"a group of settings such as {_example(key, list(declared))}"
    hint = f"{key}: {option.description}" if option else None
    value = json.dumps(first["input"], ensure_ascii=False, default=str)  # in the words of YAML: null, true
    return SelfsightError(f"{key} is {value}, but should be {expected} (in {where})", hint=hint)


def suggestion(unknown: str, keys: list[str], value: str = "...") -> str:
    """What an unknown key was meant to be: a key of the same last name, another trainer's name, or a near spelling.

    Far spellings are not guessed at: a suggestion that has nothing to do with the question costs more than none.
    """
    if unknown in DOTTED:
        return DOTTED[unknown].hint(value)
    last = unknown.rpartition(".")[2]
    same = [key for key in keys if key.rpartition(".")[2] == last]
    group = unknown.partition(".")[0]
    own_group = [key for key in same if key.startswith(f"{group}.")] if "." in unknown else []
    if own_group:
        return f"did you mean '{own_group[0]}'?"
    foreign = alias_hint(unknown, value)
    if foreign is not None:
        return foreign
    if same:
        return f"did you mean {' or '.join(repr(key) for key in same)}? Write {same[0]}={value}"
    near = difflib.get_close_matches(unknown, keys, n=1, cutoff=0.8)
    if not near:
        # `rounds` alone is far from `visplay.rounds` as a string; compare the last part as well. Same first letters:
        # `band` is as near to `wandb` as a string as a slip of the keyboard would be.
        leaves = {key.rpartition(".")[2]: key for key in reversed(keys)}
        close = difflib.get_close_matches(last, [leaf for leaf in leaves if leaf[0] == last[:1]], n=1, cutoff=0.75)
        near = [leaves[name] for name in close]
    return f"did you mean '{near[0]}'?" if near else "`selfsight recipes --show NAME` lists every key"


def _group(field: FieldInfo) -> type[BaseModel] | None:
    arms = [arm for arm, _ in _arms(field.annotation, [])]
    return next((arm for arm in arms if isinstance(arm, type) and issubclass(arm, BaseModel)), None)


def _arms(annotation: Any, constraints: list[Any]) -> list[tuple[Any, list[Any]]]:
    """The alternatives of a type, each with the constraints that hold for it."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [arm for part in typing.get_args(annotation) for arm in _arms(part, constraints)]
    if typing.get_origin(annotation) is Annotated:
        bare, *extra = typing.get_args(annotation)
        # pydantic's Field() inside Annotated keeps its constraints one level down.
        inner = [c for e in extra for c in (e.metadata if isinstance(e, FieldInfo) else [e])]
        return _arms(bare, [*constraints, *inner])
    return [(annotation, constraints)]


def _kind(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return " or ".join(str(value) for value in arguments)
    if origin is list:
        return "a list of texts" if arguments[0] is str else f"a list of {_kind(arguments[0])}"
    if origin is tuple:
        return "[low, high], each from 0 to 1"
    return _NAMES.get(annotation, "a group of settings")


def _example(group: str, keys: list[str]) -> str:
    return next((f"{key}=..." for key in keys if key.startswith(f"{group}." if group else "")), group)


def _origin(key: str, origins: dict[str, str], source: str) -> str:
    """Who set a key: what named it, a group around it, or else the latest that set something inside it."""
    ancestors = [key.rsplit(".", n)[0] for n in range(key.count(".") + 1)]
    inside = [name for name in reversed(origins) if not key or name.startswith(f"{key}.")]
    return next((origins[name] for name in [*ancestors, *inside] if name in origins), source)
