"""The drop-in modules against from-scratch references, and against the bugs that other people shipped."""

from __future__ import annotations

import copy
import io
import pickle
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnndrop.dropout.functional import embedding_dropout, locked_dropout, weight_drop
from rnndrop.dropout.modules import EmbeddingDropout, LockedDropout, WeightDrop

T, B, D, H, V, P = 7, 5, 4, 6, 11, 0.4


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def close(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, rtol=0, atol=1e-6)


def scaled_mask(*shape: int) -> Tensor:
    """A mask that was not drawn by the code under test."""
    return (torch.rand(shape, dtype=torch.float64) > P).double() / (1 - P)


def drawing(seed: int, call):
    """The result of a call that draws with this seed."""
    torch.manual_seed(seed)
    return call()


def lstm(**options) -> nn.LSTM:
    return nn.LSTM(D, H, dtype=torch.float64, **options)


def inputs() -> Tensor:
    return torch.randn(T, B, D, dtype=torch.float64)


def drop_hh(**options) -> WeightDrop:
    return WeightDrop(lstm(), ["weight_hh_l0"], P, **options)


def lstm_from_scratch(x: Tensor, w_ih: Tensor, w_hh: Tensor, bias: Tensor) -> Tensor:
    """(T, B, D) -> (T, B, H), i f g o as in nn.LSTM."""
    h = c = x.new_zeros(x.size(1), w_hh.size(1))
    outputs = []
    for x_t in x:
        i, f, g, o = (x_t @ w_ih.T + h @ w_hh.T + bias).chunk(4, dim=-1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        outputs.append(h)
    return torch.stack(outputs)


# The story of the notebook


def test_the_notebooks_numbers():
    layer = nn.Linear(3, 2)
    nn.init.ones_(layer.weight)
    nn.init.ones_(layer.bias)
    drop = WeightDrop(layer, ["weight"], dropout=0.3, variational=True)
    rows = set()
    for _ in range(50):
        out = drop(torch.ones(2, 2, 3))
        assert out.shape == (2, 2, 2)
        assert (out == out[0, 0]).all()  # the same rows for every batch and time entry
        rows.add(tuple(round(value, 4) for value in out[0, 0].tolist()))
    assert rows == {(a, b) for a in (1.0, 5.2857) for b in (1.0, 5.2857)}


def test_locked_dropout_as_the_notebook_calls_it():
    out = LockedDropout()(torch.ones(3, 5, 3), dropout=0.5)
    assert set(out.unique().tolist()) == {0.0, 2.0}
    assert (out == out[:1]).all()


# Against references with the same mask


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (4 * H, H)),
        ({"variational": True}, (4 * H, 1)),
        ({"variational": True, "axis": "in"}, (1, H)),
    ],
)
def test_weight_drop_equals_an_lstm_written_from_scratch(options, shape):
    drop, x = drop_hh(**options), inputs()
    raw = dict(drop.module.named_parameters())
    out = drawing(2, lambda: drop(x)[0])
    mask = drawing(2, lambda: weight_drop(torch.ones(4 * H, H).double(), P, **options))
    assert (mask == mask[tuple(slice(size) for size in shape)]).all()
    assert set(mask.unique().tolist()) == {0.0, 1 / (1 - P)}

    leaves = {name: p.detach().clone().requires_grad_() for name, p in raw.items()}
    bias = leaves["bias_ih_l0"] + leaves["bias_hh_l0"]
    expected = lstm_from_scratch(x, leaves["weight_ih_l0"], leaves["weight_hh_l0"] * mask, bias)
    assert close(out, expected)
    out.square().sum().backward()
    expected.square().sum().backward()
    for name, leaf in leaves.items():
        assert close(raw[name].grad, leaf.grad), name


def test_dropping_columns_equals_one_mask_on_the_state_for_the_whole_batch():
    layer, h = nn.Linear(H, 3, dtype=torch.float64), torch.randn(T, B, H, dtype=torch.float64)
    mask = scaled_mask(1, H)
    columns = h @ weight_drop(layer.weight, P, True, axis="in", mask=mask).T
    assert close(columns, (h * mask) @ layer.weight.T)


@pytest.mark.parametrize(
    ("variational", "axis", "shape"),
    [(False, "out", (5, 3, 2)), (True, "out", (5, 1, 1)), (True, "in", (1, 3, 1))],
)
def test_weight_drop_uses_the_mask_it_is_given(variational, axis, shape):
    weight, mask = torch.randn(5, 3, 2, dtype=torch.float64, requires_grad=True), scaled_mask(*shape)
    dropped = weight_drop(weight, P, variational, axis=axis, mask=mask)
    assert close(dropped, weight * mask)
    dropped.sum().backward()
    assert close(weight.grad, mask.expand(5, 3, 2))


@pytest.mark.parametrize(("batch_first", "shape"), [(False, (1, B, D)), (True, (T, 1, D))])
def test_locked_dropout_uses_the_mask_it_is_given(batch_first, shape):
    x, mask = inputs().requires_grad_(), scaled_mask(*shape)
    out = locked_dropout(x, P, batch_first, mask=mask)
    assert close(out, x * mask)
    out.sum().backward()
    assert close(x.grad, mask.expand(T, B, D))


@pytest.mark.parametrize("options", [{}, {"padding_idx": 2}, {"scale_grad_by_freq": True}, {"sparse": True}])
def test_embedding_dropout_equals_a_look_up_in_masked_rows(options):
    weight = torch.randn(V, D, dtype=torch.float64)
    words, mask, c = torch.randint(V, (T, B)), scaled_mask(V, 1), torch.randn(T, B, D, dtype=torch.float64)
    words[0, 0] = 2
    ours, theirs = weight.clone().requires_grad_(), weight.clone().requires_grad_()
    out = embedding_dropout(words, ours, P, **options, mask=mask)
    expected = (theirs * mask)[words]
    assert close(out, expected)
    (out * c).sum().backward()
    (expected * c).sum().backward()
    grad = theirs.grad
    if options.get("padding_idx") is not None:
        grad[2] = 0
    if options.get("scale_grad_by_freq"):
        grad = grad / torch.bincount(words.flatten(), minlength=V).clamp(min=1)[:, None]
    assert ours.grad.is_sparse == options.get("sparse", False)
    assert close(ours.grad.to_dense(), grad)


def test_embedding_dropout_drops_a_word_wherever_it_stands():
    drop = EmbeddingDropout(nn.Embedding(V, D), 0.5)
    words = torch.arange(V).repeat(2, 3)
    ratio = drop(words) / drop.module(words)
    assert set(ratio.unique().tolist()) == {0.0, 2.0}
    by_word = ratio.view(6, V, D)
    assert (by_word == by_word[0, :, :1]).all()


def test_embedding_dropout_keeps_what_a_class_based_on_it_does():
    """As embeddings that scale what they look up; hooks run too."""

    class Scaled(nn.Embedding):
        def forward(self, words):
            return 8 * super().forward(words)

    embedding, words, seen = Scaled(V, D), torch.arange(V), []
    embedding.register_forward_hook(lambda *_: seen.append(1))
    drop = EmbeddingDropout(embedding, 0.5)
    ratio = drop(words) / embedding.weight
    assert set(ratio.unique().tolist()) == {0.0, 16.0} and seen == [1]
    assert torch.equal(drop.eval()(words), 8 * embedding.weight)


def test_embedding_dropout_keeps_max_norm_on_the_raw_rows():
    embedding = nn.Embedding(V, D, max_norm=1.0)
    nn.init.constant_(embedding.weight, 3.0)
    out = EmbeddingDropout(embedding, 0.5)(torch.arange(V))
    assert torch.allclose(embedding.weight.norm(dim=1), torch.ones(V), atol=1e-5)
    assert set(out.norm(dim=1).round(decimals=3).tolist()) == {0.0, 2.0}


def test_embedding_dropout_leaves_padding_at_zero_and_without_a_gradient():
    embedding = nn.Embedding(V, D, padding_idx=0)
    out = EmbeddingDropout(embedding, 0.5)(torch.tensor([0, 0, 3]))
    assert (out[:2] == 0).all()
    out.sum().backward()
    assert (embedding.weight.grad[0] == 0).all()


RNNS = [
    lambda: lstm(num_layers=2, bidirectional=True),
    lambda: lstm(bias=False, proj_size=3),
    lambda: nn.GRU(D, H, batch_first=True, dtype=torch.float64),
    lambda: nn.RNN(D, H, dtype=torch.float64),
]


@pytest.mark.parametrize("make", RNNS)
def test_every_rnn_equals_itself_with_masked_weights(make):
    rnn, x = make(), inputs()
    names = [name for name in rnn.state_dict() if name.startswith("weight_hh")]
    drop, reference = WeightDrop(rnn, names, P), copy.deepcopy(rnn)
    out = drawing(2, lambda: drop(x)[0])
    ones = {name: torch.ones_like(rnn.get_parameter(name)) for name in names}
    masks = drawing(2, lambda: {name: weight_drop(one, P) for name, one in ones.items()})
    for name, mask in masks.items():
        getattr(reference, name).data.mul_(mask)
    expected = reference(x)[0]
    assert close(out, expected)
    out.square().sum().backward()
    expected.square().sum().backward()
    for name, raw in rnn.named_parameters():
        assert close(raw.grad, reference.get_parameter(name).grad * masks.get(name, 1.0)), name


def test_arguments_and_results_pass_unchanged():
    drop, x = drop_hh(), inputs()
    state = (torch.ones(1, B, H).double(), torch.ones(1, B, H).double())
    by_name, (h, c) = drawing(2, lambda: drop(x, hx=state))
    by_place, _ = drawing(2, lambda: drop(x, state))
    assert torch.equal(by_name, by_place)
    assert not torch.equal(by_name, drawing(2, lambda: drop(x))[0])
    assert h.shape == c.shape == (1, B, H)
    packed = drop(pack_padded_sequence(x, torch.tensor([7, 6, 5, 5, 2])))[0]
    assert pad_packed_sequence(packed)[0].shape == (T, B, H)


def test_two_wrappers_give_two_rates():
    inner = WeightDrop(lstm(), ["weight_hh_l0"], 0.5)
    outer = WeightDrop(inner, ["weight_ih_l0"], 0.2)
    assert outer.state_dict().keys() == lstm().state_dict().keys()
    outer(inputs())[0].sum().backward()
    assert (inner.module.weight_hh_l0.grad == 0).any()
    assert all(p.grad is not None for p in outer.parameters())


# Acceptance tests: what other people's bugs teach


def modules() -> list:
    words = torch.arange(V).repeat(T, 1)
    linear = nn.Linear(D, H, dtype=torch.float64)
    return [
        pytest.param(drop_hh, inputs, id="dropconnect"),
        pytest.param(lambda: drop_hh(variational=True), inputs, id="rows"),
        pytest.param(lambda: drop_hh(variational=True, axis="in"), inputs, id="columns"),
        pytest.param(lambda: WeightDrop(linear, ["weight"], P), inputs, id="linear"),
        pytest.param(lambda: LockedDropout(P), inputs, id="locked"),
        pytest.param(lambda: EmbeddingDropout(nn.Embedding(V, D), P), lambda: words, id="embedding"),
    ]


def result(module: nn.Module, x: Tensor) -> Tensor:
    out = module(x)
    return out[0] if isinstance(out, tuple) else out


@pytest.mark.parametrize(("make", "data"), modules())
def test_1_evaluation_is_the_identity_and_repeatable(make, data):
    # awd-lstm-lm#72: the mask was still active at evaluation (training=True hard-coded)
    module, x = make().eval(), data()
    plain = getattr(module, "module", nn.Identity())
    assert torch.equal(result(module, x), result(plain, x))
    assert torch.equal(result(module, x), result(module, x))


@pytest.mark.parametrize(("make", "data"), modules())
def test_2_train_eval_train(make, data):
    # awd-lstm-lm#79, #114, #117: "cannot assign FloatTensor as parameter"
    module, x = make(), data()
    assert not torch.equal(result(module, x), result(module, x))
    module.eval()
    identity = result(module, x)
    assert torch.equal(identity, result(module, x))
    module.train()
    assert not torch.equal(result(module, x), identity)


def test_3_the_parameters_stay_parameters_of_the_wrapped_module():
    # pytorch#32346, awd-lstm-lm#86, #119: "LSTM has no attribute weight_hh_l0"
    rnn = lstm()
    before = dict(rnn.named_parameters())
    drop = WeightDrop(rnn, ["weight_hh_l0"], P)
    drop(inputs())[0].sum().backward()
    after = dict(rnn.named_parameters())
    assert list(before) == list(after)
    assert all(isinstance(p, nn.Parameter) and p is before[name] for name, p in after.items())
    assert {id(p) for p in drop.parameters()} == {id(p) for p in before.values()}
    assert drop.float().module.weight_hh_l0.dtype == torch.float32
    assert drop(inputs().float())[0].dtype == torch.float32


def test_3_the_parameters_are_restored_after_an_error():
    drop = drop_hh()
    raw = drop.module.weight_hh_l0
    with pytest.raises(RuntimeError, match="input_size"):
        drop(torch.ones(T, B, D + 1).double())
    assert drop.module.weight_hh_l0 is raw


@pytest.fixture
def kernel_calls(monkeypatch):
    """The weights of each call of the fused LSTM, with nn.LSTM packing its weights as it does for cuDNN."""
    calls: list[list[Tensor]] = []

    def pack(rnn: nn.LSTM) -> None:
        weights = rnn._flat_weights
        with torch.no_grad():
            buffer = torch.cat([w.flatten() for w in weights])
            pieces = buffer.split([w.numel() for w in weights])
            for w, piece in zip(weights, pieces, strict=True):
                w.set_(piece.view_as(w))  # in place, as torch._cudnn_rnn_flatten_weight does

    def kernel(x, hx, weights, *rest):
        calls.append(list(weights))
        return torch._VF.lstm(x, hx, weights, *rest)

    monkeypatch.setattr(nn.LSTM, "flatten_parameters", pack)
    monkeypatch.setattr(torch.nn.modules.rnn, "_VF", SimpleNamespace(lstm=kernel))
    return calls


@pytest.mark.parametrize("training", [True, False])
def test_4_the_kernel_gets_its_weights_in_one_buffer(kernel_calls, training):
    # pytorch#40193, awd-lstm-lm#120: non-contiguous weights, 317 s -> 3123 s an epoch
    drop = WeightDrop(lstm(num_layers=2), ["weight_hh_l0", "weight_hh_l1"], P)
    drop(inputs())
    drop.train(training)
    drop(inputs())
    weights = kernel_calls[-1]
    assert any((w == 0).any() for w in weights) == training
    assert len({w.untyped_storage().data_ptr() for w in weights}) == 1
    starts = [w.storage_offset() for w in weights]
    assert starts == [sum(w.numel() for w in weights[:i]) for i in range(8)]
    assert all(w.is_contiguous() for w in weights)


def test_4_packing_moves_copies_only_so_that_an_earlier_forward_can_still_go_backward(kernel_calls):
    drop, x = drop_hh(), inputs()
    drop(x)
    raw = dict(drop.module.named_parameters())
    addresses = [p.data_ptr() for p in raw.values()]
    loss = sum(drawing(seed, lambda: drop(x)[0]).square().sum() for seed in (1, 2))
    assert [p.data_ptr() for p in raw.values()] == addresses
    assert not any(isinstance(w, nn.Parameter) for w in kernel_calls[-1])
    with torch.no_grad():
        drop.eval()(x)  # the Parameters themselves are packed here
    loss.backward()

    leaves = {name: p.detach().clone().requires_grad_() for name, p in raw.items()}
    for seed in (1, 2):
        mask = drawing(seed, lambda: weight_drop(torch.ones(4 * H, H).double(), P))
        bias = leaves["bias_ih_l0"] + leaves["bias_hh_l0"]
        out = lstm_from_scratch(x, leaves["weight_ih_l0"], leaves["weight_hh_l0"] * mask, bias)
        out.square().sum().backward()
    for name, leaf in leaves.items():
        assert close(raw[name].grad, leaf.grad), name


@pytest.mark.parametrize(("make", "data"), [case for case in modules() if case.id != "locked"])
def test_5_the_gradient_reaches_the_raw_weight_which_a_forward_leaves_unchanged(make, data):
    # fastai#2591, Better_LSTM_PyTorch#7: masked in place, so that weights decay to zero
    module, x = make(), data()
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    versions = [p._version for p in module.parameters()]
    for _ in range(3):
        result(module, x)
    result(module, x).sum().backward()
    assert [p._version for p in module.parameters()] == versions
    for name, p in module.named_parameters():
        assert torch.equal(p, before[name])
        assert p.is_leaf
        assert p.grad is not None
        assert p.grad.abs().sum() > 0


def test_5_an_optimizer_moves_kept_weights_and_leaves_dropped_ones():
    drop, x = drop_hh(), inputs()
    raw = drop.module.weight_hh_l0
    before = raw.detach().clone()
    optimizer = torch.optim.SGD(drop.parameters(), lr=0.1)
    out = drawing(2, lambda: drop(x)[0])
    mask = drawing(2, lambda: weight_drop(torch.ones_like(raw), P))
    out.square().sum().backward()
    optimizer.step()
    assert torch.equal(raw != before, mask != 0)
    for _ in range(20):
        optimizer.zero_grad()
        drop(x)[0].square().sum().backward()
        optimizer.step()
    drop.eval()
    assert drop(x)[0].square().sum() < out.square().sum()


@pytest.mark.parametrize(
    ("plain", "wrap"),
    [
        (lstm, lambda m: WeightDrop(m, ["weight_hh_l0"], P)),
        (lambda: nn.Linear(3, 2), lambda m: WeightDrop(m, ["weight"], P)),
        (lambda: nn.Embedding(V, D), EmbeddingDropout),
        (lambda: nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)), lambda m: WeightDrop(m, ["0.weight"], P)),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_6_state_dict_passes_strictly_between_plain_and_wrapped(plain, wrap, nested):
    # awd-lstm-lm#99, fastai#2511, #2246: keys such as module.weight_hh_l0_raw

    def model(layer: nn.Module) -> nn.Module:
        return nn.ModuleDict({"rnn": layer, "module": nn.Linear(2, 2)}) if nested else layer

    without, with_dropout, another = model(plain()), model(wrap(plain())), model(wrap(plain()))
    assert list(with_dropout.state_dict()) == list(without.state_dict())
    for source, target in [(without, with_dropout), (with_dropout, another), (another, model(plain()))]:
        target.load_state_dict(source.state_dict(), strict=True)
        for (name, a), b in zip(source.state_dict().items(), target.state_dict().values(), strict=True):
            assert torch.equal(a, b), name
    kept: list[Any] = [module.state_dict() for module in (with_dropout, without)]
    assert kept[0]._metadata == kept[1]._metadata


def test_6_strict_means_strict():
    drop = drop_hh()
    state = lstm().state_dict()
    del state["bias_hh_l0"]
    with pytest.raises(RuntimeError, match=r"Missing key.*bias_hh_l0"):
        drop.load_state_dict(state)
    with pytest.raises(RuntimeError, match=r"Unexpected key.*stranger"):
        drop.load_state_dict(lstm().state_dict() | {"stranger": torch.ones(1)})
    given = lstm().state_dict()
    keys = list(given)
    drop.load_state_dict(given)
    assert list(given) == keys  # the caller's own dict is left alone


def save_and_load(module: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("clone", [copy.deepcopy, save_and_load, lambda m: pickle.loads(pickle.dumps(m))])
@pytest.mark.parametrize(("make", "data"), modules())
def test_7_copies_and_pickles_work_alone(clone, make, data):
    # PyTorch-NLP#77, awd-lstm-lm#12
    module, x = make(), data()
    result(module, x)  # copied after a training forward, when its graph may still be about
    twin = clone(module)
    assert torch.equal(drawing(2, lambda: result(module, x)), drawing(2, lambda: result(twin, x)))
    originals = {p.data_ptr() for p in module.parameters()}
    assert not originals & {p.data_ptr() for p in twin.parameters()}
    assert repr(twin) == repr(module)


@pytest.mark.parametrize(("make", "data"), modules())
def test_7_data_parallel_replicas_work_and_share_the_gradient(monkeypatch, make, data):
    module, x = make(), data()
    assert result(nn.DataParallel(module), x).shape == result(module, x).shape

    def copies(tensors, devices, detach=False):  # what Broadcast does between GPUs
        return [[t.clone() for t in tensors] for _ in devices]

    replicate = sys.modules["torch.nn.parallel.replicate"]
    monkeypatch.setattr(replicate, "_broadcast_coalesced_reshape", copies)
    first, second = replicate.replicate(module, [0, 1])
    out = drawing(2, lambda: result(first, x))
    assert torch.equal(out, drawing(2, lambda: result(module, x)))
    assert not torch.equal(result(second, x), out)  # each draws its own mask
    if list(module.parameters()):
        torch.autograd.backward([out.sum(), result(second, x).sum()])
        assert all(p.grad.abs().sum() > 0 for p in module.parameters())


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_7_compiles_into_one_graph(backend):
    torch._dynamo.reset()
    model = nn.Sequential(
        EmbeddingDropout(nn.Embedding(V, D), P),
        LockedDropout(P),
        WeightDrop(nn.Linear(D, H), ["weight"], P, variational=True),
    )
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    words = torch.randint(V, (T, B))
    out = compiled(words)
    assert not torch.equal(out, compiled(words))
    out.square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    assert isinstance(model[2].module.weight, nn.Parameter)
    model.eval()
    assert torch.allclose(compiled(words), model(words))


class Tagger(nn.Module):
    def __init__(self, rnn: nn.Module):
        super().__init__()
        self.before, self.rnn = nn.Linear(D, D, dtype=torch.float64), rnn

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(self.before(x).relu())[0].square()


# torch hides this warning of its own graph breaks itself, but not where warnings are errors.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_7_compiles_around_an_lstm(backend):
    torch._dynamo.reset()
    model, x = Tagger(drop_hh()), inputs()
    compiled = torch.compile(model, backend=backend)
    compiled(x)
    out = drawing(2, lambda: compiled(x))
    assert close(out, drawing(2, lambda: model(x)))
    out.sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in model.parameters())
    model.eval()
    assert close(compiled(x), model(x))
    model.train()
    assert not torch.equal(compiled(x), compiled(x))


@pytest.mark.parametrize("batch_first", [False, True])
def test_8_the_locked_mask_is_constant_over_time_and_varies_over_the_batch(batch_first):
    # PyTorch-NLP#71: tied along the wrong axis
    out = LockedDropout(0.5, batch_first)(torch.ones(9, 8, 16))
    if batch_first:
        out = out.transpose(0, 1)
    assert (out == out[:1]).all()
    assert len({tuple(row) for row in out[0].tolist()}) == out.size(1)


def test_9_masks_of_each_gate_and_masks_shared_by_gates_are_both_there_and_named():
    # keras PR#20656, #20663, tensorflow#35724
    ones = torch.ones(4 * H, H)
    rows = weight_drop(ones, 0.5, True, axis="out").view(4, H, H)
    columns = weight_drop(ones, 0.5, True, axis="in").view(4, H, H)
    assert (rows == rows[..., :1]).all()  # all that enters a unit's gate
    assert not (rows == rows[:1]).all()  # each gate its own
    assert (columns == columns[:1, :1]).all()  # one unit of h(t-1), for all gates
    assert set(columns.unique().tolist()) == {0.0, 2.0}


@pytest.mark.parametrize(("make", "data"), modules())
def test_10_masks_are_redrawn_at_every_training_forward(make, data):
    # tensorflow#29391
    module, x = make(), data()
    outputs = [result(module, x) for _ in range(4)]
    assert not any(torch.equal(a, b) for i, a in enumerate(outputs) for b in outputs[:i])


def test_11_the_scaling_does_not_compound_over_time():
    # tensorflow#11650; these modules never touch the memory cell, so what is left is the sequence
    out = LockedDropout(0.5)(torch.ones(100, 2, 8))
    assert set(out[-1].unique().tolist()) == {0.0, 2.0}


def test_12_the_fused_kernel_is_called_once_a_forward(kernel_calls):
    # tensorflow#38236, keras#8935, #19644: about 25 times slower without it
    drop_hh()(inputs())
    assert len(kernel_calls) == 1


# Rates, names, axes


@pytest.mark.parametrize(
    ("drop", "shape"),
    [
        (lambda x: weight_drop(x, 0.3), (400, 100)),
        (lambda x: weight_drop(x, 0.3, True), (40000, 1)),
        (lambda x: locked_dropout(x, 0.3), (1, 400, 100)),
        (lambda x: embedding_dropout(torch.arange(40000), x, 0.3), (40000, 1)),
    ],
)
def test_the_rate_is_met_and_the_mean_is_kept(drop, shape):
    out = drop(torch.ones(shape, dtype=torch.float64))
    assert abs((out == 0).double().mean() - 0.3) < 0.02
    assert abs(out.mean() - 1) < 0.03
    assert close(out[out != 0], torch.tensor(1 / 0.7).double())


def test_a_rate_of_zero_draws_nothing():
    x, drop = inputs(), WeightDrop(lstm(), ["weight_hh_l0"])
    state = torch.get_rng_state()
    assert torch.equal(drop(x)[0], drop.module(x)[0])
    assert LockedDropout()(x) is x
    assert weight_drop(x, 0.0) is x
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("p", [-0.1, 1.0, 1.5, float("nan")])
def test_rates_outside_the_range_are_refused(p):
    x = inputs()
    for call in (
        lambda: WeightDrop(lstm(), ["weight_hh_l0"], p),
        lambda: LockedDropout(p),
        lambda: LockedDropout()(x, dropout=p),
        lambda: EmbeddingDropout(nn.Embedding(V, D), p),
        lambda: weight_drop(x, p, training=False),
        lambda: locked_dropout(x, p),
        lambda: embedding_dropout(torch.tensor([0]), x[0], p),
    ):
        with pytest.raises(ValueError, match=r"\[0, 1\)"):
            call()


def test_an_unknown_name_is_refused_with_the_valid_ones():
    with pytest.raises(ValueError, match=r"LSTM has no weight 'weight_hh'. Did you mean 'weight_hh_l0'\?") as error:
        WeightDrop(lstm(), ["weight_hh"], P)
    assert str(error.value).endswith("Valid: weight_ih_l0 weight_hh_l0 bias_ih_l0 bias_hh_l0")
    with pytest.raises(ValueError, match="at least one"):
        WeightDrop(lstm(), [], P)


def test_one_name_may_come_without_a_list():
    assert WeightDrop(lstm(), "weight_hh_l0", P).weights == ("weight_hh_l0",)


def test_axes_that_do_not_fit_are_refused():
    layer = nn.Linear(3, 2)
    with pytest.raises(ValueError, match="'out' or 'in'; got 'rows'"):
        WeightDrop(layer, ["weight"], P, True, axis="rows")
    with pytest.raises(ValueError, match=r"\(2,\) has no axis 'in'"):
        WeightDrop(layer, ["bias"], P, True, axis="in")
    with pytest.raises(ValueError, match="needs variational=True"):
        WeightDrop(layer, ["weight"], P, axis="in")


def test_shapes_that_do_not_fit_are_refused():
    x = inputs()
    with pytest.raises(ValueError, match="three axes"):
        LockedDropout(P)(x[0])
    with pytest.raises(ValueError, match=r"must have shape \(1, 5, 4\); got \(7, 5, 4\)"):
        locked_dropout(x, P, mask=torch.ones_like(x))
    with pytest.raises(ValueError, match=r"must have shape \(5, 1\)"):
        weight_drop(x[0], P, True, mask=torch.ones(5))
    with pytest.raises(TypeError, match=r"nn\.Embedding; got Linear"):
        EmbeddingDropout(nn.Linear(2, 2))


def test_a_given_mask_is_off_at_evaluation_too():
    x = inputs()
    assert locked_dropout(x, P, training=False, mask=torch.zeros(1, B, D)) is x
    assert weight_drop(x, P, training=False, mask=torch.zeros_like(x)) is x
    vectors = embedding_dropout(torch.arange(B), x[0], P, training=False, mask=torch.zeros(B, 1))
    assert torch.equal(vectors, x[0])


def test_repr_says_the_settings():
    assert "weights=['weight_hh_l0'], dropout=0.4\n" in repr(drop_hh())
    assert "variational=True, axis='in'" in repr(drop_hh(variational=True, axis="in"))
    assert repr(LockedDropout(0.5)) == "LockedDropout(dropout=0.5, batch_first=False)"


def test_importing_the_modules_brings_in_torch_alone():
    code = (
        "import sys, rnndrop.dropout.modules as m;"
        "assert 'torch._dynamo' not in sys.modules;"
        "ours = {n for n in sys.modules if n.startswith('rnndrop.')};"
        "assert ours == {'rnndrop.dropout', 'rnndrop.dropout.functional', 'rnndrop.dropout.modules'}, ours"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
