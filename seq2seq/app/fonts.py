"""Fonts for text of any script, from what is installed: matplotlib's own has Latin, Greek, Cyrillic and few others."""

from __future__ import annotations

import contextlib
import sys
import unicodedata
import warnings
from collections.abc import Iterable, Iterator

import matplotlib
from matplotlib import font_manager, ft2font

DEFAULT = "DejaVu Sans"  # comes with matplotlib


@contextlib.contextmanager
def fonts_for(texts: Iterable[str]) -> Iterator[None]:
    """While this is open, matplotlib draws each character of the texts with a font that has it, where one is installed.

    What no font has is said on standard error, and drawn as a box.
    """
    needed = {c for text in texts for c in text if not c.isspace() and unicodedata.category(c) not in ("Cf", "Cc")}
    families, missing = choose_fonts(needed, font_manager.findSystemFonts())
    if missing:
        sys.stderr.write(f"{describe(missing)}; they are drawn as boxes\n")
    with matplotlib.rc_context({"font.family": families}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        yield


def choose_fonts(needed: set[str], installed: Iterable[str]) -> tuple[list[str], set[str]]:
    """Names of few fonts that together have the characters, the default first, and the characters that none has.

    Args:
        needed: Characters.
        installed: Font files.
    """
    default = font_manager.findfont(DEFAULT)
    families = [DEFAULT]
    missing = needed - _characters(default)
    if not missing:
        return families, missing
    have = {path: missing & _characters(path) for path in sorted(installed)}
    while missing and have:
        # of fonts that have as many, a plain one rather than a bold or a serif one
        path = max(have, key=lambda name: (len(have[name] & missing), "Regular" in name, "Serif" not in name))
        if not have[path] & missing:
            break
        font_manager.fontManager.addfont(path)
        families.append(font_manager.FontProperties(fname=path).get_name())
        missing = missing - have.pop(path)
    return families, missing


def _characters(path: str) -> set[str]:
    try:
        return {chr(code) for code in ft2font.FT2Font(path).get_charmap()}
    except (RuntimeError, OSError, ValueError):  # a format that matplotlib cannot draw, such as bitmaps
        return set()


def describe(missing: set[str]) -> str:
    """What to say of characters that no installed font has."""
    scripts: dict[str, list[str]] = {}
    for character in sorted(missing):
        scripts.setdefault(unicodedata.name(character, "UNNAMED").split()[0].capitalize(), []).append(character)
    shown = ", ".join(f"{script} {''.join(found[:5])}" for script, found in scripts.items())
    return f"no installed font has {len(missing)} of the characters ({shown}); install one, such as a Noto font"
