"""Translates standard input with what `seq2seq export` wrote, greedily, without PyTorch.

python scripts/examples/translate_onnx.py runs/onnx < new.en
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import sentencepiece

folder = Path(sys.argv[1])
special = json.loads((folder / "config.json").read_text())
source, target = (sentencepiece.SentencePieceProcessor(str(folder / f"{side}.model")) for side in ("source", "target"))
encoder, step = (onnxruntime.InferenceSession(folder / f"{name}.onnx") for name in ("encoder", "step"))
names = [output.name for output in encoder.get_outputs()]
for line in sys.stdin:
    ids = [*source.encode(line.strip()), special["source_eos"]]
    found = encoder.run(names, {"source": np.array([ids]), "lengths": np.array([len(ids)])})
    memory, pieces, token = dict(zip(names, found, strict=True)), [], special["bos"]
    for _ in range(2 * (len(ids) - 1) + 20 if len(ids) > 1 else 0):
        logits, memory["state"] = step.run(["logits", "next_state"], {"tokens": np.array([token]), **memory})
        logits[0, [piece for piece in (special["bos"], special["pad"]) if piece != special["eos"]]] = -np.inf
        token = int(logits[0].argmax())
        if token == special["eos"]:
            break
        pieces.append(token)
    sys.stdout.write(target.decode(pieces) + "\n")
