"""The `rnndrop` command: thin, with every heavy import inside the commands."""

from __future__ import annotations

import errno
import logging
import os
import re
import sys
from ast import literal_eval
from collections.abc import Callable
from typing import Annotated, Any, get_args

import typer
from typer.core import TyperCommand, TyperGroup

from rnndrop.errors import NotWrittenError, RequestError, shorten, unknown
from rnndrop.paths import OUTPUT
from rnndrop.values import Drawing, Interval, Listed, Masks, Mode, Scale, Style

from .output import Messages, OutputError, discard, guard

# How long a waiting thread spins before it sleeps. Without a bound, training crawls when another program shares the
# cores; without spinning, two threads are hardly faster than one. OpenMP reads this when torch is first imported.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")


REFUSED = (errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ELOOP)
"""What a system says of a path that it does not let a command use."""

UsageError: type[Exception] = typer.BadParameter.__mro__[1]  # of click, which Typer imports or has in itself


class _Command(TyperCommand):
    """A command with a help of ours."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from . import usage

        usage.show(self, ctx)


class _Commands(TyperGroup):
    """The commands; what is no command, option or value of one is refused as everywhere here, with a guess."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from . import usage

        usage.show(self, ctx)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except UsageError as wrong:
            if not (message := getattr(wrong, "message", "")):  # no arguments: the help was shown
                raise
            raise RequestError(f"{message}\nHelp: rnndrop -h") from None

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except UsageError as wrong:
            error: Any = wrong
            if found := re.search(r"('.*'|\".*\") is not one of (.+)\.$", error.message):
                name, *choices = literal_eval(f"{found[1]}, {found[2]}")
                raise unknown(error.param.opts[0], name, choices) from None
            if found := re.search(r"^No such command '(.*?)'", error.message):
                raise unknown("command", found[1], self.commands) from None
            message = " ".join(error.format_message().split())
            raise RequestError(f"{message}\nHelp: rnndrop {ctx.invoked_subcommand} -h") from None


app = typer.Typer(
    name="rnndrop",
    cls=_Commands,
    help="Find out what a dropout does to a recurrent sequence model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
TRAIN, LOOK, KEEP, ASK = "Train", "See what came out", "Keep and delete runs", "Find out what there is"


def _command(name: str, panel: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Makes a function the command of that name, below the heading `panel` of `rnndrop --help`."""
    return app.command(name, cls=_Command, rich_help_panel=panel)


def _complete(what: str) -> Callable[[str], list[str]]:
    """The completion `what` of `complete.py`, imported when a shell asks."""

    def ask(incomplete: str) -> list[str]:
        from . import complete

        found: list[str] = getattr(complete, what)(incomplete)
        return found

    return ask


def _listed(values: Any) -> str:
    """Many values as words of a help text: as the type of a parameter (`show_choices`) they break within words."""
    return ", ".join(get_args(values))


Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Settings to change; see `rnndrop help KEY`.",
        autocompletion=_complete("overrides"),
    ),
]


def _use(folder: str | None) -> None:
    if folder is not None:
        from rnndrop.config.folders import use

        use(folder)


ConfigDir = Annotated[
    str | None,
    typer.Option(
        "--config-dir",
        metavar="FOLDER",
        callback=_use,
        is_eager=True,
        help="Read options of your own from this folder too, besides ./rnndrop_conf.",
    ),
]


def _expanded(given: str) -> str:
    """A path of the command line; a shell leaves the `~` of `--output=~/runs` alone."""
    if not given.startswith("~"):
        return given
    from rnndrop.paths import path_of

    return str(path_of(given))


def _path(given: str | None) -> str | None:
    if given == "":
        raise RequestError("'' names no file and no folder.")
    return given and _expanded(given)


def _paths(given: list[str] | None) -> list[str] | None:
    return given and [str(_path(each)) for each in given]


def _runs(given: list[str] | None) -> list[str] | None:
    return given and [_expanded(each) for each in given]  # the commands themselves say that '' names no run


Folder = Annotated[str, typer.Argument(metavar="[FOLDER]", callback=_path, help="Folder of the runs.")]
Where = Annotated[
    list[str] | None,
    typer.Option(metavar="CONDITION", help="Only runs with KEY=VALUE[,VALUE], KEY!=VALUE or KEY<NUMBER; repeatable."),
]
Last = Annotated[
    str | None, typer.Option(metavar="SPAN", help="Only runs recorded within this span, such as 30m, 12h, 1d or 2w.")
]
Ranked = Annotated[
    str | None,
    typer.Option(
        help="What to rank by, for example test_perplexity_mc. Default: test_perplexity or test_rmse.",
        autocompletion=_complete("metrics"),
    ),
]
Jobs = Annotated[int, typer.Option("--jobs", "-j", min=1, metavar="N", help="How many runs at a time.")]
Gpus = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help="How many GPUs the runs share, the first ones. Default: all that are visible."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would run and stop.")]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Run failed and diverged runs again.")]
Output = Annotated[str, typer.Option(metavar="FOLDER", callback=_path, help="Folder of the runs.")]


def _version(show: bool) -> None:
    if show:
        from importlib.metadata import version

        typer.echo(f"rnndrop {version('rnndrop')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@_command("run", TRAIN)
def run(
    overrides: Overrides = None,
    as_json: Json = False,
    cfg: Annotated[bool, typer.Option("--cfg", help="Print the composed settings and stop.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Run again even if it has finished before.")] = False,
    config_dir: ConfigDir = None,
) -> None:
    """Train one model and record its perplexities, or its RMSE (task=sentiment)."""
    from . import run as command
    from .debug import debug, split_debug

    preset, rest = split_debug(overrides or [])
    if cfg:
        raise typer.Exit(command.show_config(rest))
    if preset and force:
        raise RequestError(f"debug={preset} records nothing: leave out --force.")
    raise typer.Exit(debug(preset, rest, as_json) if preset else command.run(rest, as_json, force))


@_command("sweep", TRAIN)
def sweep(
    overrides: Overrides = None,
    jobs: Jobs = 1,
    gpus: Gpus = None,
    as_json: Json = False,
    dry_run: DryRun = False,
    retry_failed: RetryFailed = False,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first failure.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Run finished runs again.")] = False,
    config_dir: ConfigDir = None,
) -> None:
    """Run every combination of `key=a,b` and `key=range(…)`. Finished runs are skipped, interrupted ones resumed."""
    from . import sweep as command

    options = command.Options(jobs, as_json, dry_run, retry_failed, fail_fast, force, gpus=gpus)
    raise typer.Exit(command.sweep(overrides or [], options))


@_command("ablate", TRAIN)
def ablate(
    plan: Annotated[str, typer.Argument(help="A dropout plan or an experiment.", autocompletion=_complete("plans"))],
    overrides: Overrides = None,
    mode: Annotated[
        Mode, typer.Option(metavar="drop|add", help="drop: leave one location out; add: one location alone.")
    ] = "drop",
    jobs: Jobs = 1,
    gpus: Gpus = None,
    as_json: Json = False,
    dry_run: DryRun = False,
    retry_failed: RetryFailed = False,
    config_dir: ConfigDir = None,
) -> None:
    """Measure what each location of a plan is worth. Every variant runs with the same seeds (three by default)."""
    from . import ablate as command
    from .sweep import Options

    raise typer.Exit(
        command.ablate(plan, mode, overrides or [], Options(jobs, as_json, dry_run, retry_failed, gpus=gpus))
    )


@_command("variance", TRAIN)
def variance(
    overrides: Overrides = None,
    jobs: Jobs = 1,
    gpus: Gpus = None,
    as_json: Json = False,
    dry_run: DryRun = False,
    retry_failed: RetryFailed = False,
    config_dir: ConfigDir = None,
) -> None:
    """Measure where the spread between seeds comes from: initial weights, order of the data, masks, test text."""
    from . import variance as command
    from .sweep import Options

    raise typer.Exit(command.variance(overrides or [], Options(jobs, as_json, dry_run, retry_failed, gpus=gpus)))


@_command("decide", TRAIN)
def decide(
    overrides: Overrides = None,
    margin: Annotated[str, typer.Option(metavar="PERCENT", help="Differences below this count as equal.")] = "1%",
    alpha: Annotated[
        float, typer.Option(metavar="P", help="The chance of a wrong verdict, however often one looks.")
    ] = 0.05,
    max_seeds: Annotated[
        int, typer.Option(min=2, max=1000, metavar="N", help="The most seeds of each contestant.")
    ] = 20,
    plan_only: Annotated[
        bool, typer.Option("--plan-only", help="Print how many seeds and how much time to expect, and stop.")
    ] = False,
    pilot: Annotated[
        str | None,
        typer.Option(metavar="STD,STD", help="For --plan-only: the std over seeds of two contestants, as 0.6%,4.9%."),
    ] = None,
    jobs: Jobs = 1,
    gpus: Gpus = None,
    as_json: Json = False,
    dry_run: DryRun = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run failed runs again.")] = False,
    config_dir: ConfigDir = None,
) -> None:
    """Train seed after seed until one plan is better, worse or equal within a margin, and stop there."""
    from . import decide as command
    from .sweep import Options

    request = command.Request(margin, alpha, max_seeds, plan_only, pilot)
    raise typer.Exit(command.decide(overrides or [], request, Options(jobs, as_json, dry_run, retry_failed, gpus=gpus)))


@_command("reproduce", TRAIN)
def reproduce(
    name: Annotated[str, typer.Argument(help="See `rnndrop ls reproduce`.", autocompletion=_complete("reproductions"))],
    overrides: Overrides = None,
    scale: Annotated[
        Scale, typer.Option(metavar="full|small", help="full: as published; small: reduced, for two cores.")
    ] = "full",
    jobs: Jobs = 1,
    gpus: Gpus = None,
    as_json: Json = False,
    dry_run: DryRun = False,
    retry_failed: RetryFailed = False,
    committed: Annotated[
        bool, typer.Option("--committed", help="Run nothing: show the results that come with rnndrop.")
    ] = False,
    config_dir: ConfigDir = None,
) -> None:
    """Run the rows of a paper and compare them with the published numbers."""
    from . import reproduce as command
    from .sweep import Options

    if committed:
        raise typer.Exit(command.committed(name, scale, overrides or [], as_json))
    raise typer.Exit(
        command.reproduce(name, scale, overrides or [], Options(jobs, as_json, dry_run, retry_failed, gpus=gpus))
    )


@_command("tune", TRAIN)
def tune(
    overrides: Overrides = None,
    trials: Annotated[
        int,
        typer.Option(
            min=1, max=10_000, metavar="N", help="How many trials of each plan, including those of earlier calls."
        ),
    ] = 20,
    seeds: Annotated[
        int,
        typer.Option(
            min=0, max=1000, metavar="N", help="How many new seeds to train each plan's best settings with; 0: none."
        ),
    ] = 3,
    no_prune: Annotated[bool, typer.Option("--no-prune", help="Train every trial to its end.")] = False,
    jobs: Jobs = 1,
    gpus: Gpus = None,
    as_json: Json = False,
    dry_run: DryRun = False,
    retry_failed: RetryFailed = False,
    config_dir: ConfigDir = None,
) -> None:
    """Search the plans of `dropout=a,b` with as many trials each; train the best of each, by valid, with fresh seeds.

    A range is KEY=interval(LOW,HIGH), KEY=tag(log,interval(LOW,HIGH)) or KEY=A,B. rate_factor multiplies every rate of
    a plan; it is what is searched where no range is given. Trials that fall behind are pruned.
    """
    from . import tune as command
    from .sweep import Options

    options = Options(jobs, as_json, dry_run, retry_failed, gpus=gpus)
    raise typer.Exit(command.tune(overrides or [], trials, seeds, not no_prune, options))


@_command("show", LOOK)
def show(
    run: Annotated[
        str,
        typer.Argument(callback=_path, help="A run's folder, its id, or id/seed-N.", autocompletion=_complete("runs")),
    ],
    output: Output = OUTPUT,
    as_json: Json = False,
) -> None:
    """Show one run: the changed settings, its numbers and curve, where it ran, and the command that repeats it."""
    from . import show as command

    raise typer.Exit(command.show(run, output, as_json))


@_command("watch", LOOK)
def watch(
    path: Folder = OUTPUT,
    once: Annotated[bool, typer.Option("--once", help="Print the table and stop.")] = False,
    every: Annotated[float, typer.Option(min=0.1, max=86400, metavar="SECONDS", help="Seconds between updates.")] = 2.0,
    as_json: Json = False,
) -> None:
    """Show running, finished and failed runs, live, from any terminal that can read the folder. Ctrl-C stops it."""
    from . import watch as command

    raise typer.Exit(command.watch(path, once, as_json, every))


@_command("doctor", ASK)
def doctor(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FOLDER | KEY=VALUE...]",
            callback=_paths,
            help="A folder of runs, or settings to check the machine with.",
            autocompletion=_complete("overrides"),
        ),
    ] = None,
    as_json: Json = False,
    config_dir: ConfigDir = None,
) -> None:
    """Check versions, device, disk, locks and data, and time one step of training; or verify the runs in a folder."""
    from . import doctor as command

    raise typer.Exit(command.doctor(arguments or [], as_json))


@_command("report", LOOK)
def report(
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FOLDER]...", callback=_paths, help="Folders of runs, as one. Default: results/runs."),
    ] = None,
    style: Annotated[
        Style,
        typer.Option("--format", show_choices=False, metavar="STYLE", help=f"Format of the tables: {_listed(Style)}."),
    ] = "rich",
    metric: Ranked = None,
    baseline: Annotated[
        str | None,
        typer.Option(help="Add differences from this dropout, run id or KEY=VALUE.", autocompletion=_complete("plans")),
    ] = None,
    where: Where = None,
    last: Last = None,
    columns: Annotated[
        str | None, typer.Option(metavar="A,B,C", help="Show these columns, by their names, as n,test,time.")
    ] = None,
    sort: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Sort by this column, as test; -COLUMN reverses the order.")
    ] = None,
    only_changed: Annotated[bool, typer.Option("--only-changed", help="Show only the columns that vary.")] = False,
    hide_failed: Annotated[bool, typer.Option("--hide-failed", help="Leave out runs that did not finish.")] = False,
    bootstrap: Annotated[bool, typer.Option("--bootstrap", help="Add the uncertainty of the test set itself.")] = False,
    interval: Annotated[
        Interval,
        typer.Option(
            metavar="seeds|text|both", help="What differences are uncertain by: seeds, the test text, or both."
        ),
    ] = "seeds",
    published: Annotated[bool, typer.Option("--published", help="Add published results on the same data.")] = False,
    paper: Annotated[
        bool, typer.Option("--paper", help="A LaTeX table for a paper, with a caption and notes on how to read it.")
    ] = False,
    caption: Annotated[str | None, typer.Option(metavar="LATEX", help="The caption of --paper.")] = None,
    label: Annotated[str | None, typer.Option(metavar="NAME", help="The label of --paper, as tab:plans.")] = None,
    html: Annotated[
        str | None, typer.Option(metavar="FILE", callback=_path, help="Write one self-contained page.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 1 if a record had to be left out.")] = False,
) -> None:
    """Compare the runs in a folder, or in several: mean ± std over seeds."""
    from . import report as command

    request = command.Request(
        paths or [OUTPUT],
        style,
        metric,
        baseline,
        where or [],
        last,
        columns,
        sort,
        only_changed,
        hide_failed,
        bootstrap,
        interval,
        published,
        paper,
        caption,
        label,
        html,
        strict,
    )
    raise typer.Exit(command.report(request))


@_command("eval", LOOK)
def evaluate(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN|KEY=VALUE]...",
            callback=_runs,
            help="Runs: a folder, an id or id/seed-N; one id alone means its lowest seed. Settings: those of"
            " `evaluation`, such as evaluation=cache, and trainer.device.",
            autocompletion=_complete("runs"),
        ),
    ] = None,
    mc: Annotated[
        int | None,
        typer.Option("--mc", min=1, metavar="N", help="Monte-Carlo samples; 100 if nothing else is asked for."),
    ] = None,
    masks: Annotated[
        Masks, typer.Option(metavar="pass|window", help="How often masks are drawn: once per pass or once per window.")
    ] = "pass",
    embedding: Annotated[bool, typer.Option("--embedding", help="Sample embedding dropout too.")] = False,
    ensemble: Annotated[
        bool,
        typer.Option("--ensemble", help="Average the probabilities of several runs of one corpus; change no record."),
    ] = False,
    where: Where = None,
    jobs: Jobs = 1,
    gpus: Gpus = None,
    output: Output = OUTPUT,
    as_json: Json = False,
) -> None:
    """Evaluate finished runs with Monte Carlo, cache, temperature or dynamic evaluation; add that to their records."""
    from . import evaluate as command

    if ensemble:
        if mc is not None or masks != "pass" or embedding:
            raise RequestError("--ensemble is deterministic: leave out --mc, --masks and --embedding.")
        return command.evaluate_together(arguments or [], where or [], output, as_json)
    from .sweep import Options

    options = Options(jobs=jobs, as_json=as_json, gpus=gpus)
    raise typer.Exit(command.evaluate(arguments or [], where or [], output, mc, masks, embedding, options))


Runs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN]...",
        callback=_runs,
        help="Run ids (all their seeds), id/seed-N, or folders of runs; output=FOLDER is as --output.",
        autocompletion=_complete("runs"),
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@_command("rm", KEEP)
def rm(runs: Runs = None, where: Where = None, output: Output = OUTPUT, yes: Yes = False) -> None:
    """Delete runs. Asks first, and skips runs that are still running."""
    from . import runs as command

    raise typer.Exit(command.remove(runs or [], where or [], output, yes))


@_command("gc", KEEP)
def gc(
    runs: Runs = None,
    refused: Annotated[
        bool, typer.Option("--refused", help="Runs that failed before they could begin, and empty folders.")
    ] = False,
    checkpoints: Annotated[
        bool, typer.Option("--checkpoints", help="Checkpoints of finished and diverged runs.")
    ] = False,
    leftovers: Annotated[bool, typer.Option("--leftovers", help="Files that killed commands left behind.")] = False,
    pruned: Annotated[bool, typer.Option("--pruned", help="Runs that a search pruned.")] = False,
    weights: Annotated[
        bool, typer.Option("--weights", help="Weights of finished runs; `rnndrop eval` needs them.")
    ] = False,
    where: Where = None,
    output: Output = OUTPUT,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be freed and stop.")] = False,
    yes: Yes = False,
) -> None:
    """Free disk space. By default deletes what no command needs: --refused, --checkpoints and --leftovers."""
    from . import runs as command

    asked = {
        "refused": refused, "pruned": pruned, "checkpoints": checkpoints, "weights": weights, "leftovers": leftovers,
    }  # fmt: skip
    kinds = [kind for kind, wanted in asked.items() if wanted]
    raise typer.Exit(command.free(runs or [], where or [], output, kinds, dry_run, yes))


@_command("export", KEEP)
def export(
    file: Annotated[
        str, typer.Option("-o", "--file", metavar="FILE", callback=_path, help="The archive to write, a plain tar.")
    ],
    runs: Runs = None,
    where: Where = None,
    weights: Annotated[bool, typer.Option("--weights", help="Take the weights along.")] = False,
    output: Output = OUTPUT,
) -> None:
    """Write records, and the files that belong to them, into one file with checksums."""
    from . import runs as command

    raise typer.Exit(command.export(runs or [], where or [], output, file, weights))


@_command("import", KEEP)
def bring(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE [output=FOLDER]", callback=_paths, help="An archive that `rnndrop export` has written."
        ),
    ],
    output: Output = OUTPUT,
) -> None:
    """Take in the runs of an archive, after checking all of it. A finished run that is there stays as it is."""
    from . import runs as command

    raise typer.Exit(command.bring(arguments, output))


@_command("masks", LOOK)
def masks(
    overrides: Overrides = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=2**63 - 1, metavar="N", help="Seed of the draw. Default: the setting `seed`."),
    ] = None,
    figure: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FIG", callback=_path, help="Write a .png, .svg or .pdf instead."),
    ] = None,
    config_dir: ConfigDir = None,
) -> None:
    """Draw the masks of a dropout plan: what is dropped where, and what shares a mask."""
    from rnndrop.config.compose import compose

    config = compose(overrides or [])  # before torch is imported: a wrong request answers at once
    from . import masks as command

    command.masks(config, seed, figure)


@_command("plot", LOOK)
def plot(
    kind: Annotated[Drawing, typer.Argument(show_choices=False, help=f"What to draw: {_listed(Drawing)}.")],
    path: Folder = OUTPUT,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FIG",
            callback=_path,
            help="Write a .png, .svg or .pdf. Default: draw in the terminal.",
        ),
    ] = None,
    metric: Ranked = None,
    baseline: Annotated[
        str | None,
        typer.Option(help="For forest: what to compare with. Default: none.", autocompletion=_complete("plans")),
    ] = None,
    location: Annotated[
        str | None, typer.Option(help="For rates: only this location.", autocompletion=_complete("locations"))
    ] = None,
    where: Where = None,
    last: Last = None,
    hide_failed: Annotated[bool, typer.Option("--hide-failed", help="Do not name runs that did not finish.")] = False,
    width: Annotated[
        str | None, typer.Option(metavar="WIDTH", help="Width of a file, as a paper's column, 3.25in: without titles.")
    ] = None,
    font_size: Annotated[
        float | None, typer.Option(min=4, max=30, metavar="POINTS", help="Size of a file's text. Default: 9.")
    ] = None,
) -> None:
    """Draw curves, differences, rates, location × kind, Monte-Carlo scores, decisions, spreads or searches."""
    from . import plot as command

    raise typer.Exit(
        command.plot(kind, path, output, metric, baseline, location, where or [], last, hide_failed, width, font_size)
    )


@_command("ls", ASK)
def ls(
    group: Annotated[
        Listed | None, typer.Argument(show_choices=False, help=f"One of {_listed(Listed)}. Default: everything.")
    ] = None,
    config_dir: ConfigDir = None,
) -> None:
    """List what can be chosen: `rnndrop run GROUP=NAME`, `rnndrop reproduce NAME`."""
    from . import listing as command

    command.show([group] if group else list(get_args(Listed)), headed=group is None)


@_command("help", ASK)
def explain(
    key: Annotated[
        str | None,
        typer.Argument(
            metavar="[KEY | COMMAND]",
            help="A setting or a group of settings; a command shows its own help.",
            autocompletion=_complete("keys"),
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Explain a setting: what it means, what it takes, and its default."""
    if key is None or key in typer.main.get_group(app).commands:
        app([*filter(None, [key]), "--help"])
    else:
        from . import help as command

        command.show(key, as_json)


def main() -> None:
    """Entry point: a wrong request is one message and exit code 2; an interrupt is 130."""
    guard()
    messages = logging.getLogger("rnndrop")  # what the library has to say goes to stderr
    handler = Messages()
    handler.addFilter(_said_once())
    messages.addHandler(handler)
    messages.setLevel(logging.INFO)
    try:
        _check_current_folder()
        try:
            app()
        finally:
            sys.stdout.flush()
    except RequestError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except NotWrittenError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("Interrupted. The same command does the rest.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except OutputError as error:
        print(f"Cannot write the output: {error.strerror}.", file=sys.stderr)
        discard()
        sys.exit(2)
    except OSError as error:
        if error.errno not in REFUSED or error.filename is None:
            raise
        print(f"{shorten(str(error.filename), 300)}: {error.strerror}.", file=sys.stderr)
        sys.exit(2)


def _said_once() -> Callable[[logging.LogRecord], bool]:
    """Lets a warning through once: what is wrong with a folder is met by each step of a command that reads it."""
    said: set[str] = set()

    def first(record: logging.LogRecord) -> bool:
        known = record.getMessage() in said
        said.add(record.getMessage())
        return not (known and record.levelno >= logging.WARNING)

    return first


def _check_current_folder() -> None:
    try:
        os.getcwd()  # noqa: PTH109
    except OSError:
        raise RequestError("The current folder no longer exists: change to another one first.") from None
