"""`rnndrop rm`, `gc`, `export` and `import`: runs as objects."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import typer

from rnndrop.display.digits import size
from rnndrop.errors import NotWrittenError, RequestError
from rnndrop.paths import OUTPUT, path_of
from rnndrop.store import records
from rnndrop.store.archive import Archive
from rnndrop.store.archive import export as pack
from rnndrop.store.pieces import Pieces
from rnndrop.store.removal import KINDS, Garbage, Removed, discard, everything, garbage, set_aside
from rnndrop.store.removal import remove as take_away
from rnndrop.store.status import Standing, below, standing, standings

LISTED = 20  # runs that a question names; of more it says how many they are
FREED = ("refused", "checkpoints", "leftovers")
"""What `gc` deletes unless it is told: nothing that a command might still want."""


def remove(arguments: Sequence[str], conditions: list[str], output: str, yes: bool) -> int:
    """Delete the runs that are named, but none that runs; return the exit code."""
    names, output = placed(arguments, output)
    if not names and not conditions:
        raise RequestError("No runs given. Name them by id or folder, or choose them with --where CONDITION.")
    runs = chosen(names, conditions, output)
    found = [each for run in runs for each in everything(run)]
    if found:
        lines = [f"{run.name}   {run.state}   {run.folder}" for run in runs if run.state != "running"]
        more = [f"and {len(lines) - LISTED} more"] if len(lines) > LISTED else []
        print("\n".join([*lines[:LISTED], *more]), file=sys.stderr, flush=True)
        _ask(f"Remove {_counted(len(found), 'run')}, {size(_bytes(found))}?", yes)
    done = list(take_away((each.folder for each in found), everything))
    gone = [each for folder in done for each in folder.gone]
    at_work = _at_work(runs, done)
    print(f"{_counted(len(gone), 'run')} removed, {size(_bytes(gone))} freed{at_work}")
    folders = {each.folder for each in gone}
    _name_copies(names, [run for run in runs if run.folder in folders], output)
    return int(_problems(done) or bool(at_work))


def free(
    arguments: Sequence[str], conditions: list[str], output: str, kinds: Sequence[str], dry_run: bool, yes: bool
) -> int:
    """Delete what nobody needs any more of the runs, by kind, but of none that runs; return the exit code."""
    names, output = placed(arguments, output)
    if not names and not Path(output).is_dir():
        raise RequestError(f"No runs in {output}.")
    kinds = kinds or FREED
    runs = chosen(names, conditions, output)
    found = [each for run in runs for each in garbage(run, kinds)]
    roots = [name for name in names if Path(name).is_dir()] if names else [output]
    aside = [each for root in roots for each in set_aside(root)] if "leftovers" in kinds and not conditions else []
    found += aside
    at_work = _at_work(runs, [])
    if not found:
        print(f"nothing to free in {_counted(len(runs), 'run')}{at_work}")
        return 0
    print("\n".join(_table(found)), file=sys.stdout if dry_run else sys.stderr, flush=True)
    if dry_run:
        print(f"{size(_bytes(found))} would be freed{at_work}")
        return 0
    _ask(f"Delete this, {size(_bytes(found))}?", yes)
    mine = dict.fromkeys(each.folder for each in found if each not in aside)
    done = list(take_away(mine, partial(garbage, kinds=kinds)))
    gone = [*aside, *(each for folder in done for each in folder.gone)]
    for each in aside:
        discard(each.folder)
    print(f"{size(_bytes(gone))} freed{_at_work(runs, done)}")
    return int(_problems(done))


def export(arguments: Sequence[str], conditions: list[str], output: str, file: str, weights: bool) -> int:
    """Write runs into one file; return the exit code: 1 where one is damaged."""
    names, output = placed(arguments, output)
    runs = chosen(names, conditions, output)
    if not runs:
        raise RequestError(f"No runs in {output}.")
    path = path_of(file)
    if not path.name or path.is_dir():
        raise RequestError(f"{file} is a folder. Name the file to write: -o {Path(file) / 'runs.tar'}")
    if path.exists() and not path.is_file():  # a device would be replaced by the file
        raise RequestError(f"{file} is no file. Name the file to write: -o runs.tar")
    try:
        done = pack(standings(run.folder for run in runs), path, weights)
    except OSError as error:
        raise RequestError(f"Cannot write {path}: {error.strerror}.") from None
    for line in done.damaged:
        print(f"left out {line}", file=sys.stderr)
    if not done.runs:
        raise RequestError(f"None of the {_counted(len(runs), 'run')} can be exported; {path} is left as it was.")
    more = f"; without {_counted(done.unfinished, 'run')} at work or with no record yet" if done.unfinished else ""
    print(f"{path}: {_counted(done.runs, 'run')}, {size(path.stat().st_size)}{more}")
    return int(bool(done.damaged))


def bring(arguments: Sequence[str], output: str) -> int:
    """Take in the runs of a file; return the exit code: 1 where one could not be taken in now."""
    names, output = placed(arguments, output)
    if len(names) != 1:
        raise RequestError("import takes one file, as `rnndrop export` writes it, and output=FOLDER.")
    archive, counts = Archive(path_of(names[0])), Counter[str]()
    folder = path_of(output)
    try:
        for place, outcome, reason in archive.bring(folder):
            counts[outcome] += 1
            if reason:
                print(f"{outcome}: {place}: {reason}", file=sys.stderr)
    except OSError as error:
        raise NotWrittenError(f"Cannot write to {folder}: {error.strerror}. The same command does the rest.") from None
    parts = [f"{counts[outcome]} {words}" for outcome, words in _OUTCOMES.items() if counts[outcome]]
    print(f"{folder}: {_counted(len(archive.runs), 'run')}" + "".join(f" · {part}" for part in parts))
    return int(bool(counts["busy"] or counts["unreadable"]))


_OUTCOMES = {
    "new": "new",
    "there": "there already",
    "replaced": "in place of an unfinished one",
    "kept": "left out, for another record is there",
    "busy": "left out, for it runs here",
    "unreadable": "left out, for what is there cannot be read",
}


def placed(arguments: Sequence[str], output: str) -> tuple[list[str], str]:
    """The names among arguments, and the folder of the runs: `output=FOLDER` says it as `rnndrop run` has it.

    Raises RequestError for two folders, and for a setting.
    """
    given = [each.removeprefix("output=") for each in arguments if each.startswith("output=")]
    if "" in given:
        raise RequestError("output= names no folder.")
    folders = dict.fromkeys(
        str(path_of(each)) for each in (*given, *([output] if output != OUTPUT or not given else []))
    )
    if len(folders) > 1:
        raise RequestError(f"The folder of the runs is given as {' and as '.join(folders)}. Give one.")
    names = [each for each in arguments if not each.startswith("output=")]
    for name in names:
        if "=" in name and not Path(name).exists():
            raise RequestError(f"{name} names no run. To choose by a setting: --where {name}")
    return names, next(iter(folders))


def chosen(names: list[str], conditions: list[str], output: str) -> list[Standing]:
    """The runs that are named, or all, that meet every condition. Raises RequestError where there is none."""
    runs = below(names, output)
    if not conditions:
        return runs
    from .report import load

    folders = [name for name in names if Path(name).is_dir()]
    inside = load(folders if len(folders) == len(names) and names else [output, *folders], conditions)[0]
    wanted = {Path(folder).resolve() for folder in inside["folder"]}
    runs = [run for run in runs if run.folder.resolve() in wanted]
    if not runs:
        raise RequestError("None of the runs that are named matches --where.")
    return runs


def _ask(question: str, yes: bool) -> None:
    """Go on only where the answer is yes. Raises RequestError where nobody can be asked."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise RequestError(f"{question} There is no terminal to ask on: add --yes.")
    try:
        answer = typer.confirm(question, err=True)
    except typer.Abort:
        raise KeyboardInterrupt from None
    if not answer:
        print("Nothing was deleted.", file=sys.stderr)
        raise typer.Exit(1)


def _table(found: Sequence[Garbage]) -> list[str]:
    """What would go, by kind: runs, files, size."""
    rows = [("", "runs", "files", "size", "")]
    for kind, (_, _, words) in KINDS.items():
        if own := [each for each in found if each.kind == kind]:
            files = sum(len(each.files) for each in own)
            rows.append((kind, str(len({each.folder for each in own})), f"{files}", size(_bytes(own)), words))
    return [f"{kind:<12} {runs:>5} {files:>6} {much:>8}   {words}".rstrip() for kind, runs, files, much, words in rows]


def _at_work(runs: Iterable[Standing], done: Iterable[Removed]) -> str:
    """How many of the runs a process works on."""
    busy = {run.folder for run in runs if run.state == "running"} | {each.folder for each in done if each.busy}
    return f"; {_counted(len(busy), 'run')} at work left alone" if busy else ""


def _problems(done: Iterable[Removed]) -> bool:
    """Name what could not be deleted; whether there is such."""
    lines = [each.problem for each in done if each.problem]
    print("".join(f"{line}\n" for line in lines), end="", file=sys.stderr)
    return bool(lines)


def _name_copies(names: Sequence[str], gone: Sequence[Standing], output: str) -> None:
    """Say which copies of what was removed are still there, whatever their folders are called: reports count them."""
    folders = [Path(name) for name in names]
    inside = bool(folders) and not any(folder.name.startswith("seed-") or not folder.is_dir() for folder in folders)
    roots = folders if inside else {output, *(str(each.folder.parent.parent) for each in gone)}
    there = {folder.resolve(): folder for root in roots for folder in records.run_folders(root)} if gone else {}
    known, went = Pieces(), {(*each.key, each.corpus) for each in gone}
    left = [standing(folder, known) for folder in there.values()]
    if copies := [str(each.folder) for each in left if (*each.key, each.corpus) in went]:
        print(f"Copies of them are still there, and count now: {' '.join(copies)}", file=sys.stderr)


def _bytes(found: Iterable[Garbage]) -> int:
    return sum(each.size for each in found)


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
