"""Sentences typed at a prompt, with line editing and a history of what was typed before (arrow keys)."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

PROMPT = "> "


def typed_lines() -> Iterator[str]:
    """Lines from a terminal until Ctrl-D. The history lasts as long as the program and is written nowhere."""
    with contextlib.suppress(ImportError):  # not on Windows; there the terminal has a history of its own
        import readline  # noqa: F401  (input() uses it once it is loaded)

    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")
    sys.stderr.write("One sentence a line, arrow keys for earlier ones; Ctrl-D ends.\n")
    while True:
        try:
            yield input(PROMPT)
        except EOFError:
            sys.stdout.write("\n")
            return
