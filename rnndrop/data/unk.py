"""When `<unk>` decides a perplexity, rather than the words do. For runs and reports alike; no torch here."""

from __future__ import annotations

from collections.abc import Mapping

SAID = 0.001  # a share of <unk> from which on it is named
MUCH = 0.1  # a share that decides: the published corpora have at most 6.2 % (WikiText-2's test split)
UNSEEN = 0.01  # the same where training had none: on data=pydoc data.min_count=1 such an <unk> costs 13.7 nats and a
# word 5.2, so that each hundredth of them makes perplexity 9 % higher


def unk_shares(rates: Mapping[str, float]) -> str:
    """The share of `<unk>` among the tokens of each split; empty where there are next to none. `rates` are by split."""
    if max(rates.values(), default=0.0) < SAID:
        return ""
    return "<unk>: " + ", ".join(f"{percent(rate)} of {split}" for split, rate in rates.items())


def unk_warning(rates: Mapping[str, float]) -> str:
    """Why the perplexities of a text say more about `<unk>` than about its words; empty where they do not."""
    train, held_out = rates.get("train", 0.0), max(rates.get("valid", 0.0), rates.get("test", 0.0))
    if held_out >= MUCH:
        return (
            f"{unk_shares(rates)} tokens. With so many, perplexity is how well <unk> is predicted, not the words: "
            "compare it with nothing else. Lower data.min_count, use more training text, or data.level=char."
        )
    if train == 0 and held_out >= UNSEEN:
        return (
            f"{unk_shares(rates)} tokens. Training never shows <unk>, so each of them costs what an unseen word does, "
            "and that is much of the perplexity. data.min_count=2 puts it into the training text."
        )
    return ""


def percent(share: float) -> str:
    """A share in per cent, in three digits: 90.9 %."""
    return f"{100 * share:.3g} %"
