"""A translator as two ONNX graphs, for runtimes without PyTorch: the encoder, and one step of the decoder.

    encoder   source (B, S) int64, lengths (B,) int64   ->   state (B, L, H), values, keys, mask
    step      tokens (B,) int64, state, values, keys, mask   ->   logits (B, V), next_state (B, L, H), weights (B, S)

The loop over steps stays outside: begin with BOS and the encoder's state, choose a piece from the logits, hand
`next_state` on. `source` is padded with anything behind EOS, `lengths` counts EOS. Without attention there are no
`keys`, `mask` and `weights`, and `values` is the one summary. The graphs are built node by node, the encoder from the
standard's own GRU, so that batch and length stay free; they do what `nn.encoder`, `nn.decoder`, `nn.translator` do.

Shapes: B sentences, S source length, E embedding, H state, L decoder layers, C context, A attention, V vocabulary.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from seq2seq.errors import ConfigError
from seq2seq.nn.embedding import embedding_scale
from seq2seq.nn.gru import GRULayer
from seq2seq.nn.translator import TranslationModel

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET, IR_VERSION = 17, 9
"""Old enough for runtimes of 2023."""

TOLERANCE = 1e-4
"""Most that a graph's results may differ from PyTorch's."""


class _Graph:
    """Nodes and weights, as they come."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def node(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Adds a node; the name of its output, or their names."""
        from onnx import helper

        names = [f"{kind.lower()}_{len(self.nodes)}_{n}" for n in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    def weight(self, value: Tensor | np.ndarray | list[int]) -> str:
        """Adds an array; its name."""
        from onnx import numpy_helper

        array = value.detach().float().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        name = f"weight_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def linear(self, x: str, weight: Tensor, bias: Tensor | None = None) -> str:
        """x W^T + b."""
        product = self.node("MatMul", x, self.weight(weight.t()))
        return product if bias is None else self.node("Add", product, self.weight(bias))

    def cut(self, x: str, start: int, stop: int) -> str:
        """x[..., start:stop]."""
        return self.node("Slice", x, *(self.weight([n]) for n in (start, stop, -1)))

    def model(self, inputs: dict[str, tuple[Any, ...]], outputs: dict[str, tuple[str, tuple[Any, ...]]]) -> ModelProto:
        """The whole, checked.

        Args:
            inputs: Shapes; float32, but int64 where there is no `state` in the name.
            outputs: For each name the node's output, and its shape.
        """
        import onnx
        from onnx import TensorProto, helper

        self.nodes += [helper.make_node("Identity", [node], [name]) for name, (node, _) in outputs.items()]
        whole = {"source", "lengths", "tokens"}
        given = [
            helper.make_tensor_value_info(name, TensorProto.INT64 if name in whole else TensorProto.FLOAT, shape)
            for name, shape in inputs.items()
        ]
        found = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, (_, shape) in outputs.items()]
        graph = helper.make_graph(self.nodes, "seq2seq", given, found, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(model, full_check=True)
        return model


def _memory_shapes(model: TranslationModel) -> dict[str, tuple[Any, ...]]:
    context = model.decoder.readout.in_features - model.config.decoder_size - model.config.embedding_size
    if not model.decoder.attention:
        return {"values": ("B", 1, context)}
    return {"values": ("B", "S", context), "keys": ("B", "S", model.config.attention_size), "mask": ("B", "S")}


def _state_shape(model: TranslationModel) -> tuple[Any, ...]:
    return ("B", model.config.decoder_layers, model.config.decoder_size)


def _gru(graph: _Graph, layer: GRULayer, x: str, lengths: str) -> tuple[str, str, str]:
    """States (S, B, 2H) of both directions, last forward and first backward state (B, H)."""
    size = layer.size
    order = torch.cat([torch.arange(part * size, (part + 1) * size) for part in (1, 0, 2)])  # ours r z n, theirs z r n
    recurrent_bias = layer.bias_recurrent.new_zeros(2, 3 * size)
    if layer.reset_after:
        recurrent_bias[:, 2 * size :] = layer.bias_recurrent.detach()
    bias = torch.cat((layer.bias_input[:, order], recurrent_bias), 1)
    states, ends = graph.node(
        "GRU", x, graph.weight(layer.weight_input[:, order]), graph.weight(layer.weight_recurrent[:, order]),
        graph.weight(bias), lengths, outputs=2, direction="bidirectional", hidden_size=size,
        linear_before_reset=int(layer.reset_after),
    )  # fmt: skip
    both = graph.node("Transpose", states, perm=[0, 2, 1, 3])  # (S, B, 2, H)
    joined = graph.node("Reshape", both, graph.weight([0, 0, -1]))
    last, first = (graph.node("Gather", ends, graph.weight(np.array(n)), axis=0) for n in (0, 1))
    return joined, last, first


def encoder_graph(model: TranslationModel) -> ModelProto:
    """The encoder of a model in evaluation mode, and what of the decoder does not depend on its state."""
    graph, decoder = _Graph(), model.decoder
    table = (model.source_embedding or model.target_embedding).weight
    by_time = graph.node("Transpose", "source", perm=[1, 0])
    embedded = graph.node("Gather", graph.weight(table * embedding_scale(model.config)), by_time)  # (S, B, E)
    counts = graph.node("Cast", "lengths", to=6)  # int32
    states, x = "", embedded
    last = first = ""
    for i, layer in enumerate(model.encoder.layers):
        assert isinstance(layer, GRULayer)
        both, last, first = _gru(graph, layer, x, counts)
        states = x = both if i == 0 else graph.node("Add", x, both)
    outputs: dict[str, tuple[str, tuple[Any, ...]]] = {}
    shapes = _memory_shapes(model)
    summary = first
    if decoder.attention:
        if decoder.attends_embedding:
            states = graph.node("Concat", states, embedded, axis=-1)
        values = graph.node("Transpose", states, perm=[1, 0, 2])
        outputs["values"] = values, shapes["values"]
        outputs["keys"] = graph.linear(values, decoder.key.weight, decoder.key.bias), shapes["keys"]
        outputs["mask"] = _mask(graph), shapes["mask"]
    else:
        ends = graph.node("Concat", last, first, axis=-1)
        summary = graph.node("Tanh", graph.linear(ends, decoder.summarize.weight, decoder.summarize.bias))
        outputs["values"] = graph.node("Unsqueeze", summary, graph.weight([1])), shapes["values"]
    hidden = graph.node("Tanh", graph.linear(summary, decoder.initial.weight, decoder.initial.bias))
    one = graph.node("Unsqueeze", hidden, graph.weight([1]))
    outputs["state"] = graph.node("Concat", *[one] * model.config.decoder_layers, axis=1), _state_shape(model)
    return graph.model({"source": ("B", "S"), "lengths": ("B",)}, outputs)


def _mask(graph: _Graph) -> str:
    """(B, S): zero at tokens, minus infinity at padding."""
    steps = graph.node("Gather", graph.node("Shape", "source"), graph.weight(np.array(1)))
    places = graph.node("Range", graph.weight(np.array(0)), steps, graph.weight(np.array(1)))
    real = graph.node("Less", places, graph.node("Unsqueeze", "lengths", graph.weight([1])))
    zero, never = (graph.weight(np.array(value, dtype=np.float32)) for value in (0, -np.inf))
    return graph.node("Where", real, zero, never)


def step_graph(model: TranslationModel) -> ModelProto:
    """One step of the decoder of a model in evaluation mode."""
    graph, decoder, config = _Graph(), model.decoder, model.config
    table = model.target_embedding.weight * embedding_scale(config)
    embedded = graph.node("Gather", graph.weight(table), "tokens")  # (B, E)
    hidden = [graph.node("Gather", "state", graph.weight(np.array(n)), axis=1) for n in range(config.decoder_layers)]
    outputs: dict[str, tuple[str, tuple[Any, ...]]] = {}
    inputs = _memory_shapes(model)
    if decoder.attention:
        query = graph.linear(hidden[0], decoder.query)
        if decoder.query_token is not None:
            query = graph.node("Add", query, graph.linear(embedded, decoder.query_token))
        activation = graph.node("Tanh", graph.node("Add", "keys", graph.node("Unsqueeze", query, graph.weight([1]))))
        scores = graph.node("MatMul", activation, graph.weight(decoder.score))  # (B, S)
        weights = graph.node("Softmax", graph.node("Add", scores, "mask"), axis=-1)
        outputs["weights"] = weights, ("B", "S")
        mean = graph.node("MatMul", graph.node("Unsqueeze", weights, graph.weight([1])), "values")
    else:
        mean = "values"
    context = graph.node("Squeeze", mean, graph.weight([1]))  # (B, C)
    layers = [decoder.gru, *decoder.upper]
    output, states = "", []
    for i, layer in enumerate(layers):
        assert isinstance(layer, GRULayer)
        x = graph.node("Concat", output if i else embedded, context, axis=-1)
        states.append(_cell(graph, layer, x, hidden[i]))
        output = graph.node("Add", output, states[-1]) if i else states[-1]
    read = graph.node("Concat", output, context, embedded, axis=-1)
    read = graph.linear(read, decoder.readout.weight, decoder.readout.bias)
    if config.readout == "maxout":
        pairs = graph.node("Reshape", read, graph.weight([0, -1, 2]))
        read = graph.node("ReduceMax", pairs, axes=[-1], keepdims=0)
    else:
        read = graph.node("Tanh", read)
    scaled = config.readout_scale * model.output_weight
    outputs["logits"] = graph.linear(read, scaled, model.output_bias), ("B", scaled.shape[0])
    stacked = [graph.node("Unsqueeze", state, graph.weight([1])) for state in states]
    outputs["next_state"] = graph.node("Concat", *stacked, axis=1), _state_shape(model)
    return graph.model({"tokens": ("B",), "state": _state_shape(model), **inputs}, outputs)


def _cell(graph: _Graph, layer: GRULayer, x: str, h: str) -> str:
    """Next state (B, H); see `nn.gru`."""
    size = layer.size
    terms = graph.linear(x, layer.weight_input[0], layer.bias_input[0])
    weight = layer.weight_recurrent[0]
    gates = graph.node("Add", graph.cut(terms, 0, 2 * size), graph.linear(h, weight[: 2 * size]))
    gates = graph.node("Sigmoid", gates)
    r, z = graph.cut(gates, 0, size), graph.cut(gates, size, 2 * size)
    if layer.reset_after:
        inner = graph.node("Mul", r, graph.linear(h, weight[2 * size :], layer.bias_recurrent[0]))
    else:
        inner = graph.linear(graph.node("Mul", r, h), weight[2 * size :])
    n = graph.node("Tanh", graph.node("Add", graph.cut(terms, 2 * size, 3 * size), inner))
    return graph.node("Add", n, graph.node("Mul", z, graph.node("Sub", h, n)))  # (1 - z) n + z h


@torch.inference_mode()
def check_graphs(model: TranslationModel, encoder: Path, step: Path) -> float:
    """Runs both graphs in onnxruntime beside the model, on three random sentences and four steps.

    Returns:
        The largest difference between their logits.

    Raises:
        ConfigError: It is above `TOLERANCE`.
    """
    import onnxruntime

    here = ["CPUExecutionProvider"]
    run_encoder, run_step = (onnxruntime.InferenceSession(path, providers=here) for path in (encoder, step))
    random = torch.Generator().manual_seed(1)
    table = model.source_embedding or model.target_embedding
    lengths = torch.tensor([7, 1, 4])
    source = torch.randint(table.num_embeddings, (3, 7), generator=random)
    names = [output.name for output in run_encoder.get_outputs()]
    found = run_encoder.run(names, {"source": source.numpy(), "lengths": lengths.numpy()})
    memory = dict(zip(names, found, strict=True))
    exact = model.encode(source, lengths)
    exact_state, worst = model.initial_state(exact), 0.0
    for _ in range(4):
        tokens = torch.randint(model.target_embedding.num_embeddings, (3,), generator=random)
        logits, memory["state"] = run_step.run(["logits", "next_state"], {"tokens": tokens.numpy(), **memory})
        expected, exact_state, _ = model.step(tokens, exact_state, exact)
        worst = max(worst, float(np.abs(logits - expected.float().numpy()).max()))
    if not worst <= TOLERANCE:
        raise ConfigError(f"the ONNX graphs' logits differ from the model's by {worst:.2g}, more than {TOLERANCE:g}")
    return worst
