"""The model's shape: widths with tied weights, initial weights."""

from __future__ import annotations

import pytest
import torch

from rnndrop.dropout.masks import evaluation_masks
from rnndrop.dropout.plan import plan
from rnndrop.models.encoder import ModelSettings
from rnndrop.models.language_model import LanguageModel


def test_tied_weights_make_the_last_layer_as_wide_as_the_embedding() -> None:
    """AWD-LSTM: embedding 400, layers 400 → 1150 → 1150 → 400, one matrix for embedding and decoder."""
    model = LanguageModel(ModelSettings("lstm", 115, 3, 40, True), 7)
    assert model.sizes.layers == ((40, 115), (115, 115), (115, 40)) and model.decoder is None
    model.initialize(0.1, torch.Generator().manual_seed(0))
    masks = evaluation_masks(plan({}), model.sizes, torch.Generator())
    features, state = model.features(torch.zeros(2, 3, dtype=torch.int64), model.initial_state(3), masks)
    assert features.shape == (2, 3, 40) and [layer[0].shape[1] for layer in state] == [115, 115, 40]
    assert model.decoder_weights(masks)[0] is model.embedding


def test_untied_the_last_layer_keeps_its_width() -> None:
    model = LanguageModel(ModelSettings("lstm", 115, 3, 40, False), 7)
    assert model.sizes.layers == ((40, 115), (115, 115), (115, 115)) and model.decoder is not None


@pytest.mark.parametrize("by_width", [False, True])
def test_initial_weights(by_width: bool) -> None:
    model = LanguageModel(ModelSettings("lstm", 100, 2, 25, True), 50)
    model.initialize(0.3, torch.Generator().manual_seed(0), by_width)
    assert model.embedding.abs().max().item() == pytest.approx(0.3, rel=0.01)
    for layer, width in zip(model.layers, (100, 25), strict=True):
        bound = width**-0.5 if by_width else 0.3
        assert max(weight.abs().max().item() for weight in layer.parameters()) == pytest.approx(bound, rel=0.01)


def test_a_forget_bias_is_added_to_that_gate_alone() -> None:
    plain, biased = (LanguageModel(ModelSettings("lstm", 3, 2, None, False, bias), 7) for bias in (0.0, 1.5))
    for each in (plain, biased):
        each.initialize(0.1, torch.Generator().manual_seed(0), by_width=True)
    for (name, one), other in zip(plain.named_parameters(), biased.parameters(), strict=True):
        expected = one.detach().clone()
        if name.endswith("bias_ih"):
            expected[3:6] += 1.5  # i f g o
        assert torch.equal(other, expected), name
