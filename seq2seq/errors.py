"""Errors meant for people: what was given, what was expected, what to do next."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in what the user gave; the command line prints its text alone and exits with code 2."""


class ConfigError(UserError):
    """A wrong option, key or combination of options."""


class CorpusError(UserError):
    """A corpus that cannot be read as asked."""


class ModelDirectoryError(UserError):
    """A directory that is no (readable) model directory."""


def shown(value: object, most: int = 80) -> str:
    """A value as it stands in an error: one line, cut where it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of too many digits, lists in lists in lists
        return f"a very large {type(value).__name__}"
    return text if len(text) <= most else f"{text[:most]}... ({len(text):,} characters)"


def listed(names: Iterable[object], most: int = 20) -> str:
    """Names as they stand in an error: at most so many of them, each on one line and cut where it is long."""
    names = list(names)
    texts = [shown(str(name))[1:-1] if len(str(name)) <= 80 else shown(str(name)) for name in names[:most]]
    return ", ".join(texts) + (f", ... ({len(names):,} of them)" if len(names) > most else "")


def nearest(name: str, known: Iterable[str]) -> str:
    """A half sentence that names the known spelling nearest to `name`, or nothing when none is near."""
    close = difflib.get_close_matches(name[:100], itertools.islice(known, 1000), n=1, cutoff=0.5)
    return f"; did you mean {shown(close[0])}?" if close else ""
