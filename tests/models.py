"""Untrained translators in model directories, for tests that need no sense in what they say."""

from __future__ import annotations

import torch

from seq2seq.checkpoint import save_weights, start_model_directory
from seq2seq.config import ModelConfig
from seq2seq.nn.translator import TranslationModel
from seq2seq.text.tokenizer import Tokenizer

TEXT = ["the cat sat on the mat .", "a dog runs in the park .", "two men eat red apples .", "where is the old train ?"]


def write_model(directory, tokenizer: Tokenizer, seed: int, task: str = "translation", **options) -> str:
    torch.manual_seed(seed)
    sizes = {"embedding_size": 16, "encoder_size": 12, "decoder_size": 20, "attention_size": 10}
    values = {**sizes, "initialization": "normal", "initialization_scale": 0.6, **options}
    vocabulary = tokenizer.vocab_size
    model = TranslationModel(ModelConfig(**values), vocabulary, vocabulary, joint=True)
    config = {"task": task, "source": "en", "target": "fr", "source_vocab": vocabulary, "target_vocab": vocabulary,
              "joint": True, "model": values, "options": {"max_length": 60}}  # fmt: skip
    start_model_directory(directory, config, dict.fromkeys(("source", "target"), tokenizer.to_bytes()))
    save_weights(directory, dict(model.state_dict()), {}, "")
    return str(directory)
