"""Untrained translators and classifiers in model directories, for tests that need no sense in what they say."""

from __future__ import annotations

from dataclasses import asdict

import torch

from seq2seq.checkpoint import save_weights, start_model_directory
from seq2seq.config import ClassifierConfig, ModelConfig, TokenizerConfig
from seq2seq.nn.classifier import ClassificationModel
from seq2seq.nn.ngrams import named_ngrams, named_words, spelling
from seq2seq.nn.translator import TranslationModel
from seq2seq.text.tokenizer import Tokenizer

TEXT = ["the cat sat on the mat .", "a dog runs in the park .", "two men eat red apples .", "where is the old train ?"]


def small_tokenizer(vocab_size: int = 330) -> Tokenizer:
    return Tokenizer.train(TEXT * 10, TokenizerConfig(vocab_size=vocab_size), seed=1)


def make_model(tokenizer: Tokenizer, seed: int, **options) -> TranslationModel:
    torch.manual_seed(seed)
    sizes = {"embedding_size": 16, "encoder_size": 12, "decoder_size": 20, "attention_size": 10}
    config = ModelConfig(**{**sizes, "initialization": "normal", "initialization_scale": 0.6, **options})
    return TranslationModel(config, tokenizer.vocab_size, tokenizer.vocab_size, joint=True).eval()


def write_model(directory, tokenizer: Tokenizer, seed: int, task: str = "translation", **options) -> str:
    model, vocabulary = make_model(tokenizer, seed, **options), tokenizer.vocab_size
    config = {"task": task, "source": "en", "target": "fr", "source_vocab": vocabulary, "target_vocab": vocabulary,
              "joint": True, "model": asdict(model.config), "options": {"max_length": 60}}  # fmt: skip
    start_model_directory(directory, config, dict.fromkeys(("source", "target"), tokenizer.to_bytes()))
    save_weights(directory, dict(model.state_dict()), {}, "")
    return str(directory)


def write_classifier(directory, tokenizer: Tokenizer, seed: int, labels=("cat", "dog"), **options) -> str:
    torch.manual_seed(seed)
    values = {
        "embedding_size": 16,
        "encoder_size": 12,
        "initialization": "normal",
        "initialization_scale": 0.6,
        **options,
    }
    config = ClassifierConfig(**values)
    spelt = spelling(tokenizer.texts())
    row = torch.arange(tokenizer.vocab_size)[None], torch.tensor([tokenizer.vocab_size]), torch.tensor([0])
    names = torch.cat((named_ngrams(*row, 1)[1], named_words(*row, spelt)[1])).unique()
    known = len(names) if config.ngrams else 0  # every single piece, and the words that they are in this order
    model = ClassificationModel(config, tokenizer.vocab_size, len(labels), known_ngrams=known)
    if model.ngrams is not None:
        model.ngrams.names.copy_(names)
        model.ngrams.spelling.copy_(spelt)
        for parameter in (model.ngrams.rarity, model.ngrams.weight, model.ngrams.bias):
            torch.nn.init.uniform_(parameter, 0.1, 2)
    columns = {"text_column": "text", "label_column": "label", "label_separator": ""}
    described = {"task": "classification", "labels": list(labels), "several": False, "separator": "", "model": values,
              "limits": {"max_length": 60, "long_texts": "windows", "max_windows": 3}, "options": columns,
              "known_ngrams": known, "words": 2}  # fmt: skip
    start_model_directory(directory, described, dict.fromkeys(("source", "target"), tokenizer.to_bytes()))
    save_weights(directory, dict(model.state_dict()), {}, "")
    return str(directory)
