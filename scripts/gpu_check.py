"""Check and measure on a GPU all that cannot be on a CPU, within eight minutes, and write one JSON of it.

    python scripts/gpu_check.py                            # writes gpu_check.json
    python scripts/gpu_check.py --table gpu_check.json     # its tables, for docs/performance.md

The parts, in this order: `environment`; `correctness`: the loss and the gradients of every cell under every plan, as on
the CPU; `resume`: a run that is interrupted and goes on ends as one that was not; `sharing`: two runs at a time where
the GPU has memory for one, of which none is lost, and two for which it has too little (it is filled up for that, and
nothing else may use it); `benchmark`: steps of `scripts/bench_step.py`; `row`: a short training, on the GPU and on the
CPU. Each part has a process and a limit of its own, and leaves the time that it does not need to the later ones. The
JSON is written after each, with what is missing under `unfinished`. Everything is in float32, without TF32.

Exit code 1 if a check of the second, third or fourth part failed or did not come to its end, 2 without a GPU.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import math
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))  # after what is installed, which has the configurations

import torch
from torch import Tensor

import rnndrop
from rnndrop.config.cells import CELLS
from rnndrop.config.compose import compose
from rnndrop.display.digits import number
from rnndrop.dropout.masks import Masks, draw_masks, map_masks
from rnndrop.dropout.plan import Plan
from rnndrop.models.encoder import ModelSettings
from rnndrop.models.language_model import LanguageModel
from rnndrop.ops.nll import nll_sum
from rnndrop.runs import environment
from rnndrop.store.files import write_atomically
from rnndrop.store.ownership import folder_of
from rnndrop.store.progress import Progress
from rnndrop.store.records import Record, read_history
from rnndrop.sweeps.scheduler import plan_jobs, run_jobs
from rnndrop.sweeps.workers import Workers
from scripts.bench_step import BASELINE, PLANS, Size, measure, plans, summary

TOLERANCE = 1e-3  # of a gradient: norm of the difference ÷ norm
LAYERS, WORDS, WINDOW, BATCH = 2, 200, 6, 4  # of a check of gradients
SEED = 0
FITS, TOO_LARGE = 650, 2600  # H of a run for which the filled GPU has memory, and of one for which it has not
LEAVING = 3.0  # seconds within which the process of a part that is through must have ended

Found = dict[str, Any]  # a row of a part
Result = dict[str, Any]  # the JSON


@dataclass(frozen=True)
class Extent:
    """How much is checked and measured."""

    cells: tuple[str, ...]
    plans: tuple[str, ...]
    hidden: int  # of a check of gradients
    contestants: tuple[str, ...]
    sizes: tuple[int, ...]  # H of the benchmark
    rounds: int
    resumed: tuple[str, ...]  # overrides of the run that is interrupted
    shared: tuple[str, ...]  # overrides of the runs that share the GPU; their memory is that of a large batch
    trained: tuple[str, ...]  # overrides of the short training


PEERS = (BASELINE, "nn.LSTM, its own dropout", "loop, Gal's masks")
TIMED = ("none", "variational", "variational_untied", "dropconnect", "zoneout", "naive", "shared")
QUICK_PLANS = ("none", "variational", "zoneout")
FULL = Extent(
    cells=tuple(CELLS),
    plans=PLANS,
    hidden=48,
    contestants=(*PEERS, *TIMED),
    sizes=(200, 650, 1500),
    rounds=9,
    resumed=("data.train_tokens=21000", "model.hidden=100", "trainer.epochs=3"),
    shared=("trainer.batch_size=2000", "trainer.epochs=100", "trainer.checkpoint_epochs=10"),
    trained=("data.train_tokens=20000", "trainer.epochs=3"),
)
QUICK = Extent(
    cells=("lstm",),
    plans=QUICK_PLANS,
    hidden=16,
    contestants=(*PEERS, *QUICK_PLANS),
    sizes=(16,),
    rounds=2,
    resumed=("data.train_tokens=3000", "model.hidden=16", "trainer.epochs=3"),
    shared=("trainer.batch_size=2000", "trainer.epochs=20", "trainer.checkpoint_epochs=10"),
    trained=("data.train_tokens=3000", "model.hidden=16", "trainer.epochs=1"),
)


def main(arguments: Sequence[str]) -> int:
    """Do all parts, or print the tables of a file; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--output", type=Path, default=Path("gpu_check.json"), metavar="FILE")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    parser.add_argument("--seconds", type=float, default=480, help="for all parts together")
    parser.add_argument("--table", type=Path, metavar="FILE", help="print the tables of what was written to FILE")
    given = parser.parse_args(arguments)
    if given.table:
        print(tables(json.loads(given.table.read_text("utf-8"))))
        return 0
    if given.device == "cuda" and not torch.cuda.is_available():
        print("--device cuda: torch finds no GPU here. To try the script without one: --device cpu --quick",
              file=sys.stderr)  # fmt: skip
        return 2
    result = check(given.device, QUICK if given.quick else FULL, given.seconds, given.output)
    for name in result["failed"]:
        say(f"FAILED: {name}")
    return int(bool(result["failed"]))


def check(device: str, extent: Extent, seconds: float, output: Path) -> Result:
    """Do all parts within so many seconds; write the result to `output` after each."""
    start = time.monotonic()
    result: Result = {name: {} if part.single else [] for name, part in PARTS.items()}
    result |= {"seconds": {}, "unfinished": {}, "warnings": {}, "failed": []}
    for name, part in PARTS.items():
        began = time.monotonic()
        limit = start + seconds * part.until - began
        say(f"{name}: at most {limit:.0f} s")
        found, warnings, reason = in_process(name, device, extent, limit)
        if found:
            result[name] = found[-1] if part.single else found
        if reason:
            result["unfinished"][name] = reason
            say(f"{name}: {reason}")
        if warnings:
            result["warnings"][name] = list(dict.fromkeys(warnings))
        result["seconds"][name] = round(time.monotonic() - began, 1)
        result["failed"] = failures(result)
        write_atomically(output, json.dumps(result, indent=1) + "\n")
    return result


def in_process(name: str, device: str, extent: Extent, limit: float) -> tuple[list[Found], list[str], str | None]:
    """Do a part in a process of its own: what it found, its warnings, and why it did not come to its end."""
    spawn = get_context("spawn")
    receiver, sender = spawn.Pipe(duplex=False)
    process = spawn.Process(target=work, args=(name, device, extent, sender))
    deadline = time.monotonic() + limit
    process.start()
    sender.close()
    found: list[Found] = []
    warnings: list[str] = []
    reason = None
    try:
        while (message := received(receiver, deadline)) is not None:
            if isinstance(message, str):
                warnings.append(message)
            else:
                found.append(message)
        process.join(LEAVING)
    except TimeoutError:
        reason = f"stopped after {limit:.0f} s"
    except EOFError:
        process.join(LEAVING)
        reason = f"ended with exit code {process.exitcode}"
    process.kill()
    process.join()
    return found, warnings, reason


def received(receiver: Connection[Any, Any], deadline: float) -> Found | str | None:
    """The next message of a part. Raises TimeoutError where none comes in time, EOFError where its process has died."""
    if not receiver.poll(max(0.0, deadline - time.monotonic())):
        raise TimeoutError
    message: Found | str | None = receiver.recv()
    return message


def work(name: str, device: str, extent: Extent, results: Connection[Any, Any]) -> None:
    """Do a part in this process; send what it finds one by one, a warning as a text, and None at the end."""
    logging.getLogger("rnndrop").addHandler(Sending(results))
    environment.set_precision("float32")
    for found in PARTS[name].do(torch.device(device), extent):
        results.send(found)
    results.send(None)


class Sending(logging.Handler):
    """Sends what is logged to the process that writes the result."""

    def __init__(self, results: Connection[Any, Any]) -> None:
        super().__init__(logging.WARNING)
        self.results = results

    def emit(self, record: logging.LogRecord) -> None:
        """Send it and print it."""
        say(record.getMessage())
        self.results.send(record.getMessage())


def surroundings(device: torch.device, extent: Extent) -> Iterator[Found]:
    """Versions, revision and device; not the host."""
    described = environment.describe(device)
    del described["host"]
    yield {**described, "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}


def correctness(device: torch.device, extent: Extent) -> Iterator[Found]:
    """For each cell and plan, how far the loss and the gradients are from those of the CPU; what raises has failed."""
    found = plans()
    for cell in extent.cells:
        for name in extent.plans:
            if not applies(found[name], cell):
                continue
            row: Found = {"cell": cell, "dropout": name}
            try:
                row |= differences(cell, found[name], device, extent.hidden)
            except Exception as error:
                row |= {"error": f"{type(error).__name__}: {error}", "passed": False}
            say(f"{cell} {name}: {row.get('error') or format(row['gradient_error'], '.1e')}")
            yield row


def applies(plan: Plan, cell: str) -> bool:
    """Whether the cell has all locations of the plan."""
    return not any(rule.location in CELLS[cell].without for rule in plan.active)


def differences(cell: str, plan: Plan, device: torch.device, hidden: int) -> Found:
    """The relative errors of the loss and of the worst gradient on `device`, and the path of each layer."""
    model = LanguageModel(ModelSettings(cell, hidden, LAYERS, None, tie_weights=False), WORDS)
    generator = torch.Generator().manual_seed(SEED)
    model.initialize(0.2, generator)
    tokens, targets = torch.randint(WORDS, (2, WINDOW, BATCH), generator=generator)
    masks = draw_masks(plan, model.sizes, WINDOW, BATCH, generator)
    truth = loss_and_gradients(model, masks, tokens, targets)
    masks = map_masks(lambda mask: mask.to(device), masks)
    ours = loss_and_gradients(model.to(device), masks, tokens.to(device), targets.to(device))
    errors = {name: float((ours[name] - value).norm() / value.norm()) for name, value in truth.items()}
    loss_error = errors.pop("loss")
    worst = max(errors, key=lambda name: (math.isnan(errors[name]), errors[name]))
    return {
        "paths": model.paths(masks),
        "loss_error": loss_error,
        "gradient_error": errors[worst],
        "parameter": worst,
        "passed": loss_error <= TOLERANCE and errors[worst] <= TOLERANCE,
    }


def loss_and_gradients(model: LanguageModel, masks: Masks, tokens: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """The loss and the gradient of every parameter, by name, on the CPU in float64."""
    model.zero_grad()
    features, _ = model.features(tokens, model.initial_state(tokens.shape[1]), masks)
    loss = nll_sum(features, *model.decoder_weights(masks), targets)
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    found = {"loss": loss.detach(), **{name: grad for name, grad in gradients.items() if grad is not None}}
    return {name: (each.to_dense() if each.is_sparse else each).cpu().double() for name, each in found.items()}


def resume(device: torch.device, extent: Extent) -> Iterator[Found]:
    """The test perplexity of a run, of the same once more, and of one that was interrupted and went on."""
    # The gradient of the embedding is else summed in an order that CUDA does not fix.
    request = ["dropout=variational", *extent.resumed, f"trainer.device={device.type}", "trainer.deterministic=true"]
    with tempfile.TemporaryDirectory() as folder:
        whole, again = (finished([*request, f"output={folder}/{name}"]) for name in ("whole", "again"))
        parts = [*request, f"output={folder}/parts"]
        with suppress(KeyboardInterrupt):
            rnndrop.run(parts, leave)
        resumed = finished(parts)
    score, *others = (record.metrics["test_perplexity"] for record in (whole, again, resumed))
    steps = resumed.timing["resumed_from_steps"]
    yield {
        "test_perplexity": score,
        "again": others[0],
        "resumed": others[1],
        "resumed_from_steps": steps,
        "passed": others[1] == score and len(steps) == 1,
    }


def leave(progress: Progress) -> None:
    """Press Ctrl-C in the middle of the second epoch."""
    if progress.epoch == 2 and progress.fraction >= 0.5:
        os.kill(os.getpid(), signal.SIGINT)


def sharing(device: torch.device, extent: Extent) -> Iterator[Found]:
    """Two runs at a time on a GPU that is filled up until it has memory for one; and two that do not fit at all."""
    if device.type != "cuda":
        yield {"skipped": f"no GPU to share with --device {device.type}", "passed": True}
        return
    request = ["dropout=none", *extent.shared, "trainer.device=cuda"]
    with tempfile.TemporaryDirectory() as folder:
        alone = finished([*request, f"model.hidden={FITS}", "seed=0", f"output={folder}/alone"])
        free, total = torch.cuda.mem_get_info()
        context = total - free - torch.cuda.memory_reserved()  # what a process takes for itself
        left = 2 * context + int(1.1 * torch.cuda.max_memory_reserved())
        gc.collect()
        torch.cuda.empty_cache()
        ballast = torch.empty(max(0, torch.cuda.mem_get_info()[0] - left), dtype=torch.uint8, device=device)
        found = shared([*request, f"model.hidden={FITS},{TOO_LARGE}", "seed=0,1", f"output={folder}/shared"], FITS)
        del ballast
    same = math.isclose(found["test_perplexity"] or 0.0, alone.metrics["test_perplexity"], rel_tol=1e-3)
    yield {
        **found,
        "alone": alone.metrics["test_perplexity"],
        "megabytes_left": left // 2**20,
        "passed": found["passed"] and same,
    }


def shared(request: list[str], fits: int) -> Found:
    """What becomes of a sweep with two runs at a time on one GPU: those with H=`fits` finish, the others fail alone."""
    jobs, workers = plan_jobs(request), Workers(2, 1)
    said = [event.content for event in run_jobs(jobs, workers, frozenset()) if event.kind in ("memory", "died")]
    for line in said:
        say(line)
    records = [(job.config.model.hidden == fits, job.record) for job in jobs]
    good = [record for small, record in records if small and record and record.status == "finished"]
    bad = [record for small, record in records if not small and record and record.status == "failed"]
    reasons = [(record.error or "").strip().splitlines()[-1] for record in bad]
    return {
        "test_perplexity": good[0].metrics["test_perplexity"] if good else None,
        "resumed": sum(bool(record.timing["resumed_from_steps"]) for record in good),
        "failed": reasons,
        "said": said,
        "passed": len(good) + len(bad) == len(jobs)
        and all("out of memory" in reason for reason in reasons)
        and len(workers.places.open) == 1
        and not any("SIG" in line for line in said),
    }


def finished(request: list[str]) -> Record:
    """The record of a run. Raises RuntimeError where it has failed."""
    record = rnndrop.run(request)
    if record.status != "finished":
        raise RuntimeError(f"{' '.join(request)}: {record.status}\n{record.error}")
    return record


def benchmark(device: torch.device, extent: Extent) -> Iterator[Found]:
    """Rows of `scripts/bench_step.py`."""
    options = argparse.Namespace(only=extent.contestants, rounds=extent.rounds, clock="wall", memory=False)
    for hidden in extent.sizes:
        yield from measure(Size(hidden, 35, 20, 10_000, str(device)), torch.get_num_threads(), options)


def row(device: torch.device, extent: Extent) -> Iterator[Found]:
    """The small model of Zaremba et al. on `synthetic`: test perplexity, tokens a second of the last epoch."""
    request = ["experiment=zaremba_small", "data=synthetic", *extent.trained, f"seed={SEED}"]
    for kind in dict.fromkeys([device.type, "cpu"]):
        for plan in ("none", "variational"):
            with tempfile.TemporaryDirectory() as folder:
                own = [*request, f"dropout={plan}", f"trainer.device={kind}", f"output={folder}"]
                score = finished(own).metrics["test_perplexity"]
                speed = read_history(folder_of(compose(own)))[-1]["tokens_per_second"]
            say(f"{plan} on {kind}: {score:.2f}, {speed:.0f} tok/s")
            yield {"dropout": plan, "device": kind, "test_perplexity": score, "tokens_per_second": speed}


@dataclass(frozen=True)
class Part:
    """What a part does, and when it must have ended, as a share of all the time; `single`: it finds one thing."""

    do: Callable[[torch.device, Extent], Iterator[Found]]
    until: float
    single: bool = False


PARTS = {
    "environment": Part(surroundings, 0.06, single=True),
    "correctness": Part(correctness, 0.42),
    "resume": Part(resume, 0.52, single=True),
    "sharing": Part(sharing, 0.70, single=True),
    "benchmark": Part(benchmark, 0.86),
    "row": Part(row, 0.95),  # the rest is for the imports of this process
}
CHECKS = ("correctness", "resume", "sharing")


def failures(result: Result) -> list[str]:
    """The names of the checks that failed or did not come to their end."""
    failed = [f"{row['cell']} {row['dropout']}" for row in result["correctness"] if not row["passed"]]
    failed += [name for name in ("resume", "sharing") if result[name] and not result[name]["passed"]]
    return failed + [f"{name}: {why}" for name, why in result["unfinished"].items() if name in CHECKS]


def tables(result: Result) -> str:
    """The result in Markdown: a table of ratios, a line for each other part that found something, what went wrong."""
    lines = {
        "environment": lambda: _environment(result["environment"]),
        "benchmark": lambda: _ratios(result["benchmark"]),
        "correctness": lambda: _correctness(result["correctness"]),
        "resume": lambda: _resume(result["resume"]),
        "sharing": lambda: _sharing(result["sharing"]),
        "row": lambda: _row(result["row"]),
    }
    parts = [line() for name, line in lines.items() if result[name]]
    parts += [f"Unfinished: {name} ({reason})." for name, reason in result["unfinished"].items()]
    parts += [f"Warned, {name}: {warning}" for name, warnings in result["warnings"].items() for warning in warnings]
    return "\n\n".join(parts)


def _environment(found: Found) -> str:
    revision = (found["git_revision"] or "unknown")[:7]
    return (
        f"{found['device_name']}, torch {found['torch']}, CUDA {found['cuda']}, cuDNN {found['cudnn']},"
        f" Python {found['python']}, revision `{revision}`."
    )


def _ratios(rows: list[Found]) -> str:
    """The benchmark's own table, and what its ratios are to."""
    times = ", ".join(f"{row['seconds'] * 1e3:.2f} ms at H={row['hidden']}" for row in rows if row["name"] == BASELINE)
    return f"{summary(rows)}\n\nA step of {BASELINE} takes {times}."


def _correctness(rows: list[Found]) -> str:
    passed = [row for row in rows if row["passed"]]
    line = f"Correctness: {len(passed)} of {len(rows)} pairs of a cell and a plan have the gradients of the CPU"
    if passed:
        worst = max(passed, key=lambda row: float(row["gradient_error"]))
        line += f", within {worst['gradient_error']:.1e} ({worst['cell']}, `{worst['dropout']}`)"
    others = ", ".join(f"{row['cell']} `{row['dropout']}`" for row in rows if not row["passed"])
    return f"{line}. Not so: {others}." if others else f"{line}."


def _resume(found: Found) -> str:
    (step,) = found["resumed_from_steps"] or [0]
    how = "exactly" if found["passed"] else f"but {found['resumed']!r}, and {found['again']!r} when simply repeated"
    return f"Resume: interrupted after step {step}, test perplexity {found['test_perplexity']!r}, {how}."


def _sharing(found: Found) -> str:
    if "skipped" in found:
        return f"Sharing: not checked, {found['skipped']}."
    verdict = "as it should be" if found["passed"] else "NOT as it should be"
    return (
        f"Sharing: {verdict}, with {found['megabytes_left']:,} MB left:"
        f" {'; '.join(found['said'])}. {found['resumed']} resumed, test perplexity {found['test_perplexity']!r}"
        f" (alone {found['alone']!r}), {len(found['failed'])} too large."
    )


def _row(rows: list[Found]) -> str:
    each = (
        f"`{row['dropout']}` on {row['device']} {number(row['test_perplexity'])}"
        f" ({row['tokens_per_second'] / 1e3:.1f}k tok/s)"
        for row in rows
    )
    return f"Row: test perplexity of {', '.join(each)}."


def say(text: str) -> None:
    """Print progress."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
