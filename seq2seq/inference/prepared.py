"""A translation model made ready for decoding: weights fused and cast once, look-ups in the place of products.

What a step computes is `TranslationModel.step`; how it does so:

- Of each piece, the share that its embedding has in the GRU's input and in the readout is in a table: a row look-up.
- The state meets one matrix (attention query and recurrent terms), the context another (GRU input and readout).
- Products are in the type asked for, without autocast, whose bookkeeping costs more than a small operation.

Shapes: B sentences, rows = B * K hypotheses, S source length, E embedding, H state, C context, A attention, R readout
before its nonlinearity, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from seq2seq.inference.prepared_encoder import PreparedEncoder
from seq2seq.nn.attention import attend
from seq2seq.nn.decoder import Decoder, DecoderState, Memory
from seq2seq.nn.embedding import embedding_scale
from seq2seq.nn.functional import tanh_
from seq2seq.nn.gru import GRULayer, compiled_step, state_weight
from seq2seq.nn.kernels import TILES, DecoderStep, Kernel, usable
from seq2seq.nn.product import Product
from seq2seq.nn.translator import TranslationModel

# Numbers in the table of embeddings' shares; a model that needs more computes them at each step.
TABLE_NUMBERS = 60_000_000

# Logits that two cores' nearest caches hold between the product and the search for the largest.
NEAR_LOGITS = 600_000


class PreparedModel:
    """What `search` needs of a model, for decoding alone; a copy of the weights as they are when it is made."""

    @torch.no_grad()
    def __init__(self, model: TranslationModel, precision: torch.dtype = torch.float32, table: bool = True) -> None:
        """Prepares the products.

        Args:
            model: In evaluation mode.
            precision: Of products: float32 (which stands for the model's own type), bfloat16 or int8.
            table: Whether to compute what all pieces' embeddings give, which one batch alone does not pay for.
        """
        products = model.output_bias.dtype if precision == torch.float32 else precision
        self.attention = model.decoder.attention
        self.encoder = PreparedEncoder(model.encoder, products)
        source = model.source_embedding or model.target_embedding
        self.source_embedding = source.weight.detach() * embedding_scale(model.config)
        # states lie in (-1, 1), and the encoder's residual connections add them up
        self.context_bound = float(model.config.encoder_layers) if self.attention else 1.0
        self.attends_embedding = model.decoder.attends_embedding
        if self.attends_embedding:
            self.context_bound = max(self.context_bound, float(self.source_embedding.abs().max()))
        self._prepare_memory(model.decoder, products)
        self._prepare_recurrence(model.decoder, products)
        self._prepare_embedding(model, products, table)
        self.upper = [
            _Upper(layer, products, max(1.0 + i, self.context_bound))
            for i, layer in enumerate(model.decoder.upper)
            if isinstance(layer, GRULayer)
        ]
        self.maxout = model.config.readout == "maxout"
        of_state = model.decoder.readout.weight[:, : model.decoder.gru.size]
        self.from_output = Product(of_state, dtype=products, bound=1.0 + len(self.upper))
        bound = None if self.maxout else 1.0
        scaled = model.config.readout_scale * model.output_weight
        self.output = Product(scaled, model.output_bias, dtype=products, bound=bound)
        self.compiled = self._prepare_step(model.decoder)

    def _prepare_step(self, decoder: Decoder) -> dict[str, Any] | None:
        """What `kernels.DecoderStep` holds of the model; None where not all of a step is in compiled code."""
        tiles = [part.tiles for part in (self.from_state, self.from_context, self.from_output, self.output)]
        usual = self.attention and self.inner is None and not self.upper and not self.maxout
        if not usual or self.table is None or any(part is None for part in tiles):
            return None
        packed = [part.packed for part in tiles if part is not None]
        names = ("from_state", "from_context", "from_output", "output")
        return dict(
            size=decoder.gru.size, width=self.width, context=self.from_context.inputs, read=self.output.inputs,
            vocabulary=len(self.output.bias), columns=self.table.shape[1], table=self.table, v=self.score.contiguous(),
            state_bias=self.from_state.bias, output_bias=self.output.bias, **dict(zip(names, packed, strict=True)),
        )  # fmt: skip

    def _prepare_memory(self, decoder: Decoder, products: torch.dtype) -> None:
        """What runs once a sentence."""
        if decoder.attention:
            key, bound = decoder.key, self.context_bound
            self.key = Product(2 * key.weight, 2 * key.bias, dtype=products, bound=bound)
        else:
            self.summarize = Product(decoder.summarize.weight, decoder.summarize.bias, dtype=products, bound=1.0)
        self.initial = Product(decoder.initial.weight, decoder.initial.bias, dtype=products, bound=1.0)

    def _prepare_recurrence(self, decoder: Decoder, products: torch.dtype) -> None:
        """The products of the state: doubled query, if any, and recurrent terms."""
        whole, bias, inner = _recurrent(decoder.gru)
        if decoder.attention:
            self.width = decoder.query.shape[0]
            whole, bias = torch.cat((2 * decoder.query, whole)), torch.cat((bias.new_zeros(self.width), bias))
            self.score = 2 * decoder.score.detach()
        self.from_state = Product(whole, bias, dtype=products, bound=1.0)
        self.inner = None if inner is None else Product(inner, dtype=products, bound=1.0)

    def _prepare_embedding(self, model: TranslationModel, products: torch.dtype, table: bool) -> None:
        """What context and embedding give to the GRU's input and to the readout: one product, one table."""
        decoder, split = model.decoder, model.config.embedding_size
        gru, context = decoder.gru, decoder.gru.weight_input.shape[-1] - split
        input_embedding, input_context = gru.weight_input[0].split((split, context), -1)
        _, of_context, of_embedding = decoder.readout.weight.split((gru.size, context, split), -1)
        both = torch.cat((input_context, of_context))  # (3H + R, C)
        # a context is a mean and far below its bound: with a step of its own its rounding errors halve
        self.from_context = Product(both, dtype=products)
        weights, biases = [input_embedding, of_embedding], [gru.bias_input[0], decoder.readout.bias]  # (3H + R, E)
        self.given_split: int | None = None
        if decoder.attention and decoder.query_token is not None:  # A columns more
            self.given_split = len(both)
            weights.append(2 * decoder.query_token)
            biases.append(biases[0].new_zeros(self.width))
        weight, bias = torch.cat(weights), torch.cat(biases)
        self.embedding = model.target_embedding.weight.detach() * embedding_scale(model.config)
        self.table: Tensor | None = None  # (V, 3H + R [+ A])
        if table and len(self.embedding) * len(weight) <= TABLE_NUMBERS:
            self.table = torch.addmm(bias, self.embedding, weight.t())
        else:
            bound = max(float(self.embedding.abs().max()), 1e-6)
            self.from_embedding = Product(weight, bias, dtype=products, bound=bound)

    def encode(self, source: Tensor, source_lengths: Tensor) -> Memory:
        """Memory of B sentences from ids (B, S), padded, and lengths (B,)."""
        batch, steps = source.shape
        embedded = self.source_embedding.index_select(0, source.t().flatten()).view(steps, batch, -1)
        states, last, first = self.encoder(embedded, source_lengths)
        padding = torch.arange(steps, device=source.device) >= source_lengths[:, None]
        bias = states.new_zeros(batch, steps).masked_fill_(padding, -torch.inf)
        if not self.attention:
            nothing, summary = states.new_empty(batch, 0, 0), self.summarize(torch.cat((last, first), -1)).tanh_()
            # what the one context gives to every step takes the place of the states, which no step reads
            return Memory(self.from_context(summary)[:, None], nothing, bias, summary, source_lengths)
        if self.attends_embedding:
            states = torch.cat((states, embedded), -1)
        values = states.transpose(0, 1).contiguous()
        keys = self.key(values.flatten(0, 1)).view(batch, steps, -1)
        return Memory(values, keys, bias, first, source_lengths)

    def initial_state(self, memory: Memory) -> DecoderState:
        """State before the first piece, one row a sentence; all layers start from the same vector."""
        hidden = self.initial(memory.summary).tanh_()
        return DecoderState(hidden, hidden[:, None].expand(-1, len(self.upper), -1))

    def step(self, tokens: Tensor, state: DecoderState, memory: Memory) -> tuple[Tensor, DecoderState, Tensor | None]:
        """Logits (rows, V), next state and attention weights (rows, S) or None; see `TranslationModel.step`."""
        if self.compiled is not None and _fits(tokens, state, memory, self.compiled["vocabulary"]):
            logits = state.hidden.new_empty(len(tokens), self.compiled["vocabulary"])
            return logits, *self._compiled_step(self.compiled, tokens, state, memory, logits=logits)
        h, weights = state.hidden, None
        size, hypotheses = h.shape[-1], len(tokens) // memory.size
        recurrent = self.from_state(h)  # (rows, A + 3H) or (rows, A + 2H)
        given = self._given(tokens)  # (rows, 3H + R [+ A])
        if self.attention:
            query = recurrent[:, : self.width]
            if self.given_split is not None:
                query, given = query + given[:, self.given_split :], given[:, : self.given_split]
            # a sentence alone has no padding
            bias = memory.bias if memory.size > 1 else None
            context, weights = attend(query, memory.keys, memory.values, self.score, bias, memory.lengths)
            terms = self.from_context(context, given)
        else:
            context = memory.summary.repeat_interleave(hypotheses, 0) if self.upper else memory.summary
            terms = given + memory.values[:, 0].repeat_interleave(hypotheses, 0)
        hidden = _gates(terms[:, : 3 * size], recurrent, h, self.inner)
        output, upper = hidden, []
        for i, layer in enumerate(self.upper):
            upper.append(layer(torch.cat((output, context), -1), state.upper[:, i]))
            output = output + upper[-1]
        read = self.from_output(output, terms[:, 3 * size :])
        read = read.unflatten(-1, (-1, 2)).amax(-1) if self.maxout else tanh_(read)
        return self.output(read), DecoderState(hidden, torch.stack(upper, 1) if upper else state.upper), weights

    def best(
        self, tokens: Tensor, state: DecoderState, memory: Memory, count: int, never: Sequence[int]
    ) -> tuple[Tensor, Tensor, DecoderState, Tensor] | None:
        """The best pieces after a step, without the other logits; None where compiled code does not find them.

        Args:
            tokens: (rows,) previous pieces.
            state: Of the rows.
            memory: Of the B sentences.
            count: How many, for each row; V at most are found.
            never: Pieces that are not to be found, though they have their share of the probability.

        Returns:
            Log probabilities (rows, c), best first, the pieces (rows, c), next state, attention weights (rows, S).

        Raises:
            IndexError: One of `never` is outside of the vocabulary.
        """
        if self.compiled is None or not _fits(tokens, state, memory, self.compiled["vocabulary"]):
            return None
        rows, vocabulary = len(tokens), self.compiled["vocabulary"]
        best = state.hidden.new_empty(rows, min(count, vocabulary))
        places, block = (
            torch.empty(best.shape, dtype=torch.int64),
            max(NEAR_LOGITS // vocabulary // TILES * TILES, TILES),
        )
        logits = best.new_empty(min(block, rows), vocabulary)
        if not all(0 <= piece < vocabulary for piece in never):
            raise IndexError(f"pieces {list(never)}, of {vocabulary}")
        following, weights = self._compiled_step(
            self.compiled, tokens, state, memory, count=best.shape[1], block=block, bans=len(never),
            banned=torch.tensor(never, dtype=torch.int64), logits=logits, best=best, places=places,
        )  # fmt: skip
        return best, places, following, weights

    def _compiled_step(
        self, fixed: dict[str, Any], tokens: Tensor, state: DecoderState, memory: Memory, **wanted: Any
    ) -> tuple[DecoderState, Tensor]:
        """Next state and attention weights; what is `wanted` of the pieces is in the tensors given."""
        h, rows, length = state.hidden.contiguous(), len(tokens), memory.keys.shape[1]
        size, width, context, read = (fixed[name] for name in ("size", "width", "context", "read"))
        following, weights = torch.empty_like(h), h.new_empty(rows, length)
        scratch = h.new_empty(rows * (3 * width + context + 15 * size + 3 * read + 1))
        Kernel(
            "decoder_step", DecoderStep, rows * fixed["vocabulary"], **fixed, **wanted, rows=rows,
            hypotheses=rows // memory.size, length=length, tokens=tokens.contiguous(), state=h, lengths=memory.lengths,
            keys=memory.keys.contiguous(), values=memory.values.contiguous(), scratch=scratch,
            narrowed=h.new_empty(rows * (2 * size + context + read), dtype=torch.bfloat16), next=following,
            weights=weights,
        )(0)  # fmt: skip
        return DecoderState(following, state.upper), weights

    def _given(self, tokens: Tensor) -> Tensor:
        """(rows, 3H + R [+ A]): what the previous pieces give to the GRU's input, to the readout and to the query.

        Biases are included.
        """
        if self.table is not None:
            return self.table.index_select(0, tokens)
        return self.from_embedding(self.embedding.index_select(0, tokens))


def _fits(tokens: Tensor, state: DecoderState, memory: Memory, vocabulary: int) -> bool:
    """Whether compiled code may read these as they are; PyTorch refuses, or converts, what it may not."""
    rows = len(tokens)
    if not (
        rows and usable(state.hidden, state.hidden.dtype) and rows == len(state.hidden) and rows % memory.size == 0
    ):
        return False
    least, most = (int(x) for x in tokens.aminmax())
    return (
        0 <= least <= most < vocabulary
        and tokens.dtype == memory.lengths.dtype == torch.int64
        and memory.lengths.is_contiguous()
        and memory.keys.dtype == memory.values.dtype == torch.float32
    )


class _Upper:
    """A further decoder layer."""

    def __init__(self, layer: GRULayer, dtype: torch.dtype, bound: float) -> None:
        whole, bias, inner = _recurrent(layer)
        self.from_input = Product(layer.weight_input[0], layer.bias_input[0], dtype=dtype, bound=bound)
        self.from_state = Product(whole, bias, dtype=dtype, bound=1.0)
        self.inner = None if inner is None else Product(inner, dtype=dtype, bound=1.0)

    def __call__(self, inputs: Tensor, h: Tensor) -> Tensor:
        """Next state (rows, H) from inputs (rows, H + C) and state (rows, H)."""
        return _gates(self.from_input(inputs), self.from_state(h), h, self.inner)


def _recurrent(layer: GRULayer) -> tuple[Tensor, Tensor, Tensor | None]:
    """Matrix and bias of the products of the whole state, and the matrix (H, H) of those of r * h, if any."""
    weight, size = layer.weight_recurrent[0], layer.size
    bias = layer.bias_recurrent.new_zeros(2 * size)
    if layer.reset_after:
        whole = state_weight(layer.weight_recurrent, layer.reset_after, weight.dtype)[0]  # n, r, z
        return whole, torch.cat((layer.bias_recurrent[0], bias)), None
    return weight[: 2 * size], bias, weight[2 * size :]


def _gates(x: Tensor, recurrent: Tensor, h: Tensor, inner: Product | None) -> Tensor:
    """Next state (rows, H).

    Args:
        x: (rows, 3H) input terms of r, z, n.
        recurrent: (rows, P): the last 3H columns are those of n, r, z, U h + (b_n, 0, 0); where the reset gate comes
            before the product the last 2H are those of r, z.
        h: (rows, H) state.
        inner: The product of r * h there, None otherwise.
    """
    size = h.shape[-1]
    if inner is None and usable(h, h.dtype):
        return compiled_step(x, recurrent, h)
    r, z = recurrent[:, -2 * size :].add_(x[:, : 2 * size]).sigmoid_().split(size, -1)
    if inner is None:
        n = torch.addcmul(x[:, 2 * size :], r, recurrent[:, -3 * size : -2 * size])
    else:
        n = inner(r * h, x[:, 2 * size :])
    return torch.lerp(tanh_(n), h, z)
