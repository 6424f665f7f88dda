"""What the command line says to words that it does not know: options that are settings, commands of other tools.

Left out: doing what was probably meant. A run may take days; it starts only from words that are certain.
"""

import sys
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

_FILES: Final = ("--config", "--config-file", "--cfg", "--config-path", "--config-name")

# Commands that people know from elsewhere.
_COMMANDS: Final = {
    "help": "selfsight --help",
    "version": "selfsight --version",
    **dict.fromkeys(("train", "run", "start", "fit", "finetune", "sft", "grpo", "rlhf", "learn"), "selfsight evolve"),
    **dict.fromkeys(("continue", "restart"), "selfsight resume runs/NAME"),
    **dict.fromkeys(("evaluate", "test", "bench", "benchmark", "score"), "selfsight eval MODEL"),
    **dict.fromkeys(("diff", "cmp"), "selfsight compare A B"),
    **dict.fromkeys(("show", "view", "log", "logs", "status", "summary"), "selfsight report runs/NAME"),
    **dict.fromkeys(("web", "webui", "ui", "dashboard", "watch"), "selfsight serve runs/NAME"),
    **dict.fromkeys(("push", "upload", "save", "merge"), "selfsight export runs/NAME --out DIR"),
    **dict.fromkeys(("chat", "game", "infer"), "selfsight play MODEL"),
    **dict.fromkeys(("list", "ls", "config", "configs", "recipe", "settings"), "selfsight recipes"),
    **dict.fromkeys(("check", "env", "info", "diagnose"), "selfsight doctor"),
}


class Commands(TyperGroup):
    """The commands of `selfsight`; a word from another tool is answered with the command that does it here."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the arguments name."""
        if args and args[0] not in self.commands and args[0] in _COMMANDS:
            refuse(f"there is no command '{args[0]}'", f"write {_COMMANDS[args[0]]}")
        return super().resolve_command(ctx, args)


class SettingsCommand(TyperCommand):
    """A command that takes KEY=VALUE settings; an option that is a setting is answered with the text to type."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuses options that are settings; all else is parsed as always."""
        known = {name for option in self.params for name in (*option.opts, *option.secondary_opts)}
        known |= set(ctx.help_option_names)
        for place, word in enumerate(args):
            if word == "--":
                break
            name, given, value = word.partition("=")
            if not name.startswith("--") or name in known:
                continue
            following = args[place + 1] if place + 1 < len(args) else ""
            if not given:
                value = following if following and not following.startswith("-") else "true"
            if name in _FILES and "--recipe" in known:
                refuse(f"there is no option {name}", f"write --recipe {'FILE.yaml' if value == 'true' else value}")
            if name in _FILES:
                refuse(f"there is no option {name}", "settings are written as KEY=VALUE")
            refuse(f"there is no option {name}; settings are written without dashes", setting_hint(name[2:], value))
        return super().parse_args(ctx, args)


def setting_hint(option: str, value: str) -> str:
    """What to type for a setting that was given as an option: `--seed 1` is `seed=1`.

    Args:
        option: its name without dashes in front.
        value: its value as it was typed.
    """
    from selfsight.config import EvolveConfig
    from selfsight.recipes.explain import options, suggestion

    key = option.replace("-", "_")
    keys = [one.key for one in options(EvolveConfig)]
    return f"write {key}={value}" if key in keys else suggestion(key, keys, value)


def refuse(message: str, hint: str) -> None:
    """Says what is wrong and what to type, as every mistake is told, and ends with exit code 2."""
    from selfsight.run.progress import plain_text

    print(plain_text(f"Error: {message}"), file=sys.stderr)
    print(f"  -> {plain_text(hint)}", file=sys.stderr)
    raise typer.Exit(2)
