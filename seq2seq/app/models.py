"""`--model`: which models a command takes, and how they are loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from tyro.conf import UseAppendAction, arg

from seq2seq.app.streams import DeviceArguments
from seq2seq.errors import ConfigError

if TYPE_CHECKING:
    from seq2seq.inference.translator import Translator

Models = Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="DIR")]


def load_translator(models: Sequence[str], run: DeviceArguments, command: str) -> Translator:
    """The translator of one model directory, or of several that translate together.

    Raises:
        UserError: None is given, or one cannot be read.
    """
    if not models:
        raise ConfigError(f"{command} needs --model DIR, a directory that `seq2seq train --output DIR` has written")
    from seq2seq.inference.translator import Translator

    return Translator.from_pretrained(models, device=run.device, threads=run.threads, precision=run.precision)
