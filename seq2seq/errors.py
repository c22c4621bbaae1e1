"""Errors meant for people: what was given, what was expected, what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in what the user gave; the command line prints its text alone and exits with code 2."""


class ConfigError(UserError):
    """A wrong option, key or combination of options."""


class CorpusError(UserError):
    """A corpus that cannot be read as asked."""


class ModelDirectoryError(UserError):
    """A directory that is no (readable) model directory."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A half sentence that names the known spelling nearest to `name`, or nothing when none is near."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
