"""Messages for people."""

from __future__ import annotations

from seq2seq.errors import ConfigError, CorpusError, ModelDirectoryError, UserError, nearest


def test_every_error_of_a_user_is_one_kind():
    assert all(issubclass(kind, UserError) for kind in (ConfigError, CorpusError, ModelDirectoryError))


def test_nearest_names_the_likely_spelling_or_nothing():
    known = ["learning_rate", "label_smoothing", "seed"]
    assert nearest("lerning-rate", known) == "; did you mean 'learning_rate'?"
    assert nearest("sede", iter(known)) == "; did you mean 'seed'?"
    assert nearest("zzzz", known) == ""
    assert nearest("x", []) == ""
