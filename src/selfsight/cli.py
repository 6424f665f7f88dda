"""The command line: a few lines per command, no logic.

Results go to standard output, progress and errors to standard error. Exit codes: 0 done, 1 a check of `doctor` failed,
2 a mistake that the user can mend, and, with everything saved, 3 stopped by an alarm (alarms.policy=stop), 130 and 143
stopped by SIGINT and SIGTERM. torch is imported inside the commands that need it, so that `--help` answers at once.
"""

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

import typer

from selfsight import __version__, cli_results
from selfsight.cli_shared import Json, PictureSize, World, discard_output, discard_unwritable, errors, json_text
from selfsight.cli_words import Commands, SettingsCommand
from selfsight.errors import SelfsightError

app = typer.Typer(
    name="selfsight",
    help="Let a vision-language model teach itself from unlabelled images, and see whether it got better.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # its tracebacks print local variables, which may hold tokens
    rich_markup_mode=None,
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
)
starter_app = typer.Typer(help="The starter VLM: its card, and how to build it again.", no_args_is_help=True)
app.add_typer(starter_app, name="starter")

Model = typer.Argument(metavar="MODEL", help="starter, a model folder, a hub id, RUN, or RUN@ROUND.")
View = Literal["blank", "modified", "degraded"]
Method = Literal["visplay", "vision-zero", "mixed"]


@app.command(cls=SettingsCommand)
def evolve(
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Settings over those of the recipe.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="A packaged recipe, or a YAML file; visplay-starter if not given.", show_default=False),
    ] = None,
    method: Annotated[
        Method | None, typer.Option(help="The method, with its recipe for the starter.", show_default=False)
    ] = None,
    as_json: Json = False,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print the settings and stop.")] = False,
) -> None:
    """Train a model on its own questions or games; without arguments the starter VLM on worlds."""
    from selfsight.config import load_config, to_yaml

    with errors():
        given = [f"method={method}"] if method else []
        config = load_config(recipe or f"{method or 'visplay'}-starter", [*given, *(overrides or [])])
        if print_config:
            print(json_text(config.model_dump(mode="json")) if as_json else to_yaml(config), end="")
            return
        from selfsight.beginning import ready_to_begin
        from selfsight.run.progress import progress_on

        config = ready_to_begin(config)
        loop = _loop_of(config.method)
        with progress_on() as progress:
            summary = loop.evolve(config, progress=progress)
        _print_summary(summary, as_json, getattr(summary, "path", None))


@app.command(cls=SettingsCommand)
def resume(
    run_path: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of the run, such as runs/NAME.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Settings to change from here on.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Continue a run that was stopped, at the step where it stopped."""
    with errors():
        from selfsight.config import load_config
        from selfsight.run import RunDirectory
        from selfsight.run.progress import progress_on

        method = load_config(RunDirectory.open(run_path).config_path).method
        with progress_on() as progress:
            loop = _loop_of(method)
            summary = loop.resume(run_path, overrides=overrides or [], progress=progress)
        _print_summary(summary, as_json, run_path)


@app.command(name="eval")
def evaluate(
    model: Annotated[str, Model],
    questions: Annotated[int, typer.Option(min=1, help="Held-out questions.")] = 600,
    seed: Annotated[int, typer.Option(min=0, help="Which held-out set.")] = 0,
    world: Annotated[World, typer.Option(help="What the pictures show.")] = "mixed",
    picture_size: PictureSize = None,
    as_json: Json = False,
) -> None:
    """Measure a model on held-out worlds, with exact answers."""
    with errors():
        from selfsight.evaluate.heldout import evaluate_model
        from selfsight.report import render_evaluation

        result = evaluate_model(model, questions=questions, seed=seed, world=world, picture_size=picture_size)
        if as_json:
            print(json_text(result), end="")
        else:
            render_evaluation(result, sys.stdout)


@app.command()
def arena(
    a: Annotated[str, typer.Argument(metavar="A", help="The trained model, as for eval: such as RUN.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The frozen one it came from, such as RUN@0; gives the clues.")],
    games: Annotated[int, typer.Option(min=1, help="Games in each direction, a multiple of the players.")] = 100,
    images: Annotated[
        str, typer.Option(help="worlds, worlds:scenes, worlds:charts, a folder, or a manifest.")
    ] = "worlds",
    spy_view: Annotated[View, typer.Option(help="What the spy sees.")] = "blank",
    players: Annotated[int, typer.Option(min=3, max=9, help="Players, one of them the spy.")] = 5,
    clue_rounds: Annotated[int, typer.Option(min=1, help="Clues of each player.")] = 2,
    voter: Annotated[Literal["referee", "seated"], typer.Option(help="Who votes.")] = "referee",
    seed: Annotated[int, typer.Option(min=0, help="Which images and games.")] = 0,
    picture_size: PictureSize = None,
    clues: Annotated[
        Path | None, typer.Option(help="Vote on these games' clues (clues.jsonl), not on new ones of B.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for every game and the result.")] = None,
    as_json: Json = False,
) -> None:
    """Let two models play "Who is the spy" against each other, each as spy and as citizens."""
    with errors():
        from selfsight.evaluate.contest import ContestSettings, run_contest
        from selfsight.methods.vision_zero import GameSettings
        from selfsight.report import render_arena
        from selfsight.run.progress import progress_on

        rules = GameSettings(players=players, clue_rounds=clue_rounds, spy_view=spy_view, voter=voter)
        contest = ContestSettings(games, images, seed, picture_size=picture_size, clues=clues, out=out)
        with progress_on() as progress:
            result = run_contest(a, b, rules, contest, progress=progress)
        if as_json:
            print(json_text(result), end="")
        else:
            render_arena(result, sys.stdout)


@app.command()
def play(
    model: Annotated[str, Model] = "starter",
    image: Annotated[Path | None, typer.Option(help="An image file; a picture of a world if not given.")] = None,
    world: Annotated[World, typer.Option(help="What the picture shows, without --image.")] = "mixed",
    seat: Annotated[int | None, typer.Option(min=1, help="Take this seat yourself.", show_default=False)] = None,
    players: Annotated[int, typer.Option(min=3, max=9, help="Players, one of them the spy.")] = 5,
    clue_rounds: Annotated[int, typer.Option(min=1, help="Clues of each player.")] = 2,
    spy_view: Annotated[View, typer.Option(help="What the spy sees.")] = "blank",
    seed: Annotated[int, typer.Option(min=0, help="Which picture, which spy, which samples.")] = 0,
) -> None:
    """Watch one game of "Who is the spy", or take a seat in it; Ctrl-D leaves the table."""
    with errors():
        from selfsight.evaluate.play import play as play_game
        from selfsight.evaluate.play import rules_at_table
        from selfsight.report import TerminalTable

        rules = rules_at_table(players=players, clue_rounds=clue_rounds, spy_view=spy_view, seat=seat)
        table = TerminalTable(sys.stdout, person=seat)
        play_game(model, rules, table, image=image, world=world, seat=seat, seed=seed)


for _command in (
    cli_results.compare, cli_results.report, cli_results.serve, cli_results.explain, cli_results.export
):  # fmt: skip
    app.command()(_command)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check versions, memory, disk and devices; exit code 1 when something would fail."""
    from selfsight.doctor import failed, render, run_checks

    checks = run_checks()
    print(json_text([check.as_json() for check in checks]) if as_json else render(checks), end="")
    raise typer.Exit(1 if failed(checks) else 0)


@app.command()
def recipes(
    show: Annotated[str | None, typer.Option("--show", metavar="NAME", help="Every setting of one.")] = None,
    as_json: Json = False,
) -> None:
    """List the recipes, or show every setting of one with its meaning."""
    from selfsight.config import describe, load_config
    from selfsight.recipes import recipe_names, recipe_summary

    with errors():
        if show is None:
            summaries = {name: recipe_summary(name) for name in recipe_names()}
            lines = "".join(f"{name}\n    {text}\n" for name, text in summaries.items())
            print(json_text(summaries) if as_json else lines, end="")
        else:
            config = load_config(show)
            print(json_text(config.model_dump(mode="json")) if as_json else describe(config), end="")


@starter_app.command()
def card() -> None:
    """Print the starter's model card."""
    from selfsight.starter import card_text

    with errors():
        print(card_text(), end="")


@starter_app.command()
def build(
    out: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Folder for the model; the package's own if not given.")
    ] = None,
    work: Annotated[
        Path, typer.Option(metavar="WORK", help="Folder for checkpoints; a stopped build goes on from it.")
    ] = Path("runs/starter-build"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights and pages.")] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Processes that draw pages.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads; the weights depend on them.")] = 2,
) -> None:
    """Build the starter from nothing (about an hour on two idle cores); the same command continues a stopped build."""
    with errors():
        import torch

        from selfsight.run.progress import progress_on
        from selfsight.starter import FOLDER
        from selfsight.starter.build import build as build_starter

        torch.set_num_threads(threads)
        with progress_on() as progress:
            folder = build_starter(out or FOLDER, work=work, seed=seed, workers=workers, say=progress.note)
        print(folder)


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _selfsight(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    _refuse_platform(sys.platform)
    from selfsight.run.allocator import keep_freed_memory
    from selfsight.run.waiting import wait_briefly

    keep_freed_memory()
    wait_briefly()
    # Nothing here reports to anyone; the hub client would otherwise add usage facts to its requests.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def _refuse_platform(platform: str) -> None:
    """Ends with exit code 2 on Windows, whose Python has no `fcntl` and no `resource`; runs are locked with the one."""
    if platform == "win32":
        print("Error: selfsight is not supported on Windows", file=sys.stderr)
        print("  -> use WSL: https://learn.microsoft.com/windows/wsl/install", file=sys.stderr)
        raise typer.Exit(2)


def _loop_of(method: Method) -> ModuleType:
    """The loop of a method; torch is imported here, which takes seconds, and a person at a terminal is told so."""
    if sys.stderr.isatty():
        print("loading torch and transformers ...", file=sys.stderr, flush=True)
    if method == "vision-zero":
        from selfsight.methods.vision_zero import run as vision_zero

        return vision_zero
    if method == "mixed":
        from selfsight.methods.mixed import run as mixed

        return mixed
    from selfsight.methods.visplay import run as visplay

    return visplay


def _print_summary(summary: dict[str, Any], as_json: bool, run: Path | None = None) -> None:
    from selfsight.report import render_summary

    try:
        if as_json:
            print(json_text(summary), end="")
        else:
            render_summary(summary, sys.stdout, run)
        sys.stdout.flush()
    except OSError as error:
        discard_output(sys.stdout)
        raise SelfsightError(
            f"the result could not be printed ({error.strerror}); the run is finished, and summary.json in its folder "
            "holds it",
            hint="free some space, then `selfsight resume RUN` prints it again",
        ) from error


def main() -> None:
    """Console script."""
    try:
        app(prog_name="selfsight")
    finally:
        discard_unwritable()
