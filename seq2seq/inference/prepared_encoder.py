"""The encoder made ready for decoding: weights cast once, nothing kept for a backward pass.

What it computes is `Encoder.forward`. Both directions run in one loop, so that a step is one call for each operation.

Shapes: S source length, B sentences, D = 2 directions, E embedding, H state of one direction, C = 2H.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seq2seq.nn.encoder import Encoder
from seq2seq.nn.functional import reversal_index, tanh_
from seq2seq.nn.gru import GRULayer, compiled_step, state_weight
from seq2seq.nn.kernels import usable
from seq2seq.nn.product import Product, StackedProduct


class PreparedEncoder:
    """States of a batch of sentences; a copy of the weights as they are when it is made."""

    def __init__(self, encoder: Encoder, dtype: torch.dtype) -> None:
        """Prepares the weights, with products in `dtype`."""
        self.layers = [_Layer(layer, dtype) for layer in encoder.layers if isinstance(layer, GRULayer)]

    def __call__(self, embedded: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(S, B, C) states, (B, H) last forward and (B, H) first backward state; see `Encoder.forward`."""
        steps, batch = embedded.shape[:2]
        index = reversal_index(lengths, steps) if batch > 1 else torch.arange(steps - 1, -1, -1, device=lengths.device)
        inputs = embedded
        for i, layer in enumerate(self.layers):
            states = layer(inputs, index)  # (S, 2, B, H)
            restored = states[:, 1].reshape(steps * batch, -1).index_select(0, index).view(steps, batch, -1)
            outputs = torch.cat((states[:, 0], restored), -1)
            inputs = outputs if i == 0 else inputs + outputs
        last = states[lengths - 1, 0, torch.arange(batch, device=lengths.device)]
        return inputs, last, restored[0]


class _Layer:
    def __init__(self, layer: GRULayer, dtype: torch.dtype) -> None:
        size = layer.size
        self.size = size
        self.input = Product(layer.weight_input.flatten(0, 1), layer.bias_input.flatten(), dtype=dtype)
        weight, bias = layer.weight_recurrent, layer.bias_recurrent  # (D, 3H, H), (D, H)
        rest = bias.new_zeros(2, 2 * size)
        self.inner: StackedProduct | None = None
        if layer.reset_after:
            order = state_weight(weight, layer.reset_after, weight.dtype)  # n, r, z
            self.recurrent = StackedProduct(order, torch.cat((bias, rest), 1), dtype=dtype, bound=1.0)
        else:
            self.recurrent = StackedProduct(weight[:, : 2 * size], rest, dtype=dtype, bound=1.0)
            self.inner = StackedProduct(weight[:, 2 * size :], rest[:, :size], dtype=dtype, bound=1.0)

    def __call__(self, inputs: Tensor, index: Tensor) -> Tensor:
        """(S, D, B, H): states, of the second direction in the order in which it reads."""
        steps, batch, size = *inputs.shape[:2], self.size
        terms = self.input(inputs.flatten(0, 1)).view(steps * batch, 2, -1)
        backward = terms[:, 1].index_select(0, index)
        x = torch.stack((terms[:, 0].view(steps, batch, -1), backward.view(steps, batch, -1)), 1)  # (S, D, B, 3H)
        states = x.new_empty(steps, 2, batch, size)
        gate_terms, candidate_terms = x[..., : 2 * size].unbind(0), x[..., 2 * size :].unbind(0)
        h = x.new_zeros(2, batch, size)
        for t, out in enumerate(states.unbind(0)):
            recurrent = self.recurrent(h)
            if self.inner is None and usable(h, h.dtype):
                stepped = compiled_step(x[t].flatten(0, 1), recurrent.flatten(0, 1), h.flatten(0, 1))
                h = out.copy_(stepped.view_as(out))
                continue
            gates = recurrent[..., -2 * size :].add_(gate_terms[t]).sigmoid_()
            r, z = gates[..., :size], gates[..., size:]
            if self.inner is None:
                n = torch.addcmul(candidate_terms[t], r, recurrent[..., :size])
            else:
                n = self.inner(r * h).add_(candidate_terms[t])
            h = torch.lerp(tanh_(n), h, z, out=out)
        return states
