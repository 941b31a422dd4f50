"""The twin's objectives against plain loops over the tokens, in float64: what a step minimises, and its gradients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rnndrop.config.compose import compose
from rnndrop.config.identity import run_id
from rnndrop.config.schema import Config
from rnndrop.data import batching
from rnndrop.data.corpus import Corpus
from rnndrop.dropout.masks import Masks, Sizes, draw_masks, evaluation_masks, map_masks
from rnndrop.dropout.plan import Plan
from rnndrop.dropout.rule import LOCATIONS, kinds_at
from rnndrop.errors import RequestError
from rnndrop.models.encoder import ModelSettings
from rnndrop.models.language_model import LanguageModel
from rnndrop.runs.reevaluate import completed
from rnndrop.store.progress import RunObserver
from rnndrop.tasks.language_model import TASK, Windows
from rnndrop.training.seeding import generator
from rnndrop.training.trainer import Training
from rnndrop.training.twin import Twin, masks_at
from tests.conftest import Command

T, B, V = 4, 3, 11
TOKENS = np.random.default_rng(0).integers(V, size=B * (2 * T - 1))  # two windows, the last of them padded
SMALL = ["model.hidden=5", "trainer.window=4", "trainer.batch_size=3"]


def model_of(config: Config, dtype: torch.dtype = torch.float64) -> LanguageModel:
    model = LanguageModel(ModelSettings(**config.model.model_dump()), V)
    model.initialize(0.5, torch.Generator().manual_seed(0))
    return model.to(dtype)


def windows_of(config: Config, model: LanguageModel) -> Windows:
    """The steps as `LanguageModelling.steps` makes them."""
    twin, adversary = None, config.trainer.adversarial_softmax
    if config.twin.loss:
        twin = Twin(model, config.twin_plan, config.twin, torch.Generator().manual_seed(2), adversary)
    windows = Windows(model, config.plan, config.trainer, TOKENS, torch.Generator().manual_seed(1), twin=twin)
    windows.begin(1)
    return windows


def gradients(model: LanguageModel, objective: Tensor) -> list[Tensor]:
    found = torch.autograd.grad(objective, list(model.parameters()))
    return [part.to_dense() for part in found]


# The oracle: everything that is not the recurrence is formed here, token by token.


def logits(model: LanguageModel, top: Tensor, masks: Masks) -> Tensor:
    """(T, B, V)."""
    weight: Tensor = model.embedding if model.decoder is None else model.decoder
    if masks.weight_decoder is not None:
        assert isinstance(masks.weight_decoder, Tensor)
        weight = weight * masks.weight_decoder
    return (top if masks.output is None else top * masks.output) @ weight.T + model.decoder_bias


def lowered(z: Tensor, y: Tensor, top: Tensor, masks: Masks, model: LanguageModel, share: float) -> Tensor:
    """Of one token -ln p(y), the logit of y lowered by share · ‖w_y‖ · ‖h‖; the mask on h is the whole batch's."""
    if share:
        assert model.decoder is not None and masks.output is not None and masks.output.shape[:2] == (1, 1)
        seen = top * masks.output[0, 0]
        z = z - F.one_hot(y, V).double() * share * model.decoder[y].norm().detach() * seen.norm()
    return -F.softmax(z, 0)[y].log()


def drawn(config: Config, alone: set[str], share: set[str], sizes: Sizes) -> Iterator[tuple[Masks, Masks]]:
    """The masks of both passes of each window: `alone` and `share` are what the test means by them."""
    whole = config.twin_plan.rules
    first = Plan(tuple(rule for rule in whole if rule.location not in alone))
    own = Plan(tuple(rule for rule in whole if rule.location not in share))
    one, two = torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)
    for steps in (T, T - 1):
        a = draw_masks(first, sizes, steps, B, one, torch.float64)
        b = draw_masks(own, sizes, steps, B, two, torch.float64)
        if config.twin.masks == "none":
            b = evaluation_masks(own, sizes, two, torch.float64)
        if "weight_hh" in share:
            layers = zip(a.layers, b.layers, strict=True)
            b = replace(b, layers=tuple(replace(mine, weight_hh=theirs.weight_hh) for theirs, mine in layers))
        if "output" in share:
            b = replace(b, output=a.output)
        yield a, b


def by_hand(config: Config, model: LanguageModel, alone: set[str], share: set[str]) -> Iterator[tuple[Tensor, float]]:
    """Of each window what is minimised, and the summed cross-entropy of its first pass."""
    twin, trainer = config.twin, config.trainer
    inputs, targets = (torch.from_numpy(part).long() for part in batching.columns(TOKENS, B))
    state = model.initial_state(B)
    for row, (one, two) in zip((0, T), drawn(config, alone, share, model.sizes), strict=True):
        x, y = inputs[row : row + T], targets[row : row + T]
        top, new_state = model.top(x, state, one)
        other, _ = model.top(x, state, two)  # from the same state
        z1, z2 = logits(model, top, one), logits(model, other, two)
        total, first, tokens = torch.zeros((), dtype=torch.float64), 0.0, 0
        for t in range(len(x)):
            for b in range(B):
                if y[t, b] < 0:
                    continue
                p, q = F.softmax(z1[t, b], 0), F.softmax(z2[t, b], 0)
                plain = -p[y[t, b]].log()
                ce1 = lowered(z1[t, b], y[t, b], top[t, b], one, model, trainer.adversarial_softmax)
                ce2 = lowered(z2[t, b], y[t, b], other[t, b], two, model, trainer.adversarial_softmax)
                distance = {
                    "mse": ((z1[t, b] - z2[t, b]) ** 2).sum() / V,
                    "kl": ((p * (p / q).log()).sum() + (q * (q / p).log()).sum()) / 2,
                    "ce": ce2,
                }[str(twin.loss)]
                total = total + ((ce1 + ce2) / 2 if twin.both else ce1) + twin.weight * distance
                first, tokens = first + plain.item(), tokens + 1
        seen = top if one.output is None else top * one.output
        total = total + tokens * trainer.ar * (seen**2).mean()  # of the first pass alone
        state = tuple(tuple(part.detach() for part in layer) for layer in new_state)
        yield total / (tokens if trainer.loss == "mean" else B), first


ADVERSARY = ["trainer.adversarial_softmax=0.2", "dropout.output.kind=shared", "dropout.output.p=0.4"]
CASES: list[tuple[list[str], set[str], set[str]]] = [
    (["twin=fraternal"], set(), set()),
    (["twin=fraternal", "twin.weight=3", "trainer.ar=2"], set(), set()),
    (["twin=fraternal", "twin.share=[output,weight_hh]", "trainer.loss=sum_time"], set(), {"weight_hh", "output"}),
    (["twin=pi"], set(), set()),
    (["twin=fraternal", *ADVERSARY], set(), set()),
    (["twin.loss=ce", "twin.weight=0.7", *ADVERSARY], set(), set()),
    (["twin=r_drop", "model.tie_weights=true"], set(), set()),
    (["twin=r_drop", "twin.both=false", "dropout.weight_decoder.kind=dropconnect", "dropout.weight_decoder.p=0.3"],
     set(), set()),
    (["twin=expectation_linear"], set(), set()),
    (["twin=expectation_linear", "twin.share=[weight_hh]"], set(), {"weight_hh"}),
    (["twin.loss=ce", "twin.weight=0.7", "twin.alone=[embedding,output]", "trainer.loss=sum_time"],
     {"embedding", "output"}, set()),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "alone", "share"), CASES)
@pytest.mark.parametrize("dropout", ["awd", "naive", "zoneout", "shared"])  # of shared each pass drops its own units
def test_a_step_minimises_what_the_objective_says(
    changes: list[str], alone: set[str], share: set[str], dropout: str
) -> None:
    config = compose([*SMALL, f"dropout={dropout}", *changes])
    model = model_of(config)
    windows = windows_of(config, model)
    for row, (objective, first) in zip((0, T), by_hand(config, model, alone, share), strict=True):
        step = windows.take(row)
        assert step.objective.item() == pytest.approx(objective.item(), rel=1e-10)
        assert step.loss == pytest.approx(first, rel=1e-10)  # what is reported: of the first pass, without penalties
        found, truth = gradients(model, step.objective), gradients(model, objective)
        for ours, theirs in zip(found, truth, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-11)


def test_the_gradient_goes_through_the_deterministic_pass_too() -> None:
    """The embedding's as well, which the code of fraternal dropout cuts off: dropping every word shows it."""
    config = compose([*SMALL, "dropout=naive", "dropout.input.p=0.999999", "twin=expectation_linear"])
    model = model_of(config)
    step = windows_of(config, model).take(0)
    assert torch.autograd.grad(step.objective, model.embedding)[0].to_dense().abs().sum() > 1e-6


def trained(request: list[str]) -> Training:
    """As a run does it, on a small corpus."""
    config = compose(["data.train_tokens=200", *request])
    corpus = TASK.load(config.data)
    training = TASK.training(config, corpus, TASK.build(config, corpus, torch.device("cpu")))
    training.run(lambda: 1.0, RunObserver())
    return training


@pytest.mark.parametrize("loss", ["mse", "kl", "ce"])
@pytest.mark.parametrize("dropout", ["awd", "variational", "zoneout"])
def test_at_weight_0_the_weights_are_those_without_a_twin(dropout: str, loss: str) -> None:
    request = [*SMALL, f"dropout={dropout}", "trainer.random_window=true", "trainer.epochs=2"]
    without = trained(request)
    silent = trained([*request, f"twin.loss={loss}", "twin.weight=0"])
    loud = trained([*request, f"twin.loss={loss}", "twin.weight=0.1"])
    for name, value in without.model.state_dict().items():
        assert torch.equal(value, silent.model.state_dict()[name]), name
        assert not torch.equal(value, loud.model.state_dict()[name]), name
    assert isinstance(silent.steps, Windows) and silent.steps.twin is not None
    untouched = generator(0, "twin", torch.device("cpu")).get_state()
    assert not torch.equal(silent.steps.twin.generator.get_state(), untouched)  # the second pass did take place


@pytest.mark.parametrize("loss", ["mse", "kl"])
@pytest.mark.parametrize("dropout", ["awd", "shared"])
def test_passes_that_share_every_mask_agree(dropout: str, loss: str) -> None:
    request = [*SMALL, f"dropout={dropout}", f"twin.loss={loss}", "twin.weight=5"]
    objectives = []
    for share in ("[]", f"[{','.join(LOCATIONS)}]"):
        config = compose([*request, f"twin.share={share}"])
        step = windows_of(config, model_of(config)).take(0)
        objectives.append(step.objective.item() * step.tokens / step.loss)
    assert objectives[1] == pytest.approx(1, abs=1e-12) and objectives[0] > 1.001


def listed(masks: Masks) -> list[Tensor]:
    found: list[Tensor] = []

    def note(mask: Tensor) -> Tensor:
        found.append(mask)
        return mask

    map_masks(note, masks)
    return found


@pytest.mark.parametrize("place", [place for place in LOCATIONS if place != "token"])
def test_masks_at_one_location(place: str) -> None:
    """What is kept are as many masks as a plan of that rule alone draws, and they are those of the whole plan."""
    kinds = {name: next(kind for kind in kinds_at(name)[1:]) for name in LOCATIONS if name != "token"}
    rules = [f"dropout.{name}.kind={kind}" for name, kind in kinds.items()]
    rules += [f"dropout.{name}.p=0.5" for name in kinds]
    config = compose([*SMALL, *rules])
    model = model_of(config)
    whole = draw_masks(config.plan, model.sizes, T, B, torch.Generator().manual_seed(0))
    only = Plan(config.plan.at(place))
    drawn = listed(draw_masks(only, model.sizes, T, B, torch.Generator().manual_seed(0)))
    kept = listed(masks_at(whole, [place]))
    assert [mask.shape for mask in kept] == [mask.shape for mask in drawn] and kept
    assert {id(mask) for mask in kept} <= {id(mask) for mask in listed(whole)}


def test_rules_that_act_in_the_second_pass_alone_are_no_part_of_evaluation() -> None:
    request = ["dropout=awd", "twin.loss=ce", "twin.weight=1", "twin.alone=[embedding]"]
    config = compose(request)
    assert not config.plan["embedding"].active and config.twin_plan["embedding"].active
    assert config.plan["output"].active
    assert compose(["dropout=awd", "twin.alone=[embedding]"]).plan["embedding"].active  # there is no second pass


def test_without_a_loss_the_twin_is_no_part_of_a_run() -> None:
    plain = run_id(compose(["dropout=awd"]))
    idle = ["twin.weight=2", "twin.masks=none", "twin.share=[output]", "twin.alone=[embedding]", "twin.both=true"]
    assert run_id(compose(["dropout=awd", "twin=none", *idle])) == plain
    ids = {run_id(compose(["dropout=awd", f"twin={name}"])) for name in ("fraternal", "pi", "r_drop")}
    assert len(ids | {plain}) == 4
    spelled = [
        run_id(compose(["dropout=awd", "twin=fraternal", f"twin.share={places}"]))
        for places in ("[weight_hh,output]", "[output,weight_hh,output]")
    ]
    assert spelled[0] == spelled[1] not in ids


def test_a_record_of_before_has_no_twin() -> None:
    defaults = compose([]).model_dump(mode="json")
    old = {name: value for name, value in compose(["dropout=awd"]).model_dump(mode="json").items() if name != "twin"}
    assert completed(old, defaults)["twin"] == defaults["twin"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["twin=fraternl"], "Did you mean 'fraternal'"),
        (["twin.loss=mae"], "twin.loss=mae"),
        (["twin.weight=-1"], "twin.weight=-1"),
        (["twin=fraternal", "twin.share=[weight_hhh]"], "Did you mean 'weight_hh'"),
        (["twin.alone=[embeddings]"], "No dropout location for twin.alone 'embeddings'. Did you mean 'embedding'"),
        (["twin=pi", "twin.share=[output]", "twin.alone=[output]"], "both have output"),
        (["twin=expectation_linear", "twin.alone=[output]"], "twin.alone needs twin.masks=own"),
        (["twin=fraternal", "twin.loss=ce"], "twin.both=true needs"),
        (["task=sentiment", "twin=fraternal"], "twin.loss has no meaning for task=sentiment"),
    ],
)
def test_what_has_no_meaning_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        compose(overrides)


def test_the_command_says_so_in_a_line(rnndrop: Command) -> None:
    found = rnndrop("run", "twin=pi", "twin.share=[output]", "twin.alone=[output]")
    assert found.returncode == 2 and len(found.stderr.strip().splitlines()) == 1 and not found.stdout


def test_the_second_pass_reads_words_under_noise_of_its_own() -> None:
    """MIR: the first pass reads the text, the second one blanks; where the noise is shared both read the same."""
    request = [*SMALL, "dropout=masked_input", "dropout.token.p=0.9999", "dropout.token.schedule=null"]
    corpus = Corpus("toy", "word", [str(v) for v in range(V)], TOKENS, TOKENS, TOKENS)
    losses = {}
    for name, twin in (("mir", ["twin=mir"]), ("shared", ["twin=mir", "twin.alone=[]", "twin.share=[token]"])):
        config = compose([*request, *twin])
        model = model_of(config)
        model.hold(config.twin_plan)
        with torch.no_grad():
            model.noise["blank"] += torch.randn(model.sizes.embedding, generator=torch.Generator().manual_seed(3))
        windows = TASK.steps(model, config, corpus, generator(0, "masks", torch.device("cpu")))
        windows.begin(1)
        step = windows.take(0)
        x, y = windows.inputs[:T].long(), windows.targets[:T].long()
        blanks = torch.full_like(x, V)
        none = evaluation_masks(Plan(()), model.sizes, torch.Generator(), torch.float64)
        ce = [F.cross_entropy(logits(model, model.top(read, model.initial_state(B), none)[0], none).flatten(0, 1),
                              y.flatten()) for read in (x, blanks)]  # fmt: skip
        losses[name] = (step.objective.item(), step.loss / step.targets, [each.item() for each in ce])
    objective, loss, (whole, blanked) = losses["mir"]
    assert loss == pytest.approx(whole, rel=1e-9) and objective == pytest.approx(whole + 0.4 * blanked, rel=1e-9)
    objective, loss, (whole, blanked) = losses["shared"]
    assert loss == pytest.approx(blanked, rel=1e-9) and objective == pytest.approx(1.4 * blanked, rel=1e-9)
    assert abs(whole - blanked) > 1e-3


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            "dropout=variational twin=fraternal twin.share=[weight_hh,input]",
            ["twin.share: dropout.weight_hh has no rule"],
        ),
        (
            "dropout=naive twin.loss=ce twin.weight=1 twin.alone=[embedding]",
            ["twin.alone: dropout.embedding has no rule"],
        ),
        ("dropout=naive twin=pi twin.weight=0", ["twin.weight=0: the second pass adds nothing"]),
        ("dropout=naive twin.loss=ce twin.weight=0", ["twin.weight=0: the second pass adds nothing"]),
        ("dropout=none twin=fraternal", ["twin.loss=mse: both passes have the same masks"]),
        ("dropout=embedding twin=r_drop twin.share=[embedding]", ["twin.loss=kl: both passes have the same masks"]),
        ("dropout=variational twin=fraternal twin.weight=0", []),  # the control: the mean of two cross-entropies
        ("dropout=masked_input twin=mir", []),
        ("dropout=naive twin.share=[weight_hh]", ["twin.share does nothing here: twin.loss=null"]),  # no twin
    ],
)
def test_what_of_a_twin_does_nothing_is_said(asked: str, said: list[str]) -> None:
    lines = compose(asked.split()).without_effect
    assert len(lines) == len(said) and all(map(str.startswith, lines, said))


def test_rows_of_a_reproduction_have_nothing_without_effect() -> None:
    from rnndrop.reproduction.recipe import load, plans

    assert not [
        line for plan in plans(load("new_rows"), "full") for job in plan.every for line in job.config.without_effect
    ]
