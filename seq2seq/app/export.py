"""`seq2seq export`: a translator for runtimes without PyTorch."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from seq2seq.app.models import Models, load_translator
from seq2seq.app.streams import DeviceArguments
from seq2seq.errors import ConfigError


@dataclass(frozen=True)
class ExportArguments:
    """Arguments of `seq2seq export`."""

    model: Models = ()
    """Translator's model directory."""
    onnx: str = ""
    """Directory to write: encoder.onnx, step.onnx, tokenizers and config.json."""


def export(arguments: ExportArguments, command: list[str]) -> None:
    """Writes the graphs, and checks them in onnxruntime.

    Raises:
        UserError: No model, several, no directory, packages that are missing, graphs that differ from the model.
    """
    if not arguments.onnx:
        raise ConfigError("export needs --onnx DIR, the directory to write")
    missing = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"export needs {' and '.join(missing)}: pip install 'seq2seq[onnx]'")
    translator = load_translator(arguments.model, DeviceArguments(device="cpu"), "export")
    if len(translator.models) > 1:
        raise ConfigError("an ensemble cannot be exported; give --model once")
    from seq2seq.inference.onnx_graphs import check_graphs, encoder_graph, step_graph

    folder, model = Path(arguments.onnx), translator.models[0]
    encoder, step = folder / "encoder.onnx", folder / "step.onnx"
    source, target = translator.source_tokenizer, translator.target_tokenizer
    described = {
        "source": translator.config.get("source"), "target": translator.config.get("target"),
        "source_eos": source.eos_id, "bos": target.bos_id, "eos": target.eos_id, "pad": target.pad_id,
    }  # fmt: skip
    try:
        folder.mkdir(parents=True, exist_ok=True)
        encoder.write_bytes(encoder_graph(model).SerializeToString())
        step.write_bytes(step_graph(model).SerializeToString())
        (folder / "source.model").write_bytes(source.to_bytes())
        (folder / "target.model").write_bytes(target.to_bytes())
        (folder / "config.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {folder}: {error.strerror}") from None
    worst = check_graphs(model, encoder, step)
    sys.stderr.write(f"{folder} written; logits in onnxruntime differ from the model's by {worst:.1g} at most\n")
