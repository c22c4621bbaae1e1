"""The ONNX graphs in onnxruntime beside PyTorch, over the structures that a model can have."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seq2seq.config import ModelConfig
from seq2seq.errors import ConfigError
from seq2seq.nn.translator import TranslationModel

pytest.importorskip("onnx", reason="needs onnx (extra `onnx`)")
pytest.importorskip("onnxruntime", reason="needs onnxruntime (extra `onnx`)")

from seq2seq.inference.onnx_graphs import check_graphs, encoder_graph, step_graph

STRUCTURES = [
    {"attention": "bahdanau"},
    {"attention": "bahdanau", "encoder_layers": 2, "decoder_layers": 3, "readout": "maxout", "reset_after": False},
    {"attention": "none", "decoder_layers": 2, "tie_output": False},
    {"attention": "none", "reset_after": False, "readout": "maxout", "tie_source_target": False},
    {"attention": "bahdanau", "query_token": False, "attend_embedding": False, "scale_embedding": False},
]


def make_model(**options) -> TranslationModel:
    torch.manual_seed(1)
    sizes = {"embedding_size": 16, "encoder_size": 12, "decoder_size": 20, "attention_size": 10}
    config = ModelConfig(**{**sizes, "initialization": "normal", "initialization_scale": 0.4, **options})
    model = TranslationModel(config, 50, 40 if not config.tie_source_target else 50, config.tie_source_target).eval()
    for parameter in model.parameters():  # biases too
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def write(model: TranslationModel, folder):
    paths = folder / "encoder.onnx", folder / "step.onnx"
    for path, graph in zip(paths, (encoder_graph(model), step_graph(model)), strict=True):
        path.write_bytes(graph.SerializeToString())
    return paths


@pytest.mark.parametrize("options", STRUCTURES, ids=lambda options: "-".join(map(str, options.values())))
def test_graphs_compute_what_the_model_computes(options, tmp_path):
    model = make_model(**options)
    assert check_graphs(model, *write(model, tmp_path)) < 1e-4


def test_another_models_graphs_are_noticed(tmp_path):
    model = make_model()
    paths = write(model, tmp_path)
    with torch.no_grad():
        model.decoder.readout.bias += 0.01
    with pytest.raises(ConfigError, match="logits differ from the model's by"):
        check_graphs(model, *paths)


def test_attention_weights_and_padding(tmp_path):
    import onnxruntime

    model = make_model()
    encoder, step = (onnxruntime.InferenceSession(path) for path in write(model, tmp_path))
    names = [output.name for output in encoder.get_outputs()]
    source, lengths = np.array([[5, 6, 7, 3], [8, 3, 11, 12]]), np.array([4, 2])
    memory = dict(zip(names, encoder.run(names, {"source": source, "lengths": lengths}), strict=True))
    (weights,) = step.run(["weights"], {"tokens": np.array([2, 2]), **memory})
    with torch.no_grad():
        exact = model.encode(torch.from_numpy(source), torch.from_numpy(lengths))
        expected = model.step(torch.tensor([2, 2]), model.initial_state(exact), exact)[2]
    assert np.allclose(weights, expected.numpy(), atol=1e-5) and (weights[1, 2:] == 0).all()
