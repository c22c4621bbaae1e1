"""Labelled text: every container, several labels, what is held out, windows of long texts."""

from __future__ import annotations

import gzip
import json
from collections import Counter

import datasets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq.config import LabelDataConfig, TokenizerConfig
from seq2seq.errors import CorpusError
from seq2seq.text.labels import (
    LabelledData,
    Labels,
    Limits,
    check_labels,
    has_labelled,
    label_weights,
    load_labelled,
    stratified,
    text_batch,
)
from seq2seq.text.tokenizer import Tokenizer

ROWS = [("b", "one two"), ("a", ""), ("b", 'say "no", please'), ("c d", "three")]


def rows_of(path, **options) -> list[tuple[str, str]]:
    corpus = load_labelled(LabelDataConfig(data=str(path), **options), "train")
    return list(zip(corpus["source"], corpus["target"], strict=True))


def test_the_same_rows_from_every_kind_of_file(tmp_path):
    tsv = "".join(f"{label}\t{text}\n" for label, text in ROWS)
    (tmp_path / "plain.tsv").write_text(tsv)
    (tmp_path / "zipped.tsv.gz").write_bytes(gzip.compress(tsv.encode()))
    swapped = "".join(f"{text}\tx\t{label}\n" for label, text in ROWS)
    (tmp_path / "header.tsv").write_text("text\tother\tlabel\n" + swapped)
    quoted = "".join('{},"{}"\n'.format(label, text.replace('"', '""')) for label, text in ROWS)
    (tmp_path / "plain.csv").write_text(quoted)
    (tmp_path / "lines.jsonl").write_text("".join(json.dumps({"text": t, "label": y}) + "\n" for y, t in ROWS))
    datasets.Dataset.from_dict({"text": [t for _, t in ROWS], "label": [y for y, _ in ROWS]}).to_parquet(
        tmp_path / "table.parquet"
    )
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "train.label").write_text("".join(f"{label}\n" for label, _ in ROWS))
    (tmp_path / "folder" / "train.en").write_text("".join(f"{text}\n" for _, text in ROWS))
    for name in ("plain.tsv", "zipped.tsv.gz", "header.tsv", "plain.csv", "lines.jsonl", "table.parquet"):
        assert rows_of(tmp_path / name) == ROWS, name
    assert rows_of(tmp_path / "folder", text_column="en") == ROWS
    assert has_labelled(LabelDataConfig(data=str(tmp_path / "folder"), text_column="en"), "train")
    assert not has_labelled(LabelDataConfig(data=str(tmp_path / "folder"), text_column="en"), "valid")


def test_numbers_class_names_and_lists(tmp_path):
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    set_ = datasets.Dataset.from_dict({"text": ["x", "y", "z"], "label": [1, 0, -1]}, features=features)
    set_.to_parquet(tmp_path / "named.parquet")
    datasets.DatasetDict({"train": set_}).save_to_disk(tmp_path / "saved")
    assert rows_of(tmp_path / "named.parquet") == rows_of(tmp_path / "saved") == [("yes", "x"), ("no", "y"), ("", "z")]
    (tmp_path / "numbers.jsonl").write_text('{"text": "x", "label": 3}\n{"text": "y", "label": null}\n')
    assert rows_of(tmp_path / "numbers.jsonl") == [("3", "x"), ("", "y")]
    (tmp_path / "lists.jsonl").write_text('{"text": "x", "label": ["a", 2]}\n')
    assert rows_of(tmp_path / "lists.jsonl", label_separator="|") == [("a|2", "x")]
    with pytest.raises(CorpusError, match=r"lists.jsonl:1: \['a', 2\] is a list of labels; --label-separator"):
        rows_of(tmp_path / "lists.jsonl")
    (tmp_path / "odd.jsonl").write_text('{"text": "x", "label": {"a": 2}}\n')
    with pytest.raises(CorpusError, match=r"odd.jsonl:1: \{'a': 2\}, expected a label"):
        rows_of(tmp_path / "odd.jsonl")


def test_errors_speak_of_labels(tmp_path):
    (tmp_path / "x.csv").write_text("sentence,label\na,b\n")
    with pytest.raises(CorpusError, match=r"no column 'text'.*--label-column and --text-column"):
        rows_of(tmp_path / "x.csv")
    (tmp_path / "train.label").write_text("a\nb\n")
    (tmp_path / "train.text").write_text("a\n")
    with pytest.raises(CorpusError, match="must be the label of line n"):
        rows_of(tmp_path)
    for names, several, text in ((["a"], False, "only one label, 'a'"), ([], True, "no labels")):
        with pytest.raises(CorpusError, match=text):
            check_labels(names, "x", several)
    check_labels(["a"], "x", True)


def labels(*cells: str, separator: str = "") -> Labels:
    return Labels.read(datasets.Dataset.from_dict({"source": list(cells)}), separator)


def test_labels_of_rows():
    read = labels("a", " b ", "", "a", "10", "9")
    assert read.names() == ["9", "10", "a", "b"]
    assert read.present().tolist() == [True, True, False, True, True, True]
    assert read.hot(["b", "a"]).tolist() == [[0, 1], [1, 0], [0, 0], [0, 1], [0, 0], [0, 0]]
    several = labels("a|b", "b | b|", "", "c|b", separator="|")
    assert several.names() == ["a", "b", "c"] and several.hot(["a", "b", "c"]).sum(1).tolist() == [2, 1, 0, 2]
    assert several.take(np.array([1, 2])).names() == ["b"]
    rarest = several.strata()
    assert len(set(rarest.tolist())) == 4 and rarest[2] == 0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=200), st.floats(0, 0.5), st.integers(0, 9))
def test_stratified_holds_out_the_same_share_of_each_label(codes, share, seed):
    codes = np.array(codes)
    first, second = stratified(codes, share, seed)
    assert sorted([*first, *second]) == list(range(len(codes)))
    assert all(np.array_equal(x, y) for x, y in zip(stratified(codes, share, seed), (first, second), strict=True))
    counts, held = Counter(codes.tolist()), Counter(codes[second].tolist())
    for code, count in counts.items():
        assert abs(held[code] - share * count) <= 1 + (count == 1)
        assert held[code] < count or count > 1


def test_stratified_depends_on_the_seed():
    codes = np.arange(100) % 4
    parts = [stratified(codes, 0.2, seed)[1].tolist() for seed in (1, 2)]
    assert parts[0] != parts[1] and [len(part) for part in parts] == [20, 20]


@pytest.mark.parametrize(
    ("kind", "count", "expected"),
    [
        ("windows", 0, [[]]),
        ("windows", 4, [[0, 1, 2, 3]]),
        ("windows", 7, [[0, 1, 2, 3], [4, 5, 6]]),
        ("windows", 15, [[0, 1, 2, 3], [4, 5, 9, 10], [11, 12, 13, 14]]),  # 12 pieces at most: the middle is left out
        ("ends", 9, [[0, 1, 7, 8]]),
        ("start", 9, [[0, 1, 2, 3]]),
    ],
)
def test_windows(kind, count, expected):
    assert [part.tolist() for part in Limits(4, kind, 3).windows(np.arange(count))] == expected


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["a red house", "two small cats run"] * 20, TokenizerConfig(vocab_size=300), seed=1)


def test_a_batch_of_windows(tokenizer):
    ids = np.arange(10, 10 + 9)
    batch = text_batch(ids, np.array([2, 6, 1]), np.array([0, 1, 0]), tokenizer, Limits(4, "windows", 3))
    end, pad = tokenizer.eos_id, tokenizer.pad_id
    assert batch.pieces.tolist() == [[10, 11, end, pad], [12, 13, 14, end], [15, 16, 17, end], [18, end, pad, pad]]
    assert batch.lengths.tolist() == [3, 4, 4, 2] and batch.owners.tolist() == [0, 1, 1, 2]
    assert batch.labels.tolist() == [0, 1, 0]


def test_labelled_data(tokenizer):
    texts = ["a red house", "", "two small cats run", "red"]
    corpus = datasets.Dataset.from_dict({"source": list("abab"), "target": texts})
    data = LabelledData(corpus, np.array([1, 0, 1]), np.array([0, 1, 2]), tokenizer, Limits(3, "windows", 2))
    ids = tokenizer.encode(texts)
    assert len(data) == 3 and data.cut == sum(len(row) > 6 for row in ids[:3])
    assert data.lengths.tolist() == [min(len(row), 6) + 1 for row in ids[:3]]
    order = [np.array([2, 1]), np.array([0])]
    first, second = data.batches(order)
    assert first.labels.tolist() == [1, 0] and second.labels.tolist() == [1]
    assert first.owners[-1] == 1 and first.lengths[-1] == 1  # nothing but the end
    drawn = [[b.pieces.tolist() for b in data.batches(order, sampling=0.5, seed=1, epoch=e)] for e in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_weights_make_all_labels_count_alike():
    codes = np.array([0] * 6 + [1] * 2 + [2] * 4)
    weights = label_weights(codes, 3)
    np.testing.assert_allclose(weights * np.bincount(codes), [4, 4, 4])
    assert weights[codes].mean() == pytest.approx(1)
    hot = np.array([[1, 0], [1, 0], [1, 1], [0, 0]], dtype=np.float32)
    np.testing.assert_allclose(label_weights(hot, 2), [1, 3])
