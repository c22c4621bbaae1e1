"""Anything at all, given to what reads files: it is read, or refused in one line; stress/fuzz.py is the long form."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from models import TEXT, write_classifier, write_model

from seq2seq.checkpoint import read_config
from seq2seq.config import (
    DataConfig,
    SearchConfig,
    TokenizerConfig,
    TrainClassifierConfig,
    TrainTranslatorConfig,
    from_flat,
    option_names,
    read_yaml,
    to_flat,
)
from seq2seq.errors import ConfigError, CorpusError, ModelDirectoryError, UserError, listed, nearest, shown
from seq2seq.inference.loading import load_classifier, load_translator
from seq2seq.tensors import read_tensors, tensors_to_bytes
from seq2seq.text.tables import LabelledPairs, table_pairs
from seq2seq.text.tokenizer import Tokenizer

few = settings(max_examples=60, deadline=None)
CPU = torch.device("cpu")

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20)
    | st.sampled_from([0, 1, -1, 2**70, "../../etc/passwd", "\ud800", "a\nb"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
OPTIONS = [*option_names(TrainTranslatorConfig), *option_names(TrainClassifierConfig)]


@contextlib.contextmanager
def refused_clearly(kind: type[UserError]):
    """Lets errors of one kind pass whose message is one line that can be read and printed."""
    try:
        yield
    except kind as error:
        text = str(error)
        assert text and "\n" not in text and len(text) < 2000
        text.encode("utf-8", "surrogateescape")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("any")
    tokenizer = Tokenizer.train(TEXT * 10, TokenizerConfig(vocab_size=330, normalization="identity"), seed=1)
    write_model(path / "translator", tokenizer, 0)
    write_classifier(path / "classifier", tokenizer, 0, ngrams=0)
    return path


cells = st.text(st.sampled_from('ab\t,"\n\r\0\u2028{}[]:\\'), max_size=30)


@few
@given(
    ending=st.sampled_from(["tsv", "csv", "jsonl"]),
    head=st.sampled_from(["", "en\tde\n", "en,de\n", "label,text\n", "\ufeffde\tx\ten\r\n", '{"en": "", "de": ""}\n']),
    body=cells | st.lists(st.fixed_dictionaries({"en": JSON, "de": JSON}), max_size=3).map(
        lambda rows: "".join(f"{json.dumps(row)}\n" for row in rows)),
    noise=st.binary(max_size=3),
)  # fmt: skip
@example(ending="jsonl", head="", body="[" * 100_000, noise=b"")
@example(ending="csv", head="en,de\n", body=f'"{"x" * 200_000}",b\n', noise=b"")
def test_any_table(folder, ending, head, body, noise):
    path = folder / f"x.{ending}"
    path.write_bytes((head + body).encode("utf-8", "surrogatepass") + noise)
    for data in (DataConfig(source="en", target="de"), LabelledPairs(source="label", target="text", separator="|")):
        with refused_clearly(CorpusError):
            for sources, targets in table_pairs(path, data):
                assert len(sources) == len(targets)
                assert not any("\n" in text for text in (*sources, *targets))


@few
@given(st.dictionaries(st.sampled_from(OPTIONS) | st.text(max_size=9), JSON, max_size=4))
@example({"learning_rate": 10**400})
@example({"learning_rate": float("nan")})
@example({"seed": int("f" * 5000, 16)})
def test_any_options(values):
    for kind in (TrainTranslatorConfig, TrainClassifierConfig, SearchConfig):
        with refused_clearly(ConfigError):
            config = from_flat(kind, values)
            assert from_flat(kind, to_flat(config)) == config


@few
@given(st.text(st.sampled_from("ab: -\n[]{}&*!?|>'\"#%@0x19.e"), max_size=60).map(str.encode) | st.binary(max_size=60))
@example(b"data: 2020-13-45\n")
@example(b"a: " + b"[" * 3000)
@example(b"!!python/object/apply:os.system ['echo no']")
@example(b"seed: " + b"9" * 5000)
def test_any_recipe(folder, content):
    path = folder / "x.yaml"
    path.write_bytes(content)
    with refused_clearly(ConfigError):
        assert isinstance(read_yaml(path), dict)


@few
@given(st.data())
def test_any_value_in_the_configuration_of_a_model(folder, data):
    kind, load = data.draw(st.sampled_from([("translator", load_translator), ("classifier", load_classifier)]))
    directory = shutil.copytree(folder / kind, folder / "changed", dirs_exist_ok=True)
    place = config = read_config(directory)
    while True:
        key = data.draw(st.sampled_from(sorted(place)))
        if not isinstance(place[key], dict) or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(JSON)
    (directory / "config.json").write_text(json.dumps(config))
    with refused_clearly(ModelDirectoryError):
        load(directory, CPU)


@few
@given(st.data())
def test_any_damage_to_weights_and_tokenizer(folder, data):
    weights = tensors_to_bytes({"a": torch.arange(6.0), "b": torch.ones(2, 2)})
    tokenizer = (folder / "translator" / "tokenizer.model").read_bytes()
    for whole in (weights, tokenizer):
        content = bytearray(whole)
        start = data.draw(st.integers(0, len(content)))
        content[start : start + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
        (folder / "x").write_bytes(content)
        if whole is weights:
            with refused_clearly(ModelDirectoryError):
                read_tensors(folder / "x")
        else:
            with refused_clearly(ConfigError):
                found = Tokenizer(bytes(content))
                found.pieces(found.encode(["a cat .\0"])[0])


@given(st.text(), st.integers(1, 100))
def test_what_errors_quote_is_short_and_one_line(text, most):
    assert len(shown(text * 50, most)) < most + 40 and "\n" not in shown(text)
    assert "\n" not in listed([text] * 50) and len(listed([text * 50] * 50)) < 3500
    assert "\n" not in nearest(text, [text, text + "a"])
    assert shown(10 ** sys.get_int_max_str_digits()) == "a very large int"
