"""GRU decoder with deep readout, with additive attention or one fixed summary of the source.

Shapes: B batch, S source length, T target length, rows = B * K hypotheses, E embedding, H state, C context,
D one direction of the encoder, A attention, L decoder layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seq2seq.config import ModelConfig
from seq2seq.nn.attention import attend, attentive_gru
from seq2seq.nn.functional import cut, dropout, join, linear, product_dtype
from seq2seq.nn.gru import GRULayer, gru_step


class Memory(NamedTuple):
    """What the decoder reads of a batch of B encoded sentences."""

    values: Tensor  # (B, S, C) encoder states, perhaps with embeddings beside them
    keys: Tensor  # (B, S, A) doubled attention keys; (B, 0, 0) without attention
    bias: Tensor  # (B, S) zero at tokens, minus infinity at padding
    summary: Tensor  # (B, C) the fixed summary, or (B, D) the backward state at the first token
    lengths: Tensor  # (B,) source tokens

    @property
    def size(self) -> int:
        """Number of sentences."""
        return self.bias.shape[0]

    def select(self, index: Tensor) -> Memory:
        """The sentences `index` (M,) alone, without the columns that are padding for all of them."""
        lengths = self.lengths.index_select(0, index)
        columns = int(lengths.max()) if len(index) else 0
        values, keys, bias = (part[:, :columns].index_select(0, index) for part in self[:3])
        return Memory(values, keys, bias, self.summary.index_select(0, index), lengths)


class DecoderState(NamedTuple):
    """What one step hands to the next."""

    hidden: Tensor  # (rows, H) first layer
    upper: Tensor  # (rows, L - 1, H) further layers

    def select(self, index: Tensor) -> DecoderState:
        """The rows `index`, which may repeat."""
        hidden = self.hidden.index_select(0, index)
        # without further layers there is nothing to select from
        upper = self.upper.index_select(0, index) if self.upper.shape[1] else hidden.new_empty(len(index), 0, 0)
        return DecoderState(hidden, upper)


class Decoder(nn.Module):
    """s_t = GRU(s_{t-1}, [y_{t-1}; c_t]), then further layers, then the readout (Bahdanau et al. 2015, appendix A.2.2).

    The attention's query is W s_{t-1} as in the paper, or W s_{t-1} + V y_{t-1}: a decoder that knows the token which
    it wrote last finds its place in the source sooner. V y_{t-1} leaves the loop over time.

    What is attended to are the encoder's states, or each of them with its token's embedding beside it: words that are
    seldom seen then reach the readout by a short way (as in Nguyen & Chiang 2018, arXiv:1710.01329, and others).

    With attention `none` the context c is the same at every step (Cho et al. 2014).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        embedding, size, context = config.embedding_size, config.decoder_size, 2 * config.encoder_size
        self.attention = config.attention == "bahdanau"
        self.attends_embedding = self.attention and config.attend_embedding
        context += embedding if self.attends_embedding else 0
        if self.attention:
            self.query = nn.Parameter(torch.empty(config.attention_size, size))
            self.query_token = (
                nn.Parameter(torch.empty(config.attention_size, embedding)) if config.query_token else None
            )
            self.key = nn.Linear(context, config.attention_size)
            self.score = nn.Parameter(torch.empty(config.attention_size))
        else:
            self.summarize = nn.Linear(context, context)
        self.initial = nn.Linear(config.encoder_size if self.attention else context, size)
        self.gru = GRULayer(embedding + context, size, 1, config.reset_after, config.dropout_state)
        self.upper = nn.ModuleList(
            GRULayer(size + context, size, 1, config.reset_after, config.dropout_state)
            for _ in range(config.decoder_layers - 1)
        )
        self.readout = nn.Linear(size + context + embedding, embedding * (2 if config.readout == "maxout" else 1))

    def remember(self, parts: Sequence[Tensor], last: Tensor, first: Tensor, lengths: Tensor) -> Memory:
        """Memory of a batch.

        Args:
            parts: (S, B, .) of C numbers a token together: encoder states, and embeddings where these are attended to.
            last: (B, D) forward direction's last state.
            first: (B, D) backward direction's state at the first token.
            lengths: (B,) source tokens.
        """
        states = parts[0]
        steps, batch = states.shape[:2]
        padding = torch.arange(steps, device=states.device) >= lengths[:, None]
        bias = states.new_zeros(batch, steps).masked_fill_(padding, -torch.inf)
        if not self.attention:
            summary = torch.tanh(linear(torch.cat((last, first), -1), self.summarize.weight, self.summarize.bias))
            return Memory(states.new_empty(batch, 0, 0), states.new_empty(batch, 0, 0), bias, summary, lengths)
        values = join([part.transpose(0, 1) for part in parts], -1, states.dtype)
        keys = linear(values, 2 * self.key.weight, 2 * self.key.bias)
        return Memory(values, keys, bias, first, lengths)

    def initial_state(self, memory: Memory) -> DecoderState:
        """State before the first step, one row a sentence; all layers start from the same vector."""
        hidden = torch.tanh(linear(memory.summary, self.initial.weight, self.initial.bias))
        return DecoderState(hidden, hidden[:, None].expand(-1, len(self.upper), -1))

    def forward(self, embedded: Tensor, memory: Memory) -> tuple[Tensor, Tensor | None]:
        """Teacher-forced decoding of T steps at once.

        Args:
            embedded: (T, B, E) embeddings of the previous target tokens.
            memory: Of the B sentences.

        Returns:
            (T, B, E) readouts, and attention weights (T, B, S) or None.
        """
        state, gru = self.initial_state(memory), self.gru
        split = self.config.embedding_size
        # `squeeze`, for the gradient of a part taken by its number fills the rest with zeros, be there none
        weight_input = gru.weight_input.squeeze(0)
        sizes, products = (split, weight_input.shape[-1] - split), product_dtype(weight_input)
        weight_embedded, weight_context = cut(weight_input, sizes, -1, products)
        terms = F.linear(embedded, weight_embedded, gru.bias_input.squeeze(0))  # (T, B, 3H)
        mask = gru.state_mask(memory.size)
        weights = None
        if self.attention:
            query_terms = None if self.query_token is None else F.linear(embedded, 2 * self.query_token)
            states, contexts, weights = attentive_gru(
                terms, state.hidden, memory.keys, memory.values, memory.bias, self.score, self.query, weight_context,
                gru.weight_recurrent.squeeze(0), gru.bias_recurrent.squeeze(0), None if mask is None else mask[0],
                gru.reset_after, query_terms,
            )  # fmt: skip
        else:
            terms = terms + linear(memory.summary, weight_context).to(memory.summary.dtype)
            states = gru(terms[:, None], state.hidden[None])[:, 0]
            contexts = memory.summary.expand(len(terms), -1, -1)
        outputs = states
        for i, layer in enumerate(self.upper):
            assert isinstance(layer, GRULayer)
            inputs = torch.cat((dropout(outputs, self.config.dropout, self.training), contexts), -1)
            first = state.upper[:, i].unsqueeze(0).contiguous()
            outputs = outputs + layer(layer.input_terms(inputs).transpose(1, 2), first)[:, 0]
        return self.read_out(outputs, contexts, embedded), weights

    def step(self, embedded: Tensor, state: DecoderState, memory: Memory) -> tuple[Tensor, DecoderState, Tensor | None]:
        """One step for `rows` hypotheses, rows / B of each sentence.

        Args:
            embedded: (rows, E) embeddings of the previous tokens.
            state: Of the rows.
            memory: Of the B sentences.

        Returns:
            Readouts (rows, E), next state, attention weights (rows, S) or None.
        """
        gru, weights = self.gru, None
        if self.attention:
            query = linear(state.hidden, 2 * self.query)
            if self.query_token is not None:
                query = query + linear(embedded, 2 * self.query_token)
            context, weights = attend(query, memory.keys, memory.values, 2 * self.score, memory.bias)
        else:
            context = memory.summary.repeat_interleave(len(embedded) // memory.size, 0)
        terms = linear(torch.cat((embedded, context), -1), gru.weight_input[0], gru.bias_input[0])
        hidden = gru_step(terms, state.hidden, gru.weight_recurrent[0], gru.bias_recurrent[0], gru.reset_after)
        output, upper = hidden, []
        for i, layer in enumerate(self.upper):
            assert isinstance(layer, GRULayer)
            upper.append(layer.step(torch.cat((output, context), -1), state.upper[:, i]))
            output = output + upper[-1]
        next_upper = torch.stack(upper, 1) if upper else state.upper
        return self.read_out(output, context, embedded), DecoderState(hidden, next_upper), weights

    def read_out(self, outputs: Tensor, contexts: Tensor, embedded: Tensor) -> Tensor:
        """Deep output (..., E) of state, context and embedding: tanh, or the larger of each pair (maxout), scaled.

        The rows of a tied output layer begin with about unit length and learn by steps that do not know what they meet
        (Adam); without the scale logits are small and move slowly.
        """
        inputs = join((outputs, contexts, embedded), -1, product_dtype(outputs))
        hidden = linear(inputs, self.readout.weight, self.readout.bias)
        if self.config.readout == "maxout":
            hidden = hidden.unflatten(-1, (-1, 2)).amax(-1)
        else:
            hidden = torch.tanh(hidden)
        return dropout(hidden, self.config.dropout_readout, self.training, self.config.readout_scale)
