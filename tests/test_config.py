"""Options: defaults, types, doc lines, YAML."""

from __future__ import annotations

import dataclasses

import pytest
from conftest import ROOT

from seq2seq.config import (
    ModelConfig,
    SearchConfig,
    TrainClassifierConfig,
    TrainTranslatorConfig,
    field_docs,
    from_flat,
    option_names,
    read_yaml,
    sections,
    to_flat,
)
from seq2seq.errors import ConfigError

ALL_SECTIONS = [*sections(TrainTranslatorConfig).values(), *sections(TrainClassifierConfig).values(), SearchConfig]


@pytest.mark.parametrize("section", ALL_SECTIONS, ids=lambda section: section.__name__)
def test_every_option_has_a_doc_line(section):
    docs = field_docs(section)
    assert list(docs) == [f.name for f in dataclasses.fields(section)]
    assert all(doc.endswith(".") and len(doc) > 5 for doc in docs.values())


def test_field_docs_are_the_lines_under_the_fields():
    assert field_docs(ModelConfig)["embedding_size"] == "E, the size of embeddings."


def test_option_names_tell_the_section():
    names = option_names(TrainTranslatorConfig)
    assert names["learning_rate"] == "optimization"
    assert names["data"] == "data"
    assert option_names(SearchConfig)["beam_size"] == ""


def test_an_option_in_two_sections_is_our_own_mistake():
    doubled = dataclasses.make_dataclass("Doubled", [("a", ModelConfig), ("b", ModelConfig)])
    with pytest.raises(AssertionError, match="two sections"):
        option_names(doubled)


def test_values_reach_their_section_and_come_back():
    values = {"data": "x", "learning_rate": 0.5, "joint": False, "tokenizer": "a.model", "max_steps": 7}
    config = from_flat(TrainTranslatorConfig, values)
    assert (config.data.data, config.optimization.learning_rate, config.tokenizer.joint) == ("x", 0.5, False)
    assert (config.tokenizer.tokenizer, config.training.max_steps) == ("a.model", 7)
    assert {name: value for name, value in to_flat(config).items() if name in values} == values
    assert from_flat(TrainTranslatorConfig, to_flat(config)) == config
    assert from_flat(TrainTranslatorConfig, {}) == TrainTranslatorConfig()


def test_a_configuration_without_sections():
    assert from_flat(SearchConfig, {"beam_size": 2}) == SearchConfig(beam_size=2)
    assert to_flat(SearchConfig(beam_size=2))["beam_size"] == 2


@pytest.mark.parametrize(
    ("value", "stored"),
    [(1, 1.0), ("1e-3", 1e-3), (0.5, 0.5)],
    ids=["whole number", "YAML 1.1 reads 1e-3 as text", "number"],
)
def test_numbers_are_floats(value, stored):
    rate = from_flat(TrainTranslatorConfig, {"learning_rate": value}).optimization.learning_rate
    assert rate == stored
    assert type(rate) is float


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lerning_rate": 1}, "here: unknown option 'lerning_rate'; did you mean 'learning_rate'?"),
        ({"zzzzzzzz": 1}, "here: unknown option 'zzzzzzzz'"),
        ({"learning_rate": "fast"}, "here: learning_rate is 'fast', expected float"),
        ({"max_steps": 1.5}, "here: max_steps is 1.5, expected int"),
        ({"max_steps": True}, "here: max_steps is True, expected int"),
        ({"learning_rate": True}, "here: learning_rate is True, expected float"),
        ({"joint": "yes"}, "here: joint is 'yes', expected bool"),
        ({"joint": 1}, "here: joint is 1, expected bool"),
        ({"attention": "dot"}, "here: attention is 'dot', expected one of bahdanau, none"),
        ({"data": None}, "here: data is None, expected str"),
    ],
)
def test_a_wrong_value_is_told_with_what_was_expected(values, message):
    with pytest.raises(ConfigError) as caught:
        from_flat(TrainTranslatorConfig, values, where="here")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1, 2", "no valid YAML"),
        ("- 1\n- 2", "expected lines of `option: value`"),
        ("model:\n  size: 3", "expected lines of `option: value`"),
        ("just words", "expected lines of `option: value`"),
    ],
)
def test_a_file_that_is_no_recipe(tmp_path, text, message):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_yaml(path)
    assert str(path) in str(caught.value)


def test_a_missing_recipe_and_an_empty_one(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read configuration .*absent\.yaml"):
        read_yaml(tmp_path / "absent.yaml")
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert read_yaml(tmp_path / "empty.yaml") == {}


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_every_recipe_is_valid(path):
    values = read_yaml(path)
    kind = TrainClassifierConfig if "seq2seq train-classifier" in path.read_text() else TrainTranslatorConfig
    config = from_flat(kind, values, where=str(path))
    assert values
    assert to_flat(config).items() >= {k: v for k, v in values.items() if not isinstance(v, str)}.items()
