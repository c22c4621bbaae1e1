"""CTranslate2, in its environment: converts the Transformer that `transformer.py` trained, and decodes with it.

The request names `weights`, `pieces` (a text file, one a line) and `model` to convert; `model`, `tokenizer`,
`threads`, `workers` to share them among, `alone` (threads for a single sentence), `compute_type`, `batch` and what
timing asks for to decode.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import sentencepiece
from ctranslate2.specs import TransformerSpec
from timing import answer, measure, request


def convert(wanted: dict[str, Any]) -> None:
    """Writes a model directory from the arrays of a `torch.nn.Transformer`.

    PyTorch keeps query, key and value projections in one matrix, CTranslate2 in one for attention to itself and in two
    (query; key and value) for attention to the source.
    """
    weights = np.load(wanted["weights"])
    pieces = Path(wanted["pieces"]).read_text(encoding="utf-8").split("\n")
    layers, heads = int(weights["layers"]), int(weights["heads"])
    spec = TransformerSpec.from_config((layers, layers), heads, pre_norm=True)

    def norm(target: Any, name: str) -> None:
        target.gamma, target.beta = weights[f"{name}.weight"], weights[f"{name}.bias"]

    def linear(target: Any, name: str, rows: slice = slice(None), joint: str = "") -> None:
        target.weight = weights[f"{name}.{joint}weight" if not joint else f"{name}.{joint}_weight"][rows]
        target.bias = weights[f"{name}.bias" if not joint else f"{name}.{joint}_bias"][rows]

    def attention(target: Any, name: str, norm_name: str, own: bool) -> None:
        size = weights[f"{name}.out_proj.weight"].shape[0]
        parts = [slice(None)] if own else [slice(0, size), slice(size, None)]
        for layer, rows in zip(target.linear, parts, strict=False):
            linear(layer, name, rows, joint="in_proj")
        linear(target.linear[-1], f"{name}.out_proj")
        norm(target.layer_norm, norm_name)

    for side, part in (("encoder", spec.encoder), ("decoder", spec.decoder)):
        tables = part.embeddings if side == "encoder" else [part.embeddings]
        tables[0].weight = weights["embedding"]
        part.position_encodings.encodings = weights["positions"]
        norm(part.layer_norm, f"{side}.norm")
        for i, layer in enumerate(part.layer):
            name = f"{side}.layers.{i}"
            attention(layer.self_attention, f"{name}.self_attn", f"{name}.norm1", own=True)
            if side == "decoder":
                attention(layer.attention, f"{name}.multihead_attn", f"{name}.norm2", own=False)
            norm(layer.ffn.layer_norm, f"{name}.norm3" if side == "decoder" else f"{name}.norm2")
            linear(layer.ffn.linear_0, f"{name}.linear1")
            linear(layer.ffn.linear_1, f"{name}.linear2")
    spec.decoder.projection.weight = weights["embedding"]
    spec.register_source_vocabulary(pieces)
    spec.register_target_vocabulary(pieces)
    spec.config.add_source_eos = True
    spec.validate()
    spec.optimize()
    Path(wanted["model"]).mkdir(parents=True, exist_ok=True)
    spec.save(wanted["model"])


def decode(wanted: dict[str, Any]) -> dict[str, Any]:
    """Loads the model and measures."""
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=wanted["tokenizer"])

    def translator(workers: int, threads: int) -> ctranslate2.Translator:
        chosen = {"compute_type": wanted["compute_type"], "inter_threads": workers, "intra_threads": threads}
        return ctranslate2.Translator(wanted["model"], device="cpu", **chosen)

    many, one = (
        translator(wanted["workers"], max(wanted["threads"] // wanted["workers"], 1)),
        translator(1, wanted["alone"]),
    )

    def translate(lines: list[str], beam: int) -> list[str]:
        pieces = tokenizer.encode(lines, out_type=str, num_threads=1)
        used = many if len(lines) > 1 else one
        found = used.translate_batch(pieces, beam_size=beam, max_batch_size=wanted["batch"])
        return tokenizer.decode([best.hypotheses[0] for best in found], num_threads=1)

    return measure(translate, wanted)


def main() -> None:
    """Does what the request names enough for."""
    wanted = request()
    if "weights" in wanted:
        convert(wanted)
    else:
        answer(decode(wanted))


if __name__ == "__main__":
    main()
