"""The benchmark of growth: laws on points made by hand, what is kept and drawn, and each kind of point once, small."""

from __future__ import annotations

import importlib
import json

import pytest
from conftest import ROOT

from seq2seq.config import ModelConfig

WHERE = {"processor": "abacus", "cores": 2, "commit": "0123456789ab", "others": 0.0, "date": "2026-01-01"}


@pytest.fixture
def growth(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "bench"))
    return importlib.import_module("growth")


@pytest.fixture
def lawful(growth):
    """Points that follow the laws to the letter."""
    results = {}
    for axis, values in growth.VALUES.items():
        for value in values:
            found = {
                "corpus": {
                    "read_seconds": value * 1e-6,
                    "tokenise_seconds": value * 2e-5,
                    "order_seconds": value * 1e-7,
                    "step_seconds": 0.2,
                    "preparing_mb": 100,
                    "memory_mb": 300,
                },
                "processes": {"thousand_seconds": 0.4 / min(value, growth.usable_cores()), "memory_mb": 500},
                "length": {"step_seconds": growth.by_length([(10, 0.1)], value), "memory_mb": 300 + 2 * value},
                "vocabulary": {
                    "step_seconds": growth.by_products([(2000, 0.1)], value),
                    "memory_mb": 300 + value / 100,
                },
            }[axis]
            results[f"{axis}/{value}"] = {**found, **WHERE}
    return results


def last_steps(table):
    """Of each curve, by name and axis, how much it has grown and how much its law: the table's last column."""
    found, axis = {}, ""
    for line in table.splitlines():
        if line.startswith("| ") and "---" not in line:
            name, *_, last = line.strip("| ").split(" | ")
            axis = name if last == "last step, law" else axis
            if name != axis:
                found[axis, name] = tuple(float(cell.strip(" x")) for cell in last.split(","))
    return found


def test_points_on_their_laws(growth, lawful):
    steps = last_steps(growth.table(lawful))
    assert len(steps) == len(growth.CURVES)
    assert all(measured == law for measured, law in steps.values())
    assert steps["pairs", "tokenising, s"] == (4.0, 4.0) and steps["pairs", "a step, s"] == (1.0, 1.0)


def test_points_off_their_laws_are_told(growth, lawful):
    lawful["corpus/20000000"]["tokenise_seconds"] *= 3
    lawful["length/400"]["step_seconds"] /= 2
    steps = last_steps(growth.table(lawful))
    assert steps["pairs", "tokenising, s"] == (12.0, 4.0)
    measured, law = steps["pieces a sentence", "a step, s"]
    assert measured == pytest.approx(law / 2, abs=0.01)


def test_a_table_of_few_points(growth, lawful):
    few = {key: lawful[key] for key in ("corpus/10000", "length/10", "length/25")}
    steps = last_steps(growth.table(few))
    assert {axis for axis, _ in steps} == {"pairs", "pieces a sentence"} and steps["pairs", "reading, s"] == (1.0, 1.0)
    assert "|" not in growth.table({})


def test_a_picture_before_all_is_measured(growth, lawful, tmp_path):
    """A panel without points cannot have a logarithmic axis."""
    growth.draw({key: point for key, point in lawful.items() if key.startswith("length")}, tmp_path / "growth.svg")
    assert (tmp_path / "growth.svg").read_text().startswith("<?xml")


def test_operations_by_hand(growth):
    """E 256, C 512, H 512, A 512: 2.2 million products a token beside the output layer's E x V."""
    ratio = growth.by_products([(2_000, 1.0)], 64_000)
    inner = 2 * 3 * 256 * 512 + 3 * 512 * (256 + 512 + 512) + 512 * 1024 + (512 + 512 + 256) * 256
    assert ratio == pytest.approx((inner + 256 * 64_000) / (inner + 256 * 2_000))
    per_token = 6 * (inner + 256 * 8_000)
    by_length = growth.by_length([(10, 1.0)], 400)
    assert by_length == pytest.approx(40 * (per_token + 6 * 400 * 1024) / (per_token + 6 * 10 * 1024))


def test_what_others_do_is_told(growth, lawful):
    assert "not to be relied on" not in growth.provenance(lawful)
    lawful["length/10"]["others"] = 0.4
    assert "Other programs took up to 40% of the cores" in growth.provenance(lawful)


def test_only_what_is_missing_is_measured(growth, lawful, tmp_path, monkeypatch, capsys):
    results, page, picture = tmp_path / "growth.json", tmp_path / "scale.md", tmp_path / "growth.svg"
    del lawful["length/50"]
    results.write_text(json.dumps(lawful))
    page.write_text(f"before\n{growth.BEGIN}old{growth.END}\nafter\n")
    asked = []

    def run(command, **options):
        asked.append(command[-2:])
        return type("Done", (), {"stdout": json.dumps({"step_seconds": 1.0, "memory_mb": 400, **WHERE})})

    monkeypatch.setattr(growth.subprocess, "run", run)
    arguments = ["growth.py", "--results", str(results), "--picture", str(picture), "--page", str(page)]
    monkeypatch.setattr(growth.sys, "argv", arguments)
    growth.main()
    assert asked == [["length", "50"]] and json.loads(results.read_text())["length/50"]["step_seconds"] == 1.0
    assert page.read_text().startswith("before\n") and page.read_text().endswith("after\n")
    assert "](growth.svg)" in page.read_text() and "old" not in page.read_text()
    assert picture.read_text().startswith("<?xml")
    monkeypatch.setattr(growth.sys, "argv", [*arguments, "--only", "vocabulary", "--again"])
    growth.main()
    assert [words[0] for words in asked[1:]] == ["vocabulary"] * 6
    assert "pieces of the vocabulary" in capsys.readouterr().out


def test_each_kind_of_point(growth, monkeypatch):
    """Small models, few steps: every figure is there and above nothing."""
    small = ModelConfig(embedding_size=16, encoder_size=16, decoder_size=16, attention_size=16)
    scaling = importlib.import_module("scaling")
    monkeypatch.setattr(growth, "MODEL", small)
    monkeypatch.setattr(scaling, "MODEL", small)
    monkeypatch.setattr(growth, "ROUNDS", 1)
    monkeypatch.setattr(growth, "STEPS", 1)
    for axis, value in (("corpus", 10_000), ("length", 3), ("vocabulary", 50)):
        point = growth.measure(axis, value)
        wanted = {curve.quantity for curve in growth.CURVES if curve.axis == axis} | set(WHERE)
        assert set(point) == wanted
        assert all(point[name] > 0 for name in wanted - set(WHERE))
