"""Commands about what runs have left: compare, report, serve, explain, export. `cli` names them."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from selfsight.cli_shared import Json, PictureSize, World, errors, json_text


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
    with errors():
        from selfsight.evaluate.comparison import ComparisonSettings, run_comparison
        from selfsight.report import render_comparison, with_verdict
        from selfsight.run.progress import progress_on

        settings = ComparisonSettings(questions, seed, world, picture_size, samples, max_completion_length, anew)
        with progress_on() as progress:
            result = with_verdict(run_comparison(a, b, settings, progress=progress))
        if as_json:
            print(json_text(result), end="")
        else:
            render_comparison(result, sys.stdout)
        if out is not None:
            from selfsight.report.comparison_page import render_written, write_comparison

            written = write_comparison(result, out)
            render_written(written, sys.stderr if as_json else sys.stdout)


def report(
    run_path: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of the run, such as runs/NAME.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to write it; RUN/report.html if not given.")
    ] = None,
    questions: Annotated[int, typer.Option(min=1, help="Questions in it at most, about.")] = 15_000,
    games: Annotated[int, typer.Option(min=1, help="Games in it at most, about.")] = 1_500,
    as_json: Json = False,
) -> None:
    """Write a run, finished or not, as one HTML file: verdict, curves, every question or game, with pictures."""
    with errors():
        from selfsight.evaluate.oracle import verdict_if_known
        from selfsight.report.page import render_written, write_report

        written = write_report(run_path, out, truth=verdict_if_known, most_questions=questions, most_games=games)
        if as_json:
            print(json_text(plain(written)), end="")
        else:
            render_written(written, sys.stdout)


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
    with errors():
        from selfsight.evaluate.oracle import verdict_if_known
        from selfsight.report.serving import serve as serve_run

        serve_run(run_path, sys.stdout, port=port, truth=verdict_if_known, most_questions=questions, most_games=games)


def explain(
    run_path: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of the run, such as runs/NAME.")],
    question_id: Annotated[str, typer.Argument(metavar="QUESTION_ID", help="As the report shows it.")],
    as_json: Json = False,
) -> None:
    """Print a question's votes, the arithmetic of its reward, and what each gate said."""
    with errors():
        from selfsight.evaluate.oracle import verdict_if_known
        from selfsight.report.explain import explain as explain_question
        from selfsight.report.explain import explained

        if as_json:
            lines = explained(run_path, question_id, truth=verdict_if_known)
            print(json_text({"run": str(run_path), "question_id": question_id, "lines": lines}), end="")
        else:
            explain_question(run_path, question_id, sys.stdout, truth=verdict_if_known)


def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run, such as runs/NAME, or RUN@ROUND.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder that gets questions/, model/ and adapter/.")],
    what: Annotated[Literal["questions", "model", "all"], typer.Option(help="What to export.")] = "all",
    which: Annotated[
        str | None,
        typer.Option(
            "--round",
            help="Whose model: final (if not given), best (by held-out accuracy), or a number.",
            show_default=False,
        ),
    ] = None,
    with_photographs: Annotated[
        bool, typer.Option("--with-photographs", help="Copy your own images too: you may publish them.")
    ] = False,
    dtype: Annotated[
        Literal["bfloat16", "float32"] | None,
        typer.Option(help="Convert the model's weights; as the run saved them if not given.", show_default=False),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export.")] = False,
    as_json: Json = False,
) -> None:
    """Write a run's questions as a data set and its model as a model folder, each with a card; nothing is uploaded."""
    with errors():
        from selfsight.evaluate.oracle import verdict_if_known
        from selfsight.export import export_run, render_exported

        run_path, round = run_and_round(run, which)
        done = export_run(
            run_path,
            out,
            what=what,
            which=round,
            truth=verdict_if_known,
            photographs=with_photographs,
            force=force,
            dtype=dtype,
        )
        if as_json:
            print(json_text(plain(done)), end="")
        else:
            render_exported(done, sys.stdout)


def run_and_round(given: str, which: str | None) -> tuple[Path, str]:
    """The run and the round of `export`: RUN with --round, or RUN@K; a model is refused, since it is one already."""
    from selfsight.errors import SelfsightError
    from selfsight.evaluate.named import resolve_model, run_at_round

    at_round = None if given == "starter" else run_at_round(given)
    if at_round is not None:
        run, round = at_round
        if which is not None and which != str(round):
            raise SelfsightError(f"{given} and --round {which} name two rounds", hint="give one of them")
        if round == 0:
            raise SelfsightError(
                f"{given}: is the model that the run began with, which the run has not written",
                hint=f"it is {resolve_model(given).model}; `selfsight export {run} --out DIR` exports what was trained",
            )
        return run, str(round)
    path = Path(given).expanduser()
    if given == "starter" or (path / "config.json").is_file():
        raise SelfsightError(
            f"{given}: is a model folder already, not a run",
            hint="copy it; `selfsight export runs/NAME --out DIR` exports the model of a run with its card",
        )
    if path.is_dir() and path.resolve().parent.name == "rounds":
        resolve_model(given)  # says that it is a round, and of which run
    return path, which or "final"


def plain(result: Any) -> Any:
    """A written result for --json: its fields, with paths as texts."""
    return json.loads(json.dumps(asdict(result), default=str))
