"""Write README's table of options from the dataclasses: python scripts/options_table.py [--check]."""

from __future__ import annotations

import dataclasses
import sys
import typing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from seq2seq.config import (
    DistillationConfig,
    FilterConfig,
    SearchConfig,
    TrainClassifierConfig,
    TrainTranslatorConfig,
    field_docs,
    sections,
)

BEGIN, END = "<!-- options -->", "<!-- end of options -->"


def _values(hint: object) -> str:
    """What may stand behind a flag: the choices, or the kind of value."""
    if typing.get_origin(hint) is typing.Literal:
        return ", ".join(f"`{choice}`" for choice in typing.get_args(hint))
    return {bool: "yes/no", int: "whole number", float: "number"}.get(hint, "text")  # type: ignore[call-overload]


def _default(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value in ("", None):
        return ""
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _section(title: str, section: type, known: type | None = None) -> str:
    """A section's table, without the options that one shown already has with the same default and meaning."""
    hints, docs = typing.get_type_hints(section), field_docs(section)
    before = field_docs(known) if known else {}
    defaults = {option.name: option.default for option in dataclasses.fields(known)} if known else {}  # type: ignore[arg-type]
    rows = [f"**{title}**", "", "| option | default | values | meaning |", "| --- | --- | --- | --- |"]
    for option in dataclasses.fields(section):
        if before.get(option.name) == docs[option.name] and defaults[option.name] == option.default:
            continue
        flag = "--" + option.name.replace("_", "-")
        cells = [f"`{flag}`", _default(option.default), _values(hints[option.name]), docs[option.name]]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def options_table() -> str:
    """Every option of training, search and filtering, one table a section, as Markdown."""
    tables = [_section(f"train: {name}", section) for name, section in sections(TrainTranslatorConfig).items()]
    shown = sections(TrainTranslatorConfig)
    own = sections(TrainClassifierConfig)
    tables += [_section(f"train-classifier: {name}, beside train's", own[name], shown[name]) for name in own]
    tables.append(_section("distill, beside train's", DistillationConfig))
    tables += [_section("translate, evaluate: search", SearchConfig), _section("filter", FilterConfig)]
    return "\n\n".join(tables)


def with_table(readme: str) -> str:
    """The README's text with the table between its two markers made anew."""
    before, rest = readme.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n\n{options_table()}\n\n{END}{after}"


def main() -> int:
    """Write the table; with --check only say whether README is up to date (exit code 1 when it is not)."""
    path = Path(__file__).resolve().parents[1] / "README.md"
    old = path.read_text(encoding="utf-8")
    new = with_table(old)
    if "--check" in sys.argv[1:]:
        sys.stdout.write("up to date\n" if old == new else "out of date: python scripts/options_table.py writes it\n")
        return int(old != new)
    path.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
