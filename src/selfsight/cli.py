"""The command line: a few lines per command, no logic.

Results go to standard output, progress and errors to standard error. Exit codes: 0 done, 1 a check of `doctor` failed,
2 a mistake that the user can mend, and, with everything saved, 3 stopped by an alarm (alarms.policy=stop), 130 and 143
stopped by SIGINT and SIGTERM. torch is imported inside the commands that need it, so that `--help` answers at once.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

import typer

from selfsight import __version__
from selfsight.errors import SelfsightError

app = typer.Typer(
    name="selfsight",
    help="Let a vision-language model teach itself from unlabelled images, and see whether it got better.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # its tracebacks print local variables, which may hold tokens
    rich_markup_mode=None,
)
starter_app = typer.Typer(help="The starter VLM: its card, and how to build it again.", no_args_is_help=True)
app.add_typer(starter_app, name="starter")

World = Literal["mixed", "scenes", "charts"]
View = Literal["blank", "modified", "degraded"]
PictureSize = Annotated[
    int | None,
    typer.Option(
        min=56, max=2048, help="Side of the pictures in pixels; starter 112, other models 448.", show_default=False
    ),
]
Method = Literal["visplay", "vision-zero", "mixed"]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.command()
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

    with _errors():
        given = [f"method={method}"] if method else []
        config = load_config(recipe or f"{method or 'visplay'}-starter", [*given, *(overrides or [])])
        if print_config:
            print(_json(config.model_dump(mode="json")) if as_json else to_yaml(config), end="")
            return
        from selfsight.run.progress import progress_on

        loop = _loop_of(config.method)
        with progress_on() as progress:
            summary = loop.evolve(config, progress=progress)
        _print_summary(summary, as_json)


@app.command()
def resume(
    run_path: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of the run, such as runs/NAME.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Settings to change from here on.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Continue a run that was stopped, at the step where it stopped."""
    with _errors():
        from selfsight.config import load_config
        from selfsight.run import RunDirectory
        from selfsight.run.progress import progress_on

        loop = _loop_of(load_config(RunDirectory.open(run_path).config_path).method)
        with progress_on() as progress:
            summary = loop.resume(run_path, overrides=overrides or [], progress=progress)
        _print_summary(summary, as_json)


@app.command(name="eval")
def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="starter, a model folder, or a hub id.")],
    questions: Annotated[int, typer.Option(min=1, help="Held-out questions.")] = 600,
    seed: Annotated[int, typer.Option(min=0, help="Which held-out set.")] = 0,
    world: Annotated[World, typer.Option(help="What the pictures show.")] = "mixed",
    picture_size: PictureSize = None,
    as_json: Json = False,
) -> None:
    """Measure a model on held-out worlds, with exact answers."""
    with _errors():
        from selfsight.evaluate.heldout import evaluate_model
        from selfsight.report import render_evaluation

        result = evaluate_model(model, questions=questions, seed=seed, world=world, picture_size=picture_size)
        if as_json:
            print(_json(result), end="")
        else:
            render_evaluation(result, sys.stdout)


@app.command()
def arena(
    a: Annotated[str, typer.Argument(metavar="A", help="The trained model: starter, a model folder, or a hub id.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The frozen one it came from, whose clues A votes on.")],
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
    with _errors():
        from selfsight.evaluate.contest import ContestSettings, run_contest
        from selfsight.methods.vision_zero import GameSettings
        from selfsight.report import render_arena
        from selfsight.run.progress import progress_on

        rules = GameSettings(players=players, clue_rounds=clue_rounds, spy_view=spy_view, voter=voter)
        contest = ContestSettings(games, images, seed, picture_size=picture_size, clues=clues, out=out)
        with progress_on() as progress:
            result = run_contest(a, b, rules, contest, progress=progress)
        if as_json:
            print(_json(result), end="")
        else:
            render_arena(result, sys.stdout)


@app.command()
def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="starter, a model folder, a hub id, RUN, or RUN@ROUND.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The same, for the one after A.")],
    questions: Annotated[int | None, typer.Option(min=1, help="Held-out questions.", show_default=False)] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Which held-out set.", show_default=False)] = None,
    world: Annotated[World | None, typer.Option(help="What the pictures show.", show_default=False)] = None,
    picture_size: PictureSize = None,
    samples: Annotated[
        int | None, typer.Option(min=2, help="Answers drawn beside the greedy one.", show_default=False)
    ] = None,
    max_completion_length: Annotated[
        int | None, typer.Option(min=1, help="Tokens of an answer at most.", show_default=False)
    ] = None,
    anew: Annotated[bool, typer.Option("--anew", help="Ask again what a run has answered already.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for comparison.html, with pictures, and comparison.json.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare two checkpoints, question by question: wins, losses, and where it got worse.

    What is not said is as the runs were measured, or as `selfsight eval` measures.
    """
    with _errors():
        from selfsight.evaluate.comparison import ComparisonSettings, run_comparison
        from selfsight.report import render_comparison, with_verdict
        from selfsight.run.progress import progress_on

        settings = ComparisonSettings(questions, seed, world, picture_size, samples, max_completion_length, anew)
        with progress_on() as progress:
            result = with_verdict(run_comparison(a, b, settings, progress=progress))
        if as_json:
            print(_json(result), end="")
        else:
            render_comparison(result, sys.stdout)
        if out is not None:
            from selfsight.report.comparison_page import render_written, write_comparison

            written = write_comparison(result, out)
            render_written(written, sys.stderr if as_json else sys.stdout)


@app.command()
def play(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="starter, a model folder, or a hub id.")] = "starter",
    image: Annotated[Path | None, typer.Option(help="An image file; a picture of a world if not given.")] = None,
    world: Annotated[World, typer.Option(help="What the picture shows, without --image.")] = "mixed",
    seat: Annotated[int | None, typer.Option(min=1, help="Take this seat yourself.", show_default=False)] = None,
    players: Annotated[int, typer.Option(min=3, max=9, help="Players, one of them the spy.")] = 5,
    clue_rounds: Annotated[int, typer.Option(min=1, help="Clues of each player.")] = 2,
    spy_view: Annotated[View, typer.Option(help="What the spy sees.")] = "blank",
    seed: Annotated[int, typer.Option(min=0, help="Which picture, which spy, which samples.")] = 0,
) -> None:
    """Watch one game of "Who is the spy", or take a seat in it; Ctrl-D leaves the table."""
    with _errors():
        from selfsight.evaluate.play import play as play_game
        from selfsight.evaluate.play import rules_at_table
        from selfsight.report import TerminalTable

        rules = rules_at_table(players=players, clue_rounds=clue_rounds, spy_view=spy_view, seat=seat)
        table = TerminalTable(sys.stdout, person=seat)
        play_game(model, rules, table, image=image, world=world, seat=seat, seed=seed)


@app.command()
def report(
    run_path: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of the run, such as runs/NAME.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to write it; RUN/report.html if not given.")
    ] = None,
    questions: Annotated[int, typer.Option(min=1, help="Questions in it at most, about.")] = 15_000,
    games: Annotated[int, typer.Option(min=1, help="Games in it at most, about.")] = 1_500,
) -> None:
    """Write a run, finished or not, as one HTML file: verdict, curves, every question or game, with pictures."""
    with _errors():
        from selfsight.evaluate.oracle import verdict_if_known
        from selfsight.report.page import render_written, write_report

        written = write_report(run_path, out, truth=verdict_if_known, most_questions=questions, most_games=games)
        render_written(written, sys.stdout)


@app.command()
def serve(
    run_path: Annotated[
        Path | None,
        typer.Argument(metavar="RUN", help="Folder of the run; without it the one in runs/ that was written last."),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port of 127.0.0.1; 0 is any free one.")] = 0,
    questions: Annotated[int, typer.Option(min=1, help="Questions shown at most, about.")] = 15_000,
    games: Annotated[int, typer.Option(min=1, help="Games shown at most, about.")] = 1_500,
) -> None:
    """Show a run, under way or finished, as a live page for a browser on this machine, until Ctrl-C."""
    with _errors():
        from selfsight.evaluate.oracle import verdict_if_known
        from selfsight.report.serving import serve as serve_run

        serve_run(run_path, sys.stdout, port=port, truth=verdict_if_known, most_questions=questions, most_games=games)


@app.command()
def explain(
    run_path: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of the run, such as runs/NAME.")],
    question_id: Annotated[str, typer.Argument(metavar="QUESTION_ID", help="As the report shows it.")],
) -> None:
    """Print a question's votes, the arithmetic of its reward, and what each gate said."""
    with _errors():
        from selfsight.evaluate.oracle import verdict_if_known
        from selfsight.report.explain import explain as explain_question

        explain_question(run_path, question_id, sys.stdout, truth=verdict_if_known)


@app.command()
def export(
    run_path: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of the run, such as runs/NAME.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder that gets questions/ and model/.")],
    what: Annotated[Literal["questions", "model", "all"], typer.Option(help="What to export.")] = "all",
    which: Annotated[
        str, typer.Option("--round", help="Whose model: final, best (by held-out accuracy), or a number.")
    ] = "final",
    with_photographs: Annotated[
        bool, typer.Option("--with-photographs", help="Copy your own images too: you may publish them.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export.")] = False,
) -> None:
    """Write a run's questions as a data set and its model as a model folder, each with a card; nothing is uploaded."""
    with _errors():
        from selfsight.evaluate.oracle import verdict_if_known
        from selfsight.export import export_run, render_exported

        done = export_run(
            run_path, out, what=what, which=which, truth=verdict_if_known, photographs=with_photographs, force=force
        )
        render_exported(done, sys.stdout)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check versions, memory, disk and devices; exit code 1 when something would fail."""
    from selfsight.doctor import failed, render, run_checks

    checks = run_checks()
    print(_json([check.as_json() for check in checks]) if as_json else render(checks), end="")
    raise typer.Exit(1 if failed(checks) else 0)


@app.command()
def recipes(
    show: Annotated[str | None, typer.Option("--show", metavar="NAME", help="Every setting of one.")] = None,
    as_json: Json = False,
) -> None:
    """List the recipes, or show every setting of one with its meaning."""
    from selfsight.config import describe, load_config
    from selfsight.recipes import recipe_names, recipe_summary

    with _errors():
        if show is None:
            summaries = {name: recipe_summary(name) for name in recipe_names()}
            lines = "".join(f"{name}\n    {text}\n" for name, text in summaries.items())
            print(_json(summaries) if as_json else lines, end="")
        else:
            config = load_config(show)
            print(_json(config.model_dump(mode="json")) if as_json else describe(config), end="")


@starter_app.command()
def card() -> None:
    """Print the starter's model card."""
    from selfsight.starter import card_text

    with _errors():
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
    """Build the starter from nothing (about two CPU hours); the same command continues a stopped build."""
    with _errors():
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
    from selfsight.run.allocator import keep_freed_memory

    keep_freed_memory()
    # Nothing here reports to anyone; the hub client would otherwise add usage facts to its requests.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def _loop_of(method: Method) -> ModuleType:
    """The loop of a method; torch is imported here."""
    if method == "vision-zero":
        from selfsight.methods.vision_zero import run as vision_zero

        return vision_zero
    if method == "mixed":
        from selfsight.methods.mixed import run as mixed

        return mixed
    from selfsight.methods.visplay import run as visplay

    return visplay


@contextmanager
def _errors() -> Iterator[None]:
    """A mistake the user can mend is a message and exit code 2; a bug keeps its traceback.

    A run that was asked to stop brings its own exit code.
    """
    try:
        yield
    except SelfsightError as error:
        from selfsight.run.progress import plain_text

        asked_to_stop: int | None = getattr(error, "exit_code", None)
        print(plain_text(f"{'' if asked_to_stop else 'Error: '}{error.message}"), file=sys.stderr)
        if error.hint:
            print(f"  -> {plain_text(error.hint)}", file=sys.stderr)
        raise typer.Exit(asked_to_stop or 2) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _print_summary(summary: dict[str, Any], as_json: bool) -> None:
    from selfsight.report import render_summary

    if as_json:
        print(_json(summary), end="")
    else:
        render_summary(summary, sys.stdout)


def _json(data: object) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Console script."""
    app(prog_name="selfsight")
