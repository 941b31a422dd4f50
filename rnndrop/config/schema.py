"""What a run depends on: types and ranges. The defaults live in `conf/`.

A default here marks a setting that came after the first records: it is what the runs of then did, so that a run that
leaves it there is the run it was (`rnndrop.config.identity`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from rnndrop.config import cells, corpora, modules, tasks
from rnndrop.config.cells import CELLS, CellSpec, cell_named, check_places, imported
from rnndrop.config.corpora import CORPORA, corpus_named
from rnndrop.config.identity import GONE, rounded
from rnndrop.config.modules import check_module
from rnndrop.config.tasks import TASKS, check_corpus, check_own_task, check_task
from rnndrop.config.trackers import tracker_named
from rnndrop.dropout import noises
from rnndrop.dropout.noises import NOISES, planned
from rnndrop.dropout.plan import Plan, check_own, plan
from rnndrop.dropout.rule import LOCATIONS, Rule, in_parts
from rnndrop.errors import RequestError, shorten, suggestion, unknown
from rnndrop.own import OWN, is_own, resolved, source_of, with_registered
from rnndrop.own import imported as executed
from rnndrop.paths import path_of
from rnndrop.values import Masks

MOST = 10**9  # of anything counted: torch, the displays and files take no more
LARGEST = 1e30  # float32 ends at 3e38

Positive = Annotated[int, Field(ge=1, le=MOST)]
Count = Annotated[int, Field(ge=0, le=MOST)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Scale = Annotated[float, Field(gt=0, le=LARGEST, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, le=LARGEST, allow_inf_nan=False)]


def _setting(meaning: str, example: str = "", **default: Any) -> Any:
    """A setting: what it means, its unit and null, and overrides that use it; see `rnndrop.config.settings`."""
    return Field(description=meaning, examples=[example], **default)


@dataclass(frozen=True)
class OneOf:
    """A check that a name is in a table, as it is by then; `also` says what else is taken."""

    table: Mapping[str, object]
    also: str = ""

    def __call__(self, name: str) -> str:
        """The name. Raises ValueError."""
        if name not in self.table:
            guess = suggestion(name, self.table)
            raise ValueError(f"it must be one of {' '.join(self.table)}{self.also}{guess and '.' + guess}")
        return name

    @property
    def names(self) -> list[str]:
        """Those that can be listed."""
        return list(self.table)


@dataclass(frozen=True)
class Named:
    """The import path of a name that a package registers in `group`; any other name as it is, known or not."""

    table: Mapping[str, object]
    group: str

    def __call__(self, name: str | None) -> str | None:
        """The name. Raises ValueError."""
        return None if name is None else resolved(name, self.table, self.group)


@dataclass(frozen=True)
class OneOfOrOwn(OneOf):
    """A check that a name is in a table, is registered in `group`, or is named as the user's own is."""

    group: str = ""
    also: str = OWN

    def __call__(self, name: str) -> str:
        """The name, an import path where a package registers it. Raises ValueError."""
        if is_own(found := resolved(name, self.table, self.group)):
            return found
        return OneOf(dict.fromkeys(self.names), self.also)(name)

    @property
    def names(self) -> list[str]:
        """Those that can be listed."""
        return with_registered(self.table, self.group)


@dataclass(frozen=True)
class DeviceName(OneOf):
    """A check that it is a kind of device, or one GPU of several."""

    also: str = ", or cuda:N"

    def __call__(self, name: str) -> str:
        """The name. Raises ValueError."""
        return name if re.fullmatch(r"cuda:\d{1,3}", name) else super().__call__(name)


DEVICES = dict.fromkeys(("auto", "cpu", "cuda", "mps"))


class Settings(BaseModel):
    """A group of settings that refuses unknown keys and cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


class DataSettings(Settings):
    """Which corpus, and how it is read."""

    name: Annotated[str, AfterValidator(Named(CORPORA, corpora.GROUP))] = _setting(
        f"Name of the corpus, as `data=NAME` sets it{OWN}.", "data=pydoc"
    )
    level: Literal["word", "char"] = _setting("What a token is.", "data=pydoc data.level=char")
    root: str | None = _setting(
        "Folder with the files of a published corpus; null: the one in $RNNDROP_DATA, else they are downloaded.",
        "data=ptb data.root=corpora",
    )
    train_tokens: Annotated[int, Field(ge=2, le=MOST)] | None = _setting(
        "How many of the first training tokens to keep; null: all.", "data.train_tokens=20000"
    )
    train: str | None = _setting(
        "data=text: the file to train on; null: the text is in data.file.",
        "data=text data.train=train.txt data.valid=valid.txt data.test=test.txt",
    )
    valid: str | None = _setting(
        "data=text: the file for validation; null: the text is in data.file.",
        "data=text data.train=train.txt data.valid=valid.txt data.test=test.txt",
    )
    test: str | None = _setting(
        "data=text: the file for the test; null: the text is in data.file.",
        "data=text data.train=train.txt data.valid=valid.txt data.test=test.txt",
    )
    file: str | None = _setting(
        "data=text and data=reviews: the one file that data.split cuts; null: data.train, .valid and .test.",
        "data=text data.file=mine.txt",
    )
    split: tuple[Fraction, Fraction, Fraction] = _setting(
        "Shares of training, validation and test, which add up to 1, where one file or set of reviews is cut.",
        "data=text data.file=mine.txt data.split=[0.7,0.1,0.2]",
    )
    min_count: Positive = _setting(
        "Word types that occur less often than this in the training text become <unk>.", "data=pydoc data.min_count=3"
    )
    split_by: Literal["review", "chunk"] | None = _setting(
        "task=sentiment: whether the chunks of a review stay together (review), or one may straddle two parts (chunk).",
        "task=sentiment data.split_by=chunk",
        default=None,
    )
    chunk_tokens: Positive | None = _setting(
        "task=sentiment: reviews are cut into chunks of this many tokens.",
        "task=sentiment data.chunk_tokens=100",
        default=None,
    )
    types: Positive | None = _setting(
        "task=sentiment: how many of the most frequent word types to keep; null: all.",
        "task=sentiment data.types=5000",
        default=None,
    )


def _own_name(name: str) -> str:
    """The name. Raises ValueError where nothing of the user's own is named so."""
    if not is_own(name):
        raise ValueError("it must be PACKAGE.MODULE:NAME of your own")
    return name


def _plain(value: object) -> object:
    """The value. Raises ValueError where it is neither text, number, true, false or null, nor a list of such."""
    for each in value if isinstance(value, (list, tuple)) else [value]:
        if not isinstance(each, str | bool | int | float | None):
            raise ValueError("it must be text, a number, true, false, null or a list of these")
        if isinstance(each, float) and not math.isfinite(each):
            raise ValueError("it must be a finite number: no record holds another")
    return value


class ModuleOptions(Settings):
    """What model.module is called with beside the sizes, by keyword: model.options.NAME=VALUE, as that is typed."""

    # A list stays a list and 1.0 a float, but for digits that no identity tells apart.

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Annotated[Any, AfterValidator(_plain)]] = Field(init=False)

    def __eq__(self, other: object) -> bool:
        """Whether they are of the same types too: 1, 1.0 and true are three, where Python has them equal."""
        return isinstance(other, ModuleOptions) and repr(self.model_extra) == repr(other.model_extra)

    def __hash__(self) -> int:
        return hash(repr(self.model_extra))


class ModelSettings(Settings):
    """The shape of the model."""

    cell: Annotated[str, AfterValidator(OneOfOrOwn(CELLS, group=cells.GROUP))] = _setting(
        "The recurrent cell.", "model.cell=mingru"
    )
    hidden: Annotated[int, Field(ge=1, le=10**6)] = _setting("Units of a recurrent layer.", "model.hidden=400")
    layers: Annotated[int, Field(ge=1, le=1000)] = _setting("Recurrent layers.", "model.layers=1")
    embedding: Annotated[int, Field(ge=1, le=10**6)] | None = _setting(
        "Width of the embedding; null: the same as model.hidden.", "model.embedding=100"
    )
    tie_weights: bool = _setting("Whether the decoder shares the embedding matrix.", "model.tie_weights=true")
    forget_bias: Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)] = _setting(
        "What is added to the initial bias of an LSTM's forget gate (Keras and the code of zoneout: 1).",
        "model.forget_bias=1",
        default=0.0,
    )
    module: Annotated[str, AfterValidator(_own_name)] | None = _setting(
        "A model of your own in place of ours, a class by its import path, PACKAGE.MODULE:NAME, which is called with "
        "model.options.NAME=VALUE too; null: ours.",
        "model.module=mine:Net model.options.p=0.3",
        default=None,
    )
    options: ModuleOptions = ModuleOptions()


Noise = Annotated[str | None, AfterValidator(Named(NOISES, noises.GROUP))]


class RuleSettings(Settings):
    """The rule of one location."""

    kind: str = _setting("One name for what the mask varies over and what fills a hole.")
    p: float = _setting("Probability of a hole (fill=previous: of keeping the previous value).")
    varies: tuple[str, ...] | None = _setting("The axes that the mask varies over; null: those of the kind.")
    noise: Noise = _setting("The mask's distribution; gaussian: N(1, p/(1-p)); null: bernoulli.")
    fill: str | None = _setting("What stands in a hole; null: what the kind puts there.")
    flip: float | None = _setting(
        "Chance that an entry is drawn anew at a step, else it stays as it was; null: 1.", default=None
    )
    block: Positive | None = _setting("Least length of a hole, in steps; null: 1.", default=None)
    schedule: str | None = _setting(
        "How the rate changes: linear falls from p to 0, exponential rises to p, early is p and then 0, late is 0 and "
        "then p, uniform is drawn from 0 to p for each sequence of a window; null: it stays p.",
        default=None,
    )
    until: Scale | None = _setting("The epoch at which the schedule has come to its end, as 2.5.", default=None)
    gradient: bool = _setting("Whether the mask acts in the backward pass only.", default=False)
    smallest: float | None = _setting(
        "Share of each unit's weights, the smallest ones, that can be dropped; what is kept is not scaled. null: all "
        "can be dropped, and what is kept is scaled.",
        default=None,
    )
    discounted: bool = _setting(
        "Whether a word is replaced with the chance p · (types that follow it) / (its count).", default=False
    )
    also: tuple[FurtherRule, ...] = _setting(
        "More rules for the same location, which act after this one: a list of {kind: …, p: …}.", default=()
    )


class FurtherRule(RuleSettings):
    """A rule in `also`: what it leaves out is null."""

    varies: tuple[str, ...] | None = None
    noise: Noise = None
    fill: str | None = None
    also: tuple[()] = ()


NO_RULE = RuleSettings(kind="none", p=0.0, varies=None, noise=None, fill=None)


class DropoutSettings(Settings):
    """A named plan: the rules at each location."""

    name: str = _setting("Name of the plan, as `dropout=NAME` sets it; the rules count, not the name.",
                         "dropout=variational")  # fmt: skip
    token: RuleSettings = _setting("", default=NO_RULE)
    embedding: RuleSettings
    input: RuleSettings
    hidden: RuleSettings
    recurrent: RuleSettings
    update: RuleSettings
    cell: RuleSettings
    state: RuleSettings
    carry: RuleSettings = _setting("", default=NO_RULE)
    layer: RuleSettings = _setting("", default=NO_RULE)
    output: RuleSettings
    weight_ih: RuleSettings
    weight_hh: RuleSettings
    weight_decoder: RuleSettings


def _in_order(places: tuple[str, ...]) -> tuple[str, ...]:
    """Each location once, in the order of the table; what is not in it last."""
    order = list(LOCATIONS)
    return tuple(sorted(dict.fromkeys(places), key=lambda place: order.index(place) if place in order else len(order)))


Locations = Annotated[tuple[str, ...], AfterValidator(_in_order)]


class TwinSettings(Settings):
    """A second pass over the same window in the same step of training, and a loss between the two."""

    loss: Literal["mse", "kl", "ce"] | None = _setting(
        "What the second pass adds: the mean squared difference of the logits (mse), the symmetrical KL divergence of "
        "the predictions (kl), or its own cross-entropy (ce); null: there is no second pass.",
        "twin=fraternal",
        default=None,
    )
    weight: NotNegative = _setting(
        "What the loss of twin.loss is multiplied by before it is added to the loss per token.",
        "twin=fraternal twin.weight=0.1",
        default=0.0,
    )  # fmt: skip
    masks: Literal["own", "none"] = _setting(
        "The masks of the second pass: drawn anew (own), or those of deterministic evaluation (none).",
        "twin=pi twin.masks=none",
        default="own",
    )
    share: Locations = _setting(
        "Locations of the dropout at which both passes have the same mask.",
        "twin=fraternal twin.share=[weight_hh]",
        default=(),
    )
    alone: Locations = _setting(
        "Locations of the dropout whose rule acts in the second pass only; the first one and evaluation are without.",
        "dropout=embedding twin.loss=ce twin.weight=1 twin.alone=[embedding]",
        default=(),
    )
    both: bool = _setting(
        "Whether the cross-entropy is the mean of both passes, or that of the first.",
        "twin=pi twin.both=true",
        default=False,
    )


class TrainerSettings(Settings):
    """How the model is trained."""

    epochs: Positive = _setting("Largest number of passes over the training text.", "trainer.epochs=12")
    batch_size: Positive = _setting(
        "Columns into which the training text is cut; task=sentiment: chunks.", "trainer.batch_size=64"
    )
    window: Positive = _setting("Length of a BPTT window, in tokens.", "trainer.window=70")
    optimizer: Literal["sgd", "adam", "adamw"] = _setting("The optimiser.", "trainer.optimizer=sgd")
    learning_rate: Scale = _setting("Learning rate, until it falls by trainer.decay.", "trainer.learning_rate=0.001")
    decay: Annotated[float, Field(ge=1, le=1000, allow_inf_nan=False)] = _setting(
        "The learning rate is divided by this in each epoch after the first trainer.decay_after.",
        "trainer.decay=1.2 trainer.decay_after=6",
    )
    decay_after: Count = _setting(
        "Epochs before the learning rate begins to fall by trainer.decay.", "trainer.decay=1.2 trainer.decay_after=6"
    )
    loss: Literal["mean", "sum_time"] = _setting(
        "What is minimised: the mean over the tokens of a window, or the sum over time of the mean over the batch "
        "(Zaremba, Gal).",
        "trainer.loss=sum_time",
    )
    clip: Scale | None = _setting("Largest norm of the gradient; null: no clipping.", "trainer.clip=0.25")
    weight_decay: Annotated[float, Field(ge=0, lt=1)] = _setting(
        "Share of every weight that is subtracted at each step, besides the update.", "trainer.weight_decay=1e-6"
    )
    scaled_decay: bool = _setting(
        "Whether trainer.weight_decay is multiplied by the learning rate; for adamw it always is.",
        "trainer.weight_decay=0.01 trainer.scaled_decay=true",
    )
    random_window: bool = _setting(
        "Whether BPTT windows have random lengths around trainer.window; with trainer.loss=mean the learning rate is "
        "scaled by the length (AWD-LSTM).",
        "trainer.random_window=true",
        default=False,
    )
    random_offset: bool = _setting(
        "Whether each epoch begins somewhere in the first window, so that its windows cut the text anew; what comes "
        "before is not read (Zoneout, on characters).",
        "trainer.random_offset=true",
        default=False,
    )
    ar: NotNegative = _setting(
        "Activation regularisation: ar · mean((masked h)²) of the top layer is added to the loss per token "
        "(AWD-LSTM: 2).",
        "trainer.ar=2",
        default=0.0,
    )
    tar: NotNegative = _setting(
        "Temporal activation regularisation: tar · mean((h(t+1) - h(t))²) of the top layer is added to the loss per "
        "token (AWD-LSTM: 1).",
        "trainer.tar=1",
        default=0.0,
    )
    norm_stabiliser: NotNegative = _setting(
        "Norm stabiliser: norm_stabiliser · mean((‖h(t+1)‖ - ‖h(t)‖)²) of the top layer is added to the loss per token "
        "(50 in the code of zoneout).",
        "trainer.norm_stabiliser=50",
        default=0.0,
    )
    adversarial_softmax: NotNegative = _setting(
        "Adversarial softmax: the logit of the target is lowered by adversarial_softmax · ‖w‖ · ‖h‖, w being the "
        "target's row of the decoder's weight (Wang, Gong & Liu).",
        "trainer.adversarial_softmax=0.005",
        default=0.0,
    )
    nonmono: Positive | None = _setting(
        "NT-ASGD: average the weights once valid is worse than the best of this many epochs ago; null: never.",
        "trainer.nonmono=5",
        default=None,
    )
    finetune_epochs: Count = _setting(
        "Largest number of epochs of fine-tuning (AWD-LSTM): it starts from the best weights and averages from the "
        "beginning, until the rule of trainer.nonmono ends it; trainer.patience does not. The learning rate goes on as "
        "it is.",
        "trainer.finetune_epochs=6",
        default=0,
    )
    init: Scale = _setting("Every parameter is first drawn uniformly from (-init, init).", "trainer.init=0.05")
    init_by_width: bool = _setting(
        "Whether recurrent layers of H units are drawn from (-1/√H, 1/√H) instead, as in torch.",
        "trainer.init_by_width=true",
        default=False,
    )
    patience: Positive | None = _setting(
        "Epochs without a better valid score after which training ends; null: it always lasts trainer.epochs.",
        "trainer.patience=3",
    )
    device: Annotated[str, AfterValidator(DeviceName(DEVICES))] = _setting(
        "Where to compute; auto: on a GPU if there is one, else on the CPU.", "trainer.device=cpu"
    )
    precision: Literal["float32", "tf32", "bf16"] = _setting(
        "Precision that the factors of matrix products are rounded to: bf16 on CPUs that have bf16 products (some "
        "results too), tf32 on NVIDIA GPUs from Ampere on.",
        "trainer.precision=bf16",
        default="float32",
    )
    deterministic: bool = _setting(
        "Whether to use only operations that give the same bits each time; an operation without such a version fails.",
        "trainer.deterministic=true",
        default=False,
    )
    threads: Positive | None = _setting("CPU threads; null: torch's default.", "trainer.threads=2")
    checkpoint_epochs: Positive | None = _setting(
        "Epochs between checkpoints; null: not by epochs.", "trainer.checkpoint_epochs=5"
    )
    checkpoint_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = _setting(
        "Seconds between checkpoints, from which a run that was killed resumes; null: not by time.",
        "trainer.checkpoint_seconds=300",
    )
    keep_weights: bool = _setting(
        "Whether the weights of a finished run are kept: `rnndrop eval` needs them.",
        "trainer.keep_weights=false",
        default=True,
    )


class MonteCarloSettings(Settings):
    """Monte-Carlo evaluation: probabilities averaged over masks."""

    samples: Count = _setting(
        "Masks over which the probabilities of a token are averaged (jackknifed: no bias of 1/samples); 0: none.",
        "evaluation.mc.samples=100",
    )
    masks: Masks = _setting(
        "How often masks are drawn: once per pass over the stream (Gal & Ghahramani) or once per window.",
        "evaluation.mc.samples=100 evaluation.mc.masks=window",
    )
    embedding: bool = _setting(
        "Whether embedding dropout is drawn too (Gal & Ghahramani: not in their language model, but in sentiment).",
        "evaluation.mc.samples=100 evaluation.mc.embedding=true",
    )
    power: Annotated[float, Field(ge=0, le=1)] = _setting(
        "Which mean of the probabilities is taken (Melis et al. 2018): 1 the arithmetic, 0 the geometric, between them "
        "the power mean (mean of p^power)^(1/power); below 1 divided by its sum over the vocabulary.",
        "evaluation.mc.samples=20 evaluation.mc.power=0",
        default=1.0,
    )
    rate: Scale = _setting(
        "What all dropout rates are multiplied by while masks are drawn; each must stay below 1.",
        "evaluation.mc.samples=100 evaluation.mc.rate=0.8",
        default=1.0,
    )
    temperature: Scale = _setting(
        "What the logits of each sample are divided by.",
        "evaluation.mc.samples=100 evaluation.mc.temperature=1.1",
        default=1.0,
    )

    def sampled(self, plan: Plan) -> Plan:
        """The rules that masks are drawn by. Raises RequestError where a rate would come to 1.

        The text is read as it is, from beginning to end, and what acts on gradients alone has nothing to act on.
        """
        kept = plan.without("token", "carry", *(() if self.embedding else ("embedding",)))
        kept = kept.map(lambda own: Rule(own.location) if own.gradient else own)
        if self.rate != 1 and any(planned(own.noise).learned for own in kept.active):
            raise RequestError("evaluation.mc.rate multiplies rates that are set, and this plan has learned noise.")
        for own in kept.active:
            if (rate := own.p * self.rate) >= 1:
                raise RequestError(
                    f"evaluation.mc.rate={self.rate:g} makes {rate:g} of dropout.{own.location}.p={own.p:g}, and a "
                    f"rate must stay below 1: give less than {1 / own.p:g}."
                )
        return kept.map(lambda own: replace(own, p=own.p * self.rate))


class CacheSettings(Settings):
    """The continuous cache of what followed similar states; the stream is one column."""

    size: Count = _setting("How many of the latest tokens the cache holds; 0: no cache.", "evaluation.cache.size=500")
    theta: NotNegative = _setting(
        "How sharply the cache prefers similar states.", "evaluation=cache evaluation.cache.theta=0.2"
    )
    mix: Fraction = _setting(
        "Share of the cache in the mixture with the model.", "evaluation=cache evaluation.cache.mix=0.2"
    )


class DynamicSettings(Settings):
    """Dynamic evaluation: the weights learn from each segment after it was scored; the stream is one column."""

    rule: Literal["sgd", "rms"] | None = _setting(
        "What the weights move along: the gradients (sgd), or these over their root mean square on the training text "
        "(rms); null: no dynamic evaluation.",
        "evaluation.dynamic.rule=rms",
    )
    window: Positive = _setting("Tokens of a segment.", "evaluation=dynamic evaluation.dynamic.window=10")
    learning_rate: Scale = _setting(
        "Learning rate of the moving weights.", "evaluation=dynamic evaluation.dynamic.learning_rate=0.0001"
    )
    decay: Annotated[float, Field(ge=0, le=1)] = _setting(
        "How strongly the weights are pulled back to the trained ones after each segment.",
        "evaluation=dynamic evaluation.dynamic.decay=0.005",
    )
    epsilon: Scale = _setting(
        "rule=rms: what is added to the root mean square.", "evaluation=dynamic evaluation.dynamic.epsilon=0.0001"
    )
    batch_size: Positive = _setting(
        "rule=rms: columns of the training text over which a gradient is averaged.",
        "evaluation=dynamic evaluation.dynamic.batch_size=50",
    )


class TemperatureSettings(Settings):
    """A temperature that divides the logits, one for all tokens (Melis et al. 2018, arXiv:1805.09208)."""

    tune: bool = _setting(
        "Whether to find the temperature from 0.5 to 1.5 that gives the lowest valid perplexity, and measure valid and "
        "test with it.",
        "evaluation.temperature.tune=true",
        default=False,
    )


class EvaluationSettings(Settings):
    """How the score is measured."""

    batch_size: Positive = _setting(
        "Columns into which the valid and test streams are cut; task=sentiment: chunks at a time.",
        "evaluation.batch_size=1",
    )
    window: Positive = _setting("Tokens of a column that are read at a time.", "evaluation.window=100")
    mc: MonteCarloSettings
    cache: CacheSettings
    dynamic: DynamicSettings
    temperature: TemperatureSettings


Seed = Annotated[int, Field(ge=0, lt=2**63)]


class SeedSettings(Settings):
    """Seeds of single sources of chance, which then stay as they are while `seed` changes."""

    init: Seed | None = _setting("Seed of the initial weights; null: seed.", "seeds.init=0 seed=1", default=None)
    data: Seed | None = _setting(
        "Seed of the order of the data: lengths of random windows, random offsets, the order of reviews; null: seed.",
        "trainer.random_window=true seeds.data=0 seed=1",
        default=None,
    )
    masks: Seed | None = _setting(
        "Seed of the masks and of whatever else the dropout draws; null: seed.", "seeds.masks=0 seed=1", default=None
    )


def _once(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


class Config(Settings):
    """Everything that one run depends on."""

    task: Annotated[str, AfterValidator(OneOfOrOwn(TASKS, group=tasks.GROUP))] = _setting(
        "What is predicted: the next token, scored by perplexity, or a review's rating, scored by RMSE; or "
        "PACKAGE.MODULE:NAME of your own.",
        "task=sentiment",
        default="language_model",
    )
    data: DataSettings
    model: ModelSettings
    dropout: DropoutSettings
    trainer: TrainerSettings
    twin: TwinSettings = TwinSettings()
    evaluation: EvaluationSettings
    seed: Seed = _setting("Seed of the initial weights, the masks and whatever else is drawn.", "seed=1")
    seeds: SeedSettings = SeedSettings()
    output: str = _setting("Folder of the runs.", "output=results/mine")
    label: str | None = _setting(
        "A name for the purpose of the run, not part of its identity; null: none. Reports leave out runs labelled "
        "`trial`: they are trials of a search.",
        "label=first-try",
        default=None,
    )
    tracker: Annotated[tuple[str, ...], AfterValidator(_once)] = _setting(
        "Where the settings, curves and final metrics go too, besides the run's folder; not part of its identity.",
        "tracker=[tensorboard,mlflow]",
        default=(),
    )

    def seed_of(self, source: str) -> int:
        """The seed of a source of chance, of `seeds`."""
        own: int | None = getattr(self.seeds, source)
        return self.seed if own is None else own

    @property
    def plan(self) -> Plan:
        """The dropout plan: the rules at each location, without the rules of `twin.alone`."""
        return self.twin_plan.without(*(self.twin.alone if self.twin.loss else ()))

    @property
    def twin_plan(self) -> Plan:
        """The plan of the second pass of a step, where there is one: with the rules of `twin.alone`."""
        return _plan(self.dropout, self.model.layers)

    @property
    def without_effect(self) -> list[str]:
        """A line for each rule, part of the twin, or way of evaluating that does nothing in this model, and why."""
        of_rules = [*self._idle_rules, *self._late_rules, *self._lone_gates]
        idle = [*self._idle_data, *self._idle_model, *self._idle_decay, *of_rules, *self.idle_samples]
        return [*idle, *_idle_twin(self.twin, self.twin_plan)]

    @property
    def _idle_data(self) -> list[str]:
        """Of settings that are for other corpora of ours; what one of the user's own reads is not known."""
        if (corpus := corpora.CORPORA.get(self.data.name)) is None:
            return []
        given = {"root": self.data.root is not None, "split": tuple(self.data.split) != corpora.USUAL_SPLIT}
        read = {"root": corpus.rooted, "split": corpora.cuts(corpus, self.data.file)}
        return [
            f"data.{name} does nothing here: data={corpus.name} does not read it."
            for name in given
            if given[name] and not read[name]
        ]

    @property
    def _idle_decay(self) -> list[str]:
        """Of how something falls that does not."""
        own, lines = self.trainer, []
        if own.decay_after and own.decay == 1:
            lines.append("trainer.decay_after does nothing here: trainer.decay=1.")
        if own.scaled_decay and not own.weight_decay:
            lines.append("trainer.scaled_decay does nothing here: trainer.weight_decay=0.")
        elif own.scaled_decay and own.optimizer == "adamw":
            lines.append("trainer.scaled_decay does nothing here: trainer.optimizer=adamw always does it.")
        return lines

    @property
    def idle_samples(self) -> list[str]:
        """Of Monte Carlo samples that no mask tells apart."""
        mc = self.evaluation.mc
        if not mc.samples or self.model.module is not None or any(mc.sampled(self.plan).active):
            return []
        spared = not mc.embedding and any(rule.active for rule in self.plan.at("embedding"))
        how = " To draw the masks of dropout.embedding too: evaluation.mc.embedding=true." if spared else ""
        plan = f"dropout={self.dropout.name} has no masks in Monte-Carlo evaluation"
        return [f"evaluation.mc.samples={mc.samples}: {plan}, so all samples are the same.{how}"]

    @property
    def _late_rules(self) -> list[str]:
        """Of rules that would begin when training is over."""
        last = self.trainer.epochs + self.trainer.finetune_epochs
        return [
            f"dropout.{rule.location} does nothing here: it begins after epoch {rule.until:g}, and training has {last}."
            for rule in self.twin_plan.active
            if rule.schedule == "late" and rule.until is not None and rule.until >= last
        ]

    @property
    def _idle_model(self) -> list[str]:
        """Of settings that are for our models, or for one of the user's own."""
        model = self.model
        if model.module is None:
            given = model.options.model_dump()
            return [f"model.options.{next(iter(given))} does nothing here: model.module=null."] if given else []
        idle = model.cell != "lstm"
        return [f"model.cell={model.cell} does nothing here: model.module={model.module} has its own."] if idle else []

    @property
    def _lone_gates(self) -> list[str]:
        """Of masks that are to vary over the gates of a cell that has one."""
        if is_own(self.model.cell) or len(CELLS[self.model.cell].gates) > 1:
            return []
        asked = [rule for rule in self.twin_plan.active if "gate" in rule.varies]
        return [
            f"dropout.{rule.location}: varying over gates does nothing here: model.cell={self.model.cell} has one. "
            + "The mask "
            + (f"varies over {' '.join(sorted(rule.varies - {'gate'}))}." if len(rule.varies) > 1 else "is one number.")
            for rule in asked
            if rule.kind in ("custom", "locked_gates")
        ]

    @property
    def _idle_rules(self) -> list[str]:
        layers = self.model.layers
        if layers >= max(place.layers for place in LOCATIONS.values()):
            return []
        asked = _plan(self.dropout, None)
        return [
            f"dropout.{rule.location} does nothing here: it acts on {LOCATIONS[rule.location].acts_on}, "
            f"and model.layers={layers}."
            for rule in asked.active
            if not rule.within(layers).active
        ]


@lru_cache(maxsize=256)
def _plan(dropout: DropoutSettings, layers: int | None) -> Plan:
    return plan(dropout.model_dump(exclude={"name"}), layers)


def checked(tree: dict[str, Any]) -> Config:
    """Check a resolved tree of settings. Raises RequestError with one line for each problem."""
    if not isinstance(plan := tree.get("dropout", {}), dict):
        raise RequestError(
            f"dropout={'null' if plan is None else plan}: an option of yours chooses a plan in its defaults, as"
            " `override /dropout: naive`, or sets rules below `dropout`."
        )
    for location in plan:
        if location != "name" and location not in LOCATIONS:
            raise unknown("dropout location", location, LOCATIONS)
    tree = _without_own_kinds(tree)
    try:
        config = Config.model_validate({name: _group(name, value) for name, value in tree.items()})
    except ValidationError as error:
        raise RequestError("\n".join(_explain(problem, tree) for problem in error.errors())) from None
    drawn, mc = config.plan, config.evaluation.mc  # a rule without meaning is refused here …
    if mc.samples:
        mc.sampled(drawn)  # … and a rate of 1
    _check_twin(config.twin, config.twin_plan)
    _check_widths(config)
    _check_blocks(config)
    for setting, name in _own_names(config):
        source_of(setting, name)  # the rest is asked of it before it computes, by `own_code`
    if config.model.module is not None:
        check_module(config.model_dump())
    elif not is_own(config.model.cell):
        _check_cell(config, cell_named(config.model.cell))
    check_task(config.model_dump())
    for name in config.tracker:
        tracker_named(name)
    return config.model_copy(update={"output": str(path_of(config.output))}) if config.output[:1] == "~" else config


def has_own_code(config: Config) -> bool:
    """Whether a run executes code of the user's own."""
    return any(_own_names(config))


def own_code(config: Config) -> None:
    """Import all code of the user's own that a run executes, from its files as they are now.

    Raises RequestError where it cannot be had, or where the configuration has no meaning for it.
    """
    name = config.model.cell
    if config.model.module is not None:
        executed(modules.SETTING, config.model.module, type)
    elif is_own(name):  # the others were checked with the settings
        _check_cell(config, imported(name))
    check_own(config.twin_plan)
    if is_own(config.task):
        check_own_task(config.model_dump())
    if is_own(config.data.name):
        check_corpus(corpus_named(config.data.name), config.task)


def _own_names(config: Config) -> Iterator[tuple[str, str]]:
    """What of the user's own a run executes, each with its setting."""
    if is_own(config.task):
        yield tasks.SETTING, config.task
    if config.model.module is not None:
        yield modules.SETTING, config.model.module
    elif is_own(config.model.cell):
        yield cells.SETTING, config.model.cell
    if is_own(config.data.name):
        yield corpora.SETTING, config.data.name
    for rule in config.twin_plan.active:
        if is_own(rule.noise):
            yield f"dropout.{rule.location}.noise", rule.noise


def _without_own_kinds(tree: dict[str, Any]) -> dict[str, Any]:
    """The settings with kinds of the user's own by their parts."""
    dropout = tree.get("dropout")
    if not isinstance(dropout, dict):
        return tree
    rules = {place: own for place, own in dropout.items() if place in LOCATIONS and isinstance(own, dict)}
    found = {place: _rule_in_parts(place, own) for place, own in rules.items()}
    if all(found[place] is own for place, own in rules.items()):
        return tree
    return {**tree, "dropout": {**dropout, **found}}


def _rule_in_parts(place: str, own: dict[str, Any]) -> Mapping[str, Any]:
    also = own.get("also")
    if isinstance(also, (list, tuple)) and also:
        parts = [in_parts(place, each) if isinstance(each, dict) else each for each in also]
        own = own if all(part is each for part, each in zip(parts, also, strict=True)) else {**own, "also": parts}
    return in_parts(place, own)


def _check_cell(config: Config, cell: CellSpec) -> None:
    check_places(cell, _plan(config.dropout, None))
    if config.model.forget_bias and "f" not in cell.gates:
        raise RequestError(f"model.forget_bias has no meaning for model.cell={cell.name}: it has no forget gate.")


def _check_widths(config: Config) -> None:
    """Raise RequestError where whole layers are to be left out and none is as wide as what enters it."""
    model = config.model
    embedding = model.embedding or model.hidden
    widths = [embedding, *[model.hidden] * model.layers]
    widths[-1] = embedding if model.tie_weights else model.hidden
    if config.twin_plan.at("layer") and not any(one == other for one, other in pairwise(widths)):
        raise RequestError(
            f"dropout.layer does nothing here: no layer is as wide as what enters it, {' → '.join(map(str, widths))}."
            " Give model.embedding=null or more layers."
        )


def _check_blocks(config: Config) -> None:
    """Raise RequestError for holes that are longer than what is read at once."""
    key = "trainer.window" if config.task == "language_model" else "data.chunk_tokens"
    steps = config.trainer.window if config.task == "language_model" else config.data.chunk_tokens
    for own in config.twin_plan.active:
        if own.block is not None and steps is not None and own.block > steps:
            raise RequestError(
                f"dropout.{own.location}.block={own.block}: no hole is longer than {key}={steps}. Give at most that, or"
                f" dropout.{own.location}.kind=locked and block=null, whose holes last from beginning to end."
            )


def _check_twin(twin: TwinSettings, plan: Plan) -> None:
    """Raise RequestError where the settings of the second pass contradict each other."""
    for key, places in (("share", twin.share), ("alone", twin.alone)):
        for place in places:
            if place not in LOCATIONS:
                raise unknown(f"dropout location for twin.{key}", place, LOCATIONS)
    if twin.loss is None:
        return
    for own in plan.active:
        if own.location in twin.alone and planned(own.noise).learned:
            raise RequestError(f"twin.alone={own.location}: noise that is learned acts in both passes.")
    for place in twin.alone:
        if place in twin.share:
            raise RequestError(
                f"twin.share and twin.alone both have {place}: the first pass has no mask to share there."
            )
    if twin.alone and twin.masks == "none":
        raise RequestError("twin.alone needs twin.masks=own: with twin.masks=none no rule acts in the second pass.")
    if twin.both and twin.loss == "ce":
        raise RequestError(
            "twin.both=true needs twin.loss=mse or kl: with twin.loss=ce, twin.weight weighs the second pass."
        )


def _idle_twin(twin: TwinSettings, plan: Plan) -> list[str]:
    """A line for each part of the second pass that does nothing, and why."""
    if twin.loss is None:
        usual = TwinSettings()
        given = [name for name in TwinSettings.model_fields if getattr(twin, name) != getattr(usual, name)]
        return [f"twin.{name} does nothing here: twin.loss=null, so that there is no second pass." for name in given]
    lines = [
        f"twin.{key}: dropout.{place} has no rule here, so that there is none to {what}."
        for key, what, places in (("share", "share", twin.share), ("alone", "act alone", twin.alone))
        for place in places
        if not plan.at(place)
    ]
    if twin.weight == 0 and not twin.both:
        lines.append("twin.weight=0: the second pass adds nothing, and only costs time.")
    elif twin.loss != "ce" and not any(own.location not in twin.share for own in plan.active):
        lines.append(f"twin.loss={twin.loss}: both passes have the same masks here, so there is no difference to add.")
    return lines


def _group(name: str, value: Any) -> Any:
    """A group of settings, the same object for the same settings: the runs of a grid share most. Others rounded."""
    try:
        return _part(Config, name, value)
    except (TypeError, ValueError, RecursionError):  # the check of the whole will say where and why
        return _rounded({name: value})[name]


def _part(model: type[Settings], name: str, value: Any) -> Any:
    if model is ModuleOptions:
        return _as_typed(value)
    kind = model.model_fields[name].annotation if name in model.model_fields else None
    if isinstance(value, dict) and isinstance(kind, type) and issubclass(kind, Settings):
        return _known_group(kind, json.dumps(value))
    return _rounded({name: value})[name]


@lru_cache(maxsize=4096)
def _known_group(kind: type[Settings], spelled: str) -> Settings:
    return kind.model_validate({name: _part(kind, name, value) for name, value in json.loads(spelled).items()})


def _as_typed(value: Any) -> Any:
    """A value that has no type of ours, rounded as its identity is, but of the type that it was typed as."""
    if isinstance(value, list):
        return [_as_typed(each) for each in value]
    return float(rounded(value)) if isinstance(value, float) else value


def _rounded(tree: dict[str, Any]) -> dict[str, Any]:
    return {name: _rounded(value) if isinstance(value, dict) else rounded(value) for name, value in tree.items()}


def gone(key: str) -> str:
    """What is said to who asks for a setting of before."""
    return f"There is no {key} any more: type {GONE[key]}."


_TYPES = {
    **dict.fromkeys(("int_parsing", "int_type", "int_from_float"), "it must be a whole number"),
    **dict.fromkeys(("float_parsing", "float_type"), "it must be a number"),
    **dict.fromkeys(("bool_parsing", "bool_type"), "it must be true or false"),
    "string_type": "it must be a text",
}
"""What is said of a value of another type than it must be."""


def _explain(problem: Any, tree: dict[str, Any]) -> str:
    """One line for a pydantic problem: the key, the value, what was expected."""
    parts = [str(part) for part in problem["loc"]]
    key = ".".join(parts)
    if key in GONE:
        return gone(key)
    if problem["type"] == "extra_forbidden":
        model: Any = Config
        for part in parts[:-1]:
            model = FurtherRule if part == "also" else model if part.isdigit() else model.model_fields[part].annotation
        return f"No setting {key!r}.{suggestion(parts[-1], model.model_fields)}"
    if problem["type"] == "missing":
        return f"The setting {key!r} is missing."
    value = "null" if problem["input"] is None else shorten(str(problem["input"]), 100)
    if problem["type"] == "tuple_type":
        return f"{key}={value}: give a list, as {key}=[{value if isinstance(problem['input'], str) else '…'}]."
    if problem["type"] == "literal_error":
        choices = re.findall(r"'([^']*)'", problem["ctx"]["expected"])
        return f"{key}={value}: it must be one of {' '.join(choices)}.{suggestion(value, choices)}"
    said = _TYPES.get(problem["type"]) or problem["msg"].removeprefix("Value error, ")
    said = said.replace("Input should be", "it must be")
    return f"{key}={value}: {said[0].lower()}{said[1:]}{'' if said.endswith('?') else '.'}"
