"""The compiled kernels against the same computation in PyTorch: all that they replace, in both product types."""

from __future__ import annotations

import contextlib
import importlib.util
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from seq2seq.inference.prepared import _gates
from seq2seq.nn import kernels, loss
from seq2seq.nn.attention import attend, attentive_gru
from seq2seq.nn.functional import dropout, log_softmax
from seq2seq.nn.gru import compiled_step, gru_sequence
from seq2seq.nn.loss import output_cross_entropy
from seq2seq.nn.product import Product, StackedProduct

compiled = pytest.mark.skipif(kernels.description() != "compiled", reason=f"kernels: {kernels.description()}")
T, D, B, H, S, A, C = 6, 2, 9, 37, 11, 29, 31
# of the largest number in a result: float32 sums in another order; bfloat16 inputs that round the other way
CLOSE = {torch.float32: 2e-5, torch.bfloat16: 2e-2}


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Two, and for sizes as small as these: rows are shared out."""
    before, least = torch.get_num_threads(), kernels.THREADED
    torch.set_num_threads(2)
    kernels.THREADED = 1
    yield
    torch.set_num_threads(before)
    kernels.THREADED = least


def _random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def _near(results: list[Tensor], expected: list[Tensor], dtype: torch.dtype) -> None:
    for mine, other in zip(results, expected, strict=True):
        assert mine.dtype == other.dtype and mine.shape == other.shape
        assert float((mine - other).abs().max()) <= CLOSE[dtype] * max(float(other.abs().max()), 1e-3)


def _results(function, arguments: list[Tensor], ups: tuple[Tensor, ...], dtype: torch.dtype) -> list[Tensor]:
    leaves = [x.clone().requires_grad_() for x in arguments]
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        outputs = function(*leaves)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    torch.autograd.backward(outputs[: len(ups)], ups)
    return [x.detach() for x in outputs] + [x.grad for x in leaves]


@compiled
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("sizes", [(37, 29, 31), (32, 64, 96)], ids=["odd", "tiles"])  # H, A, C
class TestRecurrence:
    def test_gru_in_two_directions(
        self, dtype: torch.dtype, masked: bool, reset_after: bool, sizes: tuple[int, ...]
    ) -> None:
        H = sizes[0]
        mask = F.dropout(torch.ones(D, B, H), 0.3) if masked else None
        # as the encoder gives them: not one row after the other
        terms = _random(T, B, D, 3 * H).transpose(1, 2)
        arguments = [terms, 0.5 * _random(D, B, H), 0.2 * _random(D, 3 * H, H), _random(D, H)]
        ups = (_random(T, D, B, H),)
        mine = _results(lambda *a: gru_sequence(*a, mask, reset_after), arguments, ups, dtype)
        with kernels.without():
            expected = _results(lambda *a: gru_sequence(*a, mask, reset_after), arguments, ups, dtype)
        _near(mine, expected, dtype)

    @pytest.mark.parametrize("with_terms", [False, True])
    def test_gru_with_attention(
        self, dtype: torch.dtype, masked: bool, reset_after: bool, with_terms: bool, sizes: tuple[int, ...]
    ) -> None:
        H, A, C = sizes
        mask = F.dropout(torch.ones(B, H), 0.3) if masked else None
        lengths = torch.tensor([S, 1, 2, 3, 5, S, 7, 8, 4])
        bias = torch.zeros(B, S).masked_fill_(torch.arange(S) >= lengths[:, None], -torch.inf)
        shapes = ((T, B, 3 * H), (B, H), (B, S, A), (B, S, C), (A,), (A, H), (3 * H, C), (3 * H, H), (H,), (T, B, A))
        arguments = [0.4 * _random(*shape) for shape in shapes[: len(shapes) if with_terms else -1]]

        def run(x: Tensor, h: Tensor, keys: Tensor, values: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
            terms = rest[5] if with_terms else None
            if dtype == torch.bfloat16:  # as products under autocast give them
                x, terms = x.bfloat16(), None if terms is None else terms.bfloat16()
            return attentive_gru(x, h, keys, values, bias, *rest[:5], mask, reset_after, terms)

        ups = (_random(T, B, H), _random(T, B, C))
        mine = _results(run, arguments, ups, dtype)
        with kernels.without():
            expected = _results(run, arguments, ups, dtype)
        _near(mine, expected, dtype)


@compiled
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("with_shares", [False, True])
def test_cross_entropy(monkeypatch, dtype: torch.dtype, with_shares: bool) -> None:
    monkeypatch.setattr(loss, "LEAST_ROWS", 32)
    monkeypatch.setitem(loss.CHUNK_LOGITS, "compiled", 32 * 53)  # three chunks, one half full
    labels = torch.arange(75) % 53
    shares = torch.linspace(-1, 2, 75) if with_shares else None
    arguments = [3 * _random(75, 16), _random(53, 16), _random(53)]

    def run(*a: Tensor) -> Tensor:
        return output_cross_entropy(*a, labels, 0.1, shares=shares)

    mine = _results(run, arguments, (torch.tensor(0.7),), dtype)
    with kernels.without():
        expected = _results(run, arguments, (torch.tensor(0.7),), dtype)
    _near(mine, expected, dtype)
    if dtype == torch.float32 and not with_shares:
        logits = arguments[0] @ arguments[1].t() + arguments[2]
        plain = F.cross_entropy(logits, labels, label_smoothing=0.1, reduction="sum")
        assert float(mine[0]) == pytest.approx(float(plain), rel=1e-5)


@compiled
def test_cross_entropy_of_what_is_far_from_likely() -> None:
    """Where float32 has no exponential left the log probability is exact all the same."""
    hidden, weight, bias = torch.full((2, 1), 300.0), torch.tensor([[1.0], [0.0], [-1.0]]), torch.zeros(3)
    assert float(output_cross_entropy(hidden, weight, bias, torch.tensor([2, 0]), 0.0)) == pytest.approx(600.0)


@compiled
def test_dropout_draws_the_same() -> None:
    x, up = _random(5, 7, 11), _random(5, 7, 11)
    found = []
    for context in (contextlib.nullcontext(), kernels.without()):
        torch.manual_seed(3)
        with context:
            found.append(_results(lambda x: dropout(x, 0.3, training=True), [x], (up,), torch.float32))
    for mine, expected in zip(*found, strict=True):
        assert torch.allclose(mine, expected)
    assert 0.2 < float((found[0][0] == 0).float().mean()) < 0.4


@compiled
def test_what_is_no_number_stays_none() -> None:
    """A training that diverges must be noticed."""
    x = _random(T, D, B, 3 * H)
    x[2, 1, 3, 0] = torch.nan
    states = gru_sequence(x, torch.zeros(D, B, H), _random(D, 3 * H, H), torch.zeros(D, H))
    assert states[2:, 1, 3].isnan().any(-1).all()
    assert not states[:, :, :3].isnan().any() and not states[:2].isnan().any()
    hidden = _random(5, 4)
    hidden[1, 1] = torch.nan
    assert output_cross_entropy(hidden, _random(6, 4), torch.zeros(6), torch.arange(5), 0.1).isnan()


@compiled
def test_exponentials_over_the_whole_range() -> None:
    """Gates of inputs from -200 to 200: within one or two roundings of float64."""
    x = torch.linspace(-200, 200, 3 * 999).view(1, 3, 999).transpose(1, 2).reshape(1, -1)
    zero = torch.zeros(1, 999)
    mine = compiled_step(x, torch.zeros(1, 3 * 999), zero + 0.5).double()
    _, z, n = x.double().view(3, 999)
    expected = (1 - torch.sigmoid(z)) * torch.tanh(n) + torch.sigmoid(z) * 0.5
    assert float((mine[0] - expected).abs().max()) < 3e-7


@compiled
@pytest.mark.parametrize("hypotheses", [1, 3])
def test_attention_of_hypotheses(hypotheses: int) -> None:
    lengths = torch.tensor([S, 1, 4])
    bias = torch.zeros(3, S).masked_fill_(torch.arange(S) >= lengths[:, None], -torch.inf)
    query = _random(3 * hypotheses, A + 5)[:, :A]  # a part of a larger product
    arguments = query, _random(3, S, A), _random(3, S, C), _random(A), bias
    context, weights = attend(*arguments, lengths)
    expected = attend(*arguments)
    assert torch.allclose(context, expected[0], atol=1e-6) and torch.allclose(weights, expected[1], atol=1e-6)
    assert not weights[bias.repeat_interleave(hypotheses, 0) < 0].any()
    assert torch.allclose(weights.sum(-1), torch.ones(len(query)))


@compiled
def test_gates_of_hypotheses() -> None:
    x, recurrent, h = _random(7, 3 * H + 4)[:, : 3 * H], _random(7, 3 * H + 5), _random(7, H).tanh()
    mine = _gates(x, recurrent, h, None)
    with kernels.without():
        assert torch.allclose(mine, _gates(x, recurrent.clone(), h, None), atol=1e-6)


@compiled
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.int8])
@pytest.mark.parametrize("bound", [None, 1.5])
def test_products(dtype: torch.dtype, bound: float | None) -> None:
    weight, bias, x = _random(40, 24), _random(40), 1.5 * _random(16, 30)[:, :24].clamp(-1, 1)
    product = Product(weight, bias, dtype=dtype, bound=bound)
    rows = _random(16, 50)[:, 5:45]  # a part of a larger one
    mine = product(x), product(x, rows)
    with kernels.without():
        expected = product(x), product(x, rows)
    for one, other in zip(mine, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    assert torch.equal(product(x[2:4])[0], mine[0][2])  # whatever is beside it


@compiled
def test_log_softmax_of_rows() -> None:
    logits = 20 * _random(9, 60)
    logits[0, 5:50], logits[1, 3] = -torch.inf, torch.nan
    for part in (logits, logits[:, :40]):
        assert torch.allclose(log_softmax(part), torch.log_softmax(part, -1), atol=2e-5, equal_nan=True)
    assert log_softmax(logits.bfloat16()).dtype == torch.float32


@compiled
def test_products_side_by_side() -> None:
    product = StackedProduct(_random(2, 40, 24), _random(2, 40), dtype=torch.int8, bound=1.0)
    x = _random(2, 5, 24).tanh()
    mine = product(x)
    with kernels.without():
        assert torch.allclose(mine, product(x), atol=1e-6)


@compiled
def test_one_thread_and_two_agree_to_the_bit() -> None:
    arguments = [_random(T, D, B, 3 * H), _random(D, B, H), 0.2 * _random(D, 3 * H, H), _random(D, H)]
    two = _results(gru_sequence, arguments, (_random(T, D, B, H),), torch.float32)
    kernels.THREADED = 1 << 30
    for mine, other in zip(_results(gru_sequence, arguments, (_random(T, D, B, H),), torch.float32), two, strict=True):
        assert torch.equal(mine, other)


def test_without_is_for_one_thread_and_ends() -> None:
    states, found = torch.zeros(1), []
    whether = kernels.usable(states, torch.float32)
    with kernels.without():
        other = threading.Thread(target=lambda: found.append(kernels.usable(states, torch.float32)))
        other.start()
        other.join()
        with kernels.without():
            assert not kernels.usable(states, torch.float32)
        assert not kernels.usable(states, torch.float32)
    assert found == [whether] and kernels.usable(states, torch.float32) == whether


def test_other_types_go_another_way() -> None:
    assert not kernels.usable(torch.zeros(1, dtype=torch.float64), torch.float64)
    assert not kernels.usable(torch.zeros(1), torch.float16)
    assert not kernels.usable(torch.zeros(1, device="meta"), torch.float32)


@contextlib.contextmanager
def _loaded_again() -> Iterator[None]:
    kernels._load.cache_clear()
    try:
        yield
    finally:
        kernels._load.cache_clear()


def test_a_library_of_another_version_is_left_alone(monkeypatch) -> None:
    monkeypatch.delenv("SEQ2SEQ_KERNELS", raising=False)
    with _loaded_again():
        expected = "not compiled" if kernels.description().startswith("not") else "compiled from another version"
    with monkeypatch.context() as patch, _loaded_again():
        patch.setattr(kernels, "INTERFACE", -1)
        assert kernels.description().startswith(expected)
        assert not kernels.usable(torch.zeros(1), torch.float32)


def test_a_library_that_is_missing_or_broken(monkeypatch, tmp_path: Path) -> None:
    with monkeypatch.context() as patch, _loaded_again():
        patch.delenv("SEQ2SEQ_KERNELS", raising=False)
        patch.setattr("importlib.util.find_spec", lambda name: None)
        assert kernels.description().startswith("not compiled")
        kernels._load.cache_clear()
        (tmp_path / "kernels.so").write_bytes(b"no library")
        broken = type("Spec", (), {"origin": str(tmp_path / "kernels.so")})
        patch.setattr("importlib.util.find_spec", lambda name: broken)
        assert kernels.description().startswith("cannot be loaded")
        assert not kernels.usable(torch.zeros(1), torch.float32)


def test_both_sides_have_the_same_structures() -> None:
    """Fields in the same order: a structure read askew would read other memory."""
    folder = Path(kernels.__file__).parent
    structures = re.findall(r"typedef struct \{(.*?)\} (\w+);", (folder / "kernels.h").read_text("utf-8"), re.DOTALL)
    names = {"Recurrence", "Attention", "CrossEntropy", "Dropout", "Rows", "TileProduct", "DecoderStep", "Largest"}
    assert {name for _, name in structures} == names
    kinds = {"int64_t": "c_long", "float": "c_float", "*": "c_void_p"}
    for body, name in structures:
        fields = []
        for declaration in re.findall(r"([^;]+);", re.sub(r"/\*.*?\*/", "", body, flags=re.DOTALL)):
            kind = "*" if "*" in declaration else declaration.split()[0]
            names = re.sub(r"^\s*(const )?\w+\s*\*?", "", declaration).split(",")
            fields += [(field.strip(" *"), kinds[kind]) for field in names]
        mine = [(field, kind.__name__) for field, kind in getattr(kernels, name)._fields_]
        assert mine == fields, name
    assert f"\n    {kernels.INTERFACE}, sizeof(Recurrence)" in (folder / "kernels.c").read_text("utf-8")


@compiled
def test_the_library_is_of_this_source() -> None:
    """One that was left by an earlier installation would be tested in its place."""
    library = Path(importlib.util.find_spec("seq2seq.nn._kernels").origin)
    for source in Path(kernels.__file__).parent.glob("*.[ch]"):
        assert library.stat().st_mtime >= source.stat().st_mtime, "pip install -e . again"


@compiled
def test_labels_outside_of_the_vocabulary() -> None:
    for label in (-1, 6):
        with pytest.raises(IndexError, match="of 6 pieces"):
            output_cross_entropy(_random(5, 4), _random(6, 4), torch.zeros(6), torch.full((5,), label), 0.1)


def test_the_environment_turns_them_off(monkeypatch) -> None:
    with monkeypatch.context() as patch, _loaded_again():
        patch.setenv("SEQ2SEQ_KERNELS", "0")
        assert kernels.description().startswith("turned off")
        assert not kernels.usable(torch.zeros(1), torch.float32)
