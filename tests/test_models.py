"""--model, missing and found."""

from __future__ import annotations

import pytest

from seq2seq.app.models import load_translator
from seq2seq.app.streams import DeviceArguments
from seq2seq.errors import ConfigError


def test_a_model_must_be_named(tiny_model):
    with pytest.raises(ConfigError, match="embed needs --model DIR"):
        load_translator((), DeviceArguments(), "embed")
    assert len(load_translator((str(tiny_model),) * 2, DeviceArguments(threads=1), "embed").models) == 2
