"""JoeyNMT 2.3: its recurrent model on PyTorch."""

from __future__ import annotations

import datetime
import itertools
import json
import re
from pathlib import Path
from typing import Any, ClassVar

import yaml
from toolkits.workplace import (
    ATTENTION,
    BATCH,
    DECODER,
    EMBEDDING,
    ENCODER,
    HERE,
    ROOT,
    SMOOTHING,
    VOCABULARY,
    Environment,
    Program,
    Workplace,
    gru,
    once,
    pin,
    run,
)

UPDATES, LOGGED = 20, 4
SPECIALS = ["<unk>", "<pad>", "<s>", "</s>"]
"""In the order of the ids that JoeyNMT gives them."""

LINE = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) .* Step: +\d+, .*Tokens per Sec: +(\d+)", re.MULTILINE)


def without_verbose(source: str) -> str:
    """The source of `builders.py` without the argument of the plateau schedule that PyTorch no longer takes."""
    return re.sub(r'^ *"verbose": False,\n', "", source, flags=re.MULTILINE)


def own_order(pieces: list[str]) -> list[str]:
    """The vocabulary as JoeyNMT numbers it: special pieces first."""
    return SPECIALS + [piece for piece in pieces if piece not in SPECIALS]


def configuration(place: Workplace, model: Path, vocabulary: Path, *, updates: int, logged: int, seed: int) -> dict:
    """The YAML file of a run."""
    side = {
        "max_length": 200,
        "lowercase": False,
        "normalize": False,
        "level": "bpe",
        "voc_file": str(vocabulary),
        "tokenizer_type": "sentencepiece",
        "tokenizer_cfg": {"model_file": str(place.tokenizer), "pretokenizer": "none"},
    }
    unk, pad, bos, eos = SPECIALS
    recurrent = {"type": "recurrent", "rnn_type": "gru", "embeddings": {"embedding_dim": EMBEDDING}, "num_layers": 1}
    return {
        "name": "peer",
        "joeynmt_version": "2.3.0",
        "model_dir": str(model),
        "use_cuda": False,
        "fp16": False,
        "random_seed": seed,
        "data": {
            **{
                split: str(place.data / name) for split, name in (("train", "train"), ("dev", "test"), ("test", "test"))
            },
            "dataset_type": "plain",
            "src": {"lang": place.source, **side},
            "trg": {"lang": place.target, **side},
            "special_symbols": {
                **{"unk_token": unk, "pad_token": pad, "bos_token": bos, "eos_token": eos},
                **{"unk_id": 0, "pad_id": 1, "bos_id": 2, "eos_id": 3},
            },
        },
        "testing": {
            **{"n_best": 1, "beam_size": 5, "beam_alpha": 1.0, "batch_size": BATCH, "batch_type": "sentence"},
            **{"max_output_length": -1, "eval_metrics": ["bleu"]},
        },
        "training": {
            **{"optimizer": "adam", "learning_rate": 2e-3, "clip_grad_norm": 1.0, "scheduling": "plateau"},
            **{"loss": "crossentropy", "label_smoothing": SMOOTHING, "normalization": "tokens"},
            **{"batch_size": BATCH, "batch_type": "sentence", "shuffle": True, "epochs": 1000, "updates": updates},
            **{"validation_freq": 10**9, "logging_freq": logged, "early_stopping_metric": "loss"},
            **{"overwrite": True, "print_valid_sents": []},
        },
        "model": {
            **{"initializer": "xavier_uniform", "embed_initializer": "normal", "embed_init_weight": 0.1},
            **{"tied_embeddings": True, "tied_softmax": False},
            "encoder": {**recurrent, "hidden_size": ENCODER, "bidirectional": True, "dropout": 0.2},
            "decoder": {
                **{**recurrent, "hidden_size": DECODER, "dropout": 0.2, "hidden_dropout": 0.2},
                **{"input_feeding": True, "init_hidden": "bridge", "attention": "bahdanau"},
            },
        },
    }


class JoeyNMT(Program):
    """Its recurrent encoder and decoder at the sizes asked for."""

    name = "JoeyNMT 2.3"
    notes: ClassVar[list[str]] = [
        "JoeyNMT: float32, as it turns half precision off on CPUs. Its recurrent output layer reads the state (512), "
        "so it cannot be tied to embeddings of 256: 10.2M parameters. Batches are drawn at random, not of like "
        "lengths.",
    ]

    def _folder(self, place: Workplace) -> Path:
        return place.work / "joeynmt"

    def _environment(self, place: Workplace) -> Environment:
        torch = pin("torch", (ROOT / "constraints.txt").read_text(encoding="utf-8"))
        packages = ["joeynmt==2.3.0", torch, "sentencepiece==0.2.0", "importlib_metadata", "setuptools<81"]
        older = ["absl-py", "grpcio", "protobuf", "sentencepiece", "setuptools", "tensorboard"]
        return Environment(self._folder(place) / "venv", packages, older)

    def _vocabulary(self, place: Workplace) -> Path:
        return self._folder(place) / "vocabulary.txt"

    def prepare(self, place: Workplace) -> None:
        """Its environment, the patch, and the vocabulary in its order."""

        def patch(environment: Environment) -> None:
            builders = environment.package("joeynmt") / "builders.py"
            builders.write_text(without_verbose(builders.read_text(encoding="utf-8")), encoding="utf-8")

        self._folder(place).mkdir(parents=True, exist_ok=True)
        self._environment(place).prepare(patch)
        pieces = place.pieces.read_text(encoding="utf-8").split("\n")
        self._vocabulary(place).write_text("\n".join(own_order(pieces)) + "\n", encoding="utf-8")

    def _train(self, place: Workplace, name: str, updates: int, logged: int, seed: int) -> list[str | Path]:
        folder = self._folder(place)
        options = {"updates": updates, "logged": logged, "seed": seed}
        recipe = configuration(place, folder / name, self._vocabulary(place), **options)
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True), encoding="utf-8")
        return [self._environment(place).python, "-m", "joeynmt", "train", path, "--skip-test"]

    def prepare_decoding(self, place: Workplace) -> None:
        """A brief training."""
        model = self._folder(place) / "model"
        command = self._train(place, "model", place.updates, 50, 1)
        once(model, [place.updates], lambda: run(command, place.threads, model.with_name("model.log")))

    def multiplications(self) -> int:
        """Keys and query of the attention, its output layer, and the untied output matrix."""
        context = 2 * ENCODER
        attention = (context + DECODER) * ATTENTION + (DECODER + context) * DECODER
        return 2 * gru(EMBEDDING, ENCODER) + gru(EMBEDDING + DECODER, DECODER) + attention + DECODER * VOCABULARY

    def training(self, place: Workplace, round_: int) -> list[str | Path]:
        """A run of a few updates."""
        return self._train(place, "speed", UPDATES, LOGGED, round_)

    def tokens_per_second(self, log: str) -> float:
        """Its rates weighted by the time between its lines; the first ones warm up.

        It counts labels that are not padding, the end of the sentence among them.
        """
        lines = LINE.findall(log)
        times = [datetime.datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S,%f") for stamp, _ in lines]
        spans = [(end - start).total_seconds() for start, end in itertools.pairwise(times)]
        rates = [float(rate) for _, rate in lines[1:]]
        return sum(span * rate for span, rate in zip(spans, rates, strict=True)) / sum(spans)

    def decoding(self, place: Workplace, wanted: dict[str, Any]) -> list[str | Path]:
        """Its own interface for Python, batches of 64 lines as they come."""
        request = {**wanted, "model": str(self._folder(place) / "model"), "threads": place.threads}
        return [self._environment(place).python, HERE / "with_joeynmt.py", json.dumps(request)]
