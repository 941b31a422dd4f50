"""Command lines put together at random, of real commands, keys and values and of what Hydra stumbled over."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rnndrop.config.compose import GROUPS, choices, known_keys
from scripts.corruption import Folder
from scripts.forked import Outcome, command

Dice = random.Random

ODD = [
    "", " ", "null", "true", "FALSE", "0", "-1", "1.5", ".5", "1e3", "1e308", "-1e999", "nan", "inf", "1_000", "007",
    "9" * 25, "none", "a", "a b", "it's", "é", "\N{PILE OF POO}", "\t", "\n", "\udcff", "\\", "'", '"', "''", "'a",
    "'a b'", '"1"', "???", "${", "${}", "${seed}", "${model}", "${nope}", "${oc.env:HOME}", "${oc.env:NOPE}",
    "${oc.decode:1}", "${.p}", "\\${seed}", "(", ")", "[", "]", "{", "}", "[]", "{}", "[[]]", "{a:1}", "{p:.2}",
    "{1:2}", "{null:1}", "{kind:locked,p:.2}", "[1,2]", "[.8,.1,.1]", "[time,batch]", ",", "1,2", "a,b", "1,", ":",
    "=", "a=b", "+", "~", "@", "x(1)", "int(3)", "str([1,2])", "range(3)", "range(0)", "range(0,1,.25)",
    "range(0,1,0)", "range(1e9)", "range(a)", "range(nan,1)", "choice(1,2)", "choice()", "choice(range(2),1)",
    "glob(*)", "glob(z*,exclude=zo*)", "glob()", "sort(3,1)", "shuffle(range(3))", "sort(range(3))", "interval(0,1)",
    "interval(a,b)", "tag(t,1,2)", "tag(t,interval(0,1))", "json_str({a:1})", "float(range(2))", "int(nan)",
]  # fmt: skip
"""Values that Hydra, OmegaConf or pydantic stumbled over, and pieces of their grammars."""

KEYS = [*known_keys(), *GROUPS, "dropout.recurrent", "evaluation.mc", "hydra/launcher", "hydra.verbose"]
NO_KEYS = ["", "a", "model.hiden", "seed.a", "data.split.0", "dropout@x", "/", "..", "a/b", "$", "model.", "+", "{}"]

COMMANDS: dict[str, list[str]] = {
    "run": ["--cfg"],
    "sweep": ["--dry-run"],
    "ablate": ["--dry-run"],
    "variance": ["--dry-run"],
    "decide": ["--dry-run"],
    "reproduce": ["--dry-run"],
    "masks": [],
    "report": [],
    "show": [],
    "watch": ["--once"],
    "eval": [],
    "plot": [],
    "doctor": [],
    "rm": [],
    "gc": ["--dry-run"],
    "export": ["-o", "/dev/null/runs.tar"],
    "import": [],
    "ls": [],
}
"""The commands, with what keeps them from training for hours or watching for ever."""

OPTIONS = {
    "run": ["--json"],
    "sweep": ["--json", "--jobs", "--gpus", "--retry-failed", "--fail-fast", "--force"],
    "ablate": ["--json", "--jobs", "--mode"],
    "variance": ["--json", "--jobs"],
    "decide": ["--json", "--jobs", "--margin", "--alpha", "--max-seeds", "--plan-only", "--pilot", "--retry-failed"],
    "reproduce": ["--json", "--scale"],
    "masks": ["--seed"],
    "report": ["--format", "--metric", "--baseline", "--where", "--last", "--sort", "--only-changed", "--hide-failed",
               "--bootstrap", "--interval", "--published", "--strict"],
    "show": ["--json", "--output"],
    "watch": ["--json"],
    "eval": ["--json", "--mc", "--masks", "--embedding", "--ensemble"],
    "plot": ["--metric", "--baseline", "--location", "--where", "--last"],
    "doctor": ["--json"],
    "rm": ["--where", "--output"],
    "gc": ["--where", "--refused", "--checkpoints", "--leftovers", "--pruned", "--weights"],
    "export": ["--where", "--weights"],
    "import": [],
    "ls": [],
}  # fmt: skip
FLAGS = {"--json", "--retry-failed", "--fail-fast", "--force", "--only-changed", "--hide-failed", "--bootstrap",
         "--published", "--strict", "--embedding", "--ensemble", "--plan-only", "--refused", "--checkpoints",
         "--leftovers", "--pruned", "--weights"}  # fmt: skip
WORDS = [
    "1", "2", "md", "csv", "json", "latex", "html", "rich", "test_perplexity", "valid_rmse", "test_perplexity_mc",
    "none", "both", "text", "variational", "dropout=none", "seed=0", "seed<1", "seed!=1", "model=lstm", "12h", "1d",
    "0m", "-seed", "test", "drop", "add", "full", "small", "pass", "window", "recurrent", "curves", "forest", "rates",
    "heatmap", "calibration", "dropout", "data", "zaremba_small", "gal_medium", "awd",
]  # fmt: skip
"""What options and arguments may be."""


def override(dice: Dice) -> str:
    """Something like an override."""
    match dice.randrange(8):
        case 0:
            group = dice.choice(GROUPS)
            return f"{group}={dice.choice([*choices(group), 'none'])}"
        case 1:
            return dice.choice((*ODD, *KEYS))
        case _:
            sign = dice.choice(("", "", "", "", "+", "++", "~"))
            return f"{sign}{dice.choice(dice.choice((KEYS, KEYS, NO_KEYS)))}={value(dice)}"


def value(dice: Dice) -> str:
    """One of the odd values, or several run together."""
    match dice.randrange(6):
        case 0:
            return "".join(dice.choices(ODD, k=2))
        case 1:
            return ",".join(dice.choices(ODD, k=2))
        case 2:
            return dice.choice(("[", "{a:", "range(", "choice(", "str(", "'")) + dice.choice(ODD)
        case _:
            return dice.choice(ODD)


def line(dice: Dice, runs: Path) -> list[str]:
    """A command line; what it reads and writes is in `runs`."""
    name = dice.choice(sorted(COMMANDS))
    found = [name]
    if name in ("ablate", "reproduce", "show", "eval", "rm", "gc", "export", "import", "plot", "ls"):
        ids = [str(folder) for folder in runs.glob("*/seed-*")]
        found.append(dice.choice([*ids, *(Path(one).parent.name for one in ids), *WORDS, *ODD]))
    if name in ("report", "watch", "plot", "doctor") and dice.random() < 0.8:
        found.append(str(runs))
    if name not in ("report", "show", "watch", "rm", "gc", "export", "import", "plot", "ls"):
        found += [override(dice) for _ in range(dice.choice((0, 1, 1, 2, 3)))]
    for option in dice.sample(OPTIONS[name], dice.randrange(min(3, len(OPTIONS[name]) + 1))):
        found += [option] if option in FLAGS else [option, dice.choice((*WORDS, *WORDS, *ODD))]
    if dice.random() < 0.05:
        found.insert(dice.randrange(len(found)), dice.choice(("--", "--help", "--nope", "-x", "")))
    where = (
        [f"output={runs}"]
        if name in ("sweep", "ablate", "variance", "decide", "reproduce", "gc", "export", "import")
        else []
    )
    return [argument.replace("\0", "") for argument in [*found, *where, *COMMANDS[name]]]


def wrong(arguments: list[str], outcome: Outcome) -> str:
    """What is wrong with how a command ended; `--strict` says 1 for a record that was left out."""
    if outcome.code in (0, 2) and "Traceback" not in outcome.stderr and (outcome.stdout or outcome.stderr):
        return ""
    return f"{arguments} ended with {outcome.code}: {' | '.join(outcome.stderr.strip().splitlines()[-4:])}"


def ask(scratch: Path, count: int, dice: Dice) -> Iterator[tuple[str, int, list[str]]]:
    """Each command, how many lines of it were asked, and what went wrong: each works or is refused."""
    runs = Folder(scratch).sound
    asked: Counter[str] = Counter()
    problems: dict[str, list[str]] = {name: [] for name in COMMANDS}
    for _ in range(count):
        arguments = line(dice, runs)
        name = next((argument for argument in arguments if argument in COMMANDS), "run")
        asked[name] += 1
        if problem := wrong(arguments, command(arguments, limit=60)):
            problems[name].append(problem)
    for name, times in sorted(asked.items()):
        yield f"`rnndrop {name}`", times, problems[name]
