"""The `rnndrop` command: thin, with every heavy import inside the commands."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from rnndrop.errors import RequestError

# Threads that wait by spinning bring training to a crawl when another program shares the cores. OpenMP reads this
# when torch is first imported, which the commands do.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

app = typer.Typer(
    name="rnndrop",
    help="Find out what a dropout does to a recurrent sequence model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
    rich_markup_mode="rich",
)

Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change; see `rnndrop run --cfg`.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


def _version(show: bool) -> None:
    if show:
        from importlib.metadata import version

        typer.echo(f"rnndrop {version('rnndrop')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    pass


@app.command(epilog="Example: rnndrop run dropout=variational dropout.recurrent.p=0.2 trainer.epochs=12")
def run(
    overrides: Overrides = None,
    as_json: Json = False,
    cfg: Annotated[bool, typer.Option("--cfg", help="Print the composed settings and stop.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Run again even if it has finished before.")] = False,
) -> None:
    """Train one model and record its perplexities."""
    from . import run as command

    raise typer.Exit(command.show_config(overrides or []) if cfg else command.run(overrides or [], as_json, force))


@app.command(epilog="Example: rnndrop sweep dropout=none,naive,variational 'seed=range(3)'")
def sweep(
    overrides: Overrides = None,
    as_json: Json = False,
    force: Annotated[bool, typer.Option("--force", help="Run again what has finished before.")] = False,
) -> None:
    """Run a grid: every combination of `key=a,b` and `key=range(…)`. Finished runs are skipped."""
    from . import sweep as command

    raise typer.Exit(command.sweep(overrides or [], as_json, force))


@app.command(epilog="Example: rnndrop report --format md > table.md")
def report(
    path: Annotated[str, typer.Argument(help="Folder of the runs.")] = "results/runs",
    style: Annotated[str, typer.Option("--format", help="rich, md, csv or json.")] = "rich",
) -> None:
    """Compare the runs in a folder: mean ± std over seeds."""
    from . import report as command

    command.report(path, style)


@app.command("eval", epilog="Example: rnndrop eval 3f9c21ab/seed-0 --mc 100")
def evaluate(
    run: Annotated[str, typer.Argument(help="A run's folder, its id, or id/seed-N.")],
    mc: Annotated[int, typer.Option("--mc", min=1, help="Samples to average over.")] = 100,
    masks: Annotated[str, typer.Option(help="Drawn once a `pass` or once a `window`.")] = "pass",
    embedding: Annotated[bool, typer.Option("--embedding", help="Sample embedding dropout too.")] = False,
    output: Annotated[str, typer.Option(help="Folder of the runs.")] = "results/runs",
    as_json: Json = False,
) -> None:
    """Evaluate a finished run by Monte Carlo, and add the result to its record."""
    from . import evaluate as command

    command.evaluate(run, output, mc, masks, embedding, as_json)


@app.command(epilog="Example: rnndrop masks dropout=awd -o masks.png")
def masks(
    overrides: Overrides = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the draw; the setting `seed` where not given.")] = None,
    figure: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FIG", help="Plot to a .png, .svg or .pdf instead.")
    ] = None,
) -> None:
    """Draw the masks of a dropout plan: what is dropped where, and what shares a mask."""
    from . import masks as command

    command.masks(overrides or [], seed, figure)


@app.command(epilog="Example: rnndrop ls dropout")
def ls(
    group: Annotated[str | None, typer.Argument(help="data, model, dropout, trainer, evaluation, experiment.")] = None,
) -> None:
    """List what can be chosen: `rnndrop run GROUP=NAME`."""
    from rnndrop.compose import GROUPS, choices
    from rnndrop.errors import unknown

    if group is not None and group not in GROUPS:
        raise unknown("group", group, GROUPS)
    for name in [group] if group else GROUPS:
        if group is None:
            typer.echo(f"{name}:")
        for option, about in choices(name).items():
            typer.echo(f"{'' if group else '  '}{option:<20} {about}")


def main() -> None:
    """Entry point: a wrong request is one message and exit code 2; an interrupt is 130."""
    try:
        app()
    except RequestError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("Interrupted. The same command goes on from here.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
