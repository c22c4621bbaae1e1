"""Corpora of every kind: folders, files, data sets; their splits, their cache, their errors."""

from __future__ import annotations

import dataclasses
import gzip
import os
import subprocess
import sys
from pathlib import Path

import datasets
import pytest

from seq2seq.config import DataConfig
from seq2seq.errors import ConfigError, CorpusError
from seq2seq.text import cache as cache_module
from seq2seq.text import corpus as corpus_module
from seq2seq.text import finding
from seq2seq.text.corpus import both_ways, has_split, load_corpus, read_lines, split_names, train_and_valid


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """A cache of data sets for each test."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(finding, "_hub_in_reach", lambda: False)
    datasets.disable_progress_bars()
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path) -> Path:
    path = tmp_path / "folder"
    path.mkdir()
    return path


def write(folder, **texts):
    """Files named SPLIT_LANGUAGE; returns the configuration that reads them."""
    for name, text in texts.items():
        (folder / name.replace("_", ".")).write_text(text, encoding="utf-8", newline="")
    return DataConfig(data=str(folder), source="en", target="de")


def pairs(part):
    assert part.column_names == ["source", "target"]
    return list(zip(part["source"], part["target"], strict=True))


def test_folder_of_parallel_lines(folder):
    data = write(
        folder, train_en="a\n\nU+2028 \u2028 here\n", train_de="b\nc\nd", test_en="x\n", test_de="y\n", notes_txt="?"
    )
    assert pairs(load_corpus(data, "train")) == [("a", "b"), ("", "c"), ("U+2028 \u2028 here", "d")]
    assert pairs(load_corpus(data, "test")) == [("x", "y")]
    assert split_names(data) == ["test", "train"]


@pytest.mark.parametrize("stored", ["valid", "val", "dev", "validation"])
@pytest.mark.parametrize("asked", ["valid", "validation", "dev"])
def test_names_of_the_validation_split_are_one(folder, stored, asked):
    data = write(folder, **{f"{stored}_en": "a\n", f"{stored}_de": "b\n"})
    assert has_split(data, asked) and not has_split(data, "train") and not has_split(data, "tset")
    assert pairs(load_corpus(data, asked)) == [("a", "b")]


@pytest.mark.parametrize(("share", "most", "count"), [(0.05, 1000, 10), (0.05, 7, 7), (0.001, 1000, 1)])
def test_pairs_are_held_out_where_there_is_no_validation_split(folder, monkeypatch, share, most, count):
    monkeypatch.setattr(corpus_module, "MOST_HELD_OUT", most)
    given = [(f"s{number // 2}", f"t{number}") for number in range(200)]  # each source twice
    text = [" ".join(f"{side[i]}" for side in given) for i in (0, 1)]
    data = write(folder, train_en=text[0].replace(" ", "\n") + "\n", train_de=text[1].replace(" ", "\n") + "\n")
    data = dataclasses.replace(data, valid_share=share)
    train, valid, held_out = train_and_valid(data, 3)
    assert held_out and len(valid) == count
    sources = {source for source, _ in pairs(valid)}
    assert pairs(train) == [pair for pair in given if pair[0] not in sources]
    assert pairs(valid) == [pair for pair in given if pair in set(pairs(valid))]
    again = train_and_valid(data, 3)
    assert [pairs(part) for part in again[:2]] == [pairs(train), pairs(valid)]
    assert again[0]._fingerprint == train._fingerprint, "its tokens are in the cache"
    assert pairs(train_and_valid(data, 4)[1]) != pairs(valid)


def test_a_validation_split_is_taken_as_it_is(folder):
    text = {"train_en": "a\nb\n", "train_de": "x\ny\n", "valid_en": "a\n", "valid_de": "x\n"}
    train, valid, held_out = train_and_valid(write(folder, **text), 1)
    assert (pairs(train), pairs(valid), held_out) == ([("a", "x"), ("b", "y")], [("a", "x")], False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"valid_share": 0.0}, "no validation split 'valid'; add one"),
        ({"valid_split": "vaild"}, "no validation split 'vaild'; add one"),
        ({"valid_share": -0.1}, "--valid-share is -0.1"),
        ({"valid_share": 0.9, "train_split": "one"}, "2 pairs are too few"),
    ],
)
def test_nothing_is_held_out(folder, options, message):
    data = write(folder, train_en="a\nb\n", train_de="x\ny\n", one_en="a\na\n", one_de="x\ny\n")
    with pytest.raises((ConfigError, CorpusError), match=message):
        train_and_valid(dataclasses.replace(data, **options), 1)


def test_half_of_a_validation_split_is_a_mistake(folder):
    data = write(folder, train_en="a\nb\n", train_de="x\ny\n", dev_de="x\n")
    with pytest.raises(CorpusError, match=r"dev.de is there, but dev.en is not"):
        train_and_valid(data, 1)


def test_asked_name_comes_first_among_validation_names(folder):
    data = write(folder, dev_en="dev\n", dev_de="dev\n", valid_en="valid\n", valid_de="valid\n")
    assert pairs(load_corpus(data, "dev")) == [("dev", "dev")]
    assert pairs(load_corpus(data, "valid")) == [("valid", "valid")]


def test_any_other_split_and_gzip(folder):
    data = write(folder, **{"test_2016_en": "plain\n"})  # test.2016.en
    (folder / "test.2016.de.gz").write_bytes(gzip.compress("gz ü\n".encode()))
    assert pairs(load_corpus(data, "test.2016")) == [("plain", "gz ü")]


@pytest.mark.parametrize(
    ("name", "text"),
    [("train.tsv", "en\tde\na\tb\n"), ("train.csv", "a,b\n"), ("train.jsonl", '{"source": "a", "target": "b"}\n')],
)
def test_tables_in_a_folder_and_alone(folder, name, text):
    (folder / name).write_text(text)
    assert pairs(load_corpus(DataConfig(data=str(folder), source="en", target="de"), "train")) == [("a", "b")]
    alone = DataConfig(data=str(folder / name), source="en", target="de")
    assert pairs(load_corpus(alone, "train")) == [("a", "b")]
    assert split_names(alone) == ["train"] and not has_split(alone, "valid")
    ending = name.rpartition(".")[2]
    with pytest.raises(
        CorpusError, match=rf"single file.*no 'test'. Give a folder with train\.{ending} and test\.{ending}"
    ):
        load_corpus(alone, "test")


def test_memory_mapped_and_cached_by_content_and_options(folder, cache):
    data = write(folder, train_tsv="en\tde\tfr\na\tb\tc\n")
    first = load_corpus(data, "train")
    assert first.cache_files and Path(first.cache_files[0]["filename"]).is_relative_to(cache)
    again = load_corpus(data, "train")
    assert again._fingerprint == first._fingerprint
    assert len(list(cache.rglob("*.arrow"))) == 1
    french = load_corpus(DataConfig(data=str(folder), source="en", target="fr"), "train")
    assert pairs(french) == [("a", "c")]
    file = folder / "train.tsv"
    before = file.stat()
    file.write_text("en\tde\tfr\nA\tB\tC\n")  # of the same size
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))  # and, it says, of the same time
    changed = load_corpus(data, "train")
    assert pairs(changed) == [("A", "B")] and changed._fingerprint != first._fingerprint
    assert pairs(first) == [("a", "b")]


def test_the_cache_knows_text_that_has_moved(folder, cache):
    first = load_corpus(write(folder, train_en="a\n", train_de="b\n"), "train")
    moved = folder / "elsewhere"
    moved.mkdir()
    for name in ("train.en", "train.de"):
        (folder / name).rename(moved / name.replace("train", "valid"))
    again = load_corpus(DataConfig(data=str(moved), source="en", target="de"), "valid")
    assert again._fingerprint == first._fingerprint and len(list(cache.rglob("*.arrow"))) == 1
    (moved / "valid.de.gz").write_bytes((moved / "valid.de").read_bytes())
    (moved / "valid.de").unlink()
    with pytest.raises(CorpusError, match="no gzip file"):  # the same bytes, to be read otherwise
        load_corpus(DataConfig(data=str(moved), source="en", target="de"), "valid")
    tables = {name: folder / name for name in ("train.tsv", "train.csv")}
    for path in tables.values():
        path.write_text('a,"b\tb",c\n' * 2)
    with pytest.raises(CorpusError):
        load_corpus(DataConfig(data=str(tables["train.csv"])), "train")  # three columns
    assert pairs(load_corpus(DataConfig(data=str(tables["train.tsv"])), "train")) == [('a,"b', 'b",c')] * 2


def test_reading_goes_on_after_an_interruption(folder, cache, monkeypatch):
    """With the shards that were finished, and to the same table."""
    monkeypatch.setattr(cache_module, "SHARD_ROWS", 20_000)
    count = 45_000
    data = write(folder, train_tsv="".join(f"s {i}\tt {i}\n" for i in range(count)))
    written = corpus_module._text_array
    calls = []

    def interrupted(texts, before, *rest):
        calls.append(before)
        if before == 30_000:
            raise KeyboardInterrupt
        return written(texts, before, *rest)

    monkeypatch.setattr(corpus_module, "_text_array", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load_corpus(data, "train")
    assert [path.name for path in cache.rglob("*") if path.is_file()] == ["00000.arrow"]
    monkeypatch.setattr(corpus_module, "_text_array", lambda *all: calls.append(all[1]) or written(*all))
    calls.clear()
    part = load_corpus(data, "train")
    assert calls[0] == 20_000
    assert sorted(path.name for path in cache.rglob("*.arrow")) == ["00000.arrow", "00001.arrow", "00002.last.arrow"]
    assert part["source"][:] == [f"s {i}" for i in range(count)] and part[[count - 1, 20_000]]["target"] == [
        f"t {count - 1}", "t 20000",
    ]  # fmt: skip


def test_many_rows_in_blocks(folder):
    count = 25_003
    data = write(
        folder, train_en="".join(f"s {i}\n" for i in range(count)), train_de="".join(f"t {i}\n" for i in range(count))
    )
    part = load_corpus(data, "train")
    assert len(part) == count
    assert part[[0, 9_999, 10_000, count - 1]]["target"] == ["t 0", "t 9999", "t 10000", f"t {count - 1}"]


def test_both_ways(folder):
    write(folder, **{"train.en": "a\nb\n", "train.de": "x\n\n"})
    data = DataConfig(data=str(folder), source="en", target="de")
    found = both_ways(load_corpus(data, "train"))
    assert pairs(found) == [("a", "x"), ("b", ""), ("x", "a"), ("", "b")]


def test_failed_preparation_leaves_nothing(folder, cache):
    data = write(folder, train_en="a\n" * 20_001, train_de="b\n" * 20_000)
    with pytest.raises(CorpusError, match=r"train\.en has 20,001 lines, .*train\.de has 20,000"):
        load_corpus(data, "train")
    assert not [path for path in cache.rglob("*") if path.is_file()]
    write(folder, train_de="b\n" * 20_001)
    assert len(load_corpus(data, "train")) == 20_001


def test_processes_at_the_same_time(folder, cache):
    write(folder, train_en="a\n" * 30_000, train_de="b\n" * 30_000)
    program = (
        "from seq2seq.config import DataConfig\nfrom seq2seq.text.corpus import load_corpus\n"
        f"part = load_corpus(DataConfig(data={str(folder)!r}, source='en', target='de'), 'train')\n"
        "import sys; sys.stdout.write(str((len(part), part[29_999]['target'])))\n"
    )
    environment = {**os.environ, "HF_DATASETS_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    runs = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment, text=True)
        for _ in range(2)
    ]
    assert [run.communicate(timeout=100)[0] for run in runs] == ["(30000, 'b')"] * 2
    assert [path.suffix for path in cache.rglob("*") if path.is_file()] == [".arrow"]


def test_missing_path_names_the_nearest(folder):
    with pytest.raises(CorpusError, match=r"foldre: no such file or folder; did you mean 'folder'"):
        load_corpus(DataConfig(data=str(folder.parent / "foldre")), "train")
    with pytest.raises(CorpusError, match=r"no corpus given; .*--data"):
        load_corpus(DataConfig(), "train")
    (folder / "train.txt").write_text("a\n")
    with pytest.raises(CorpusError, match=r"train\.txt: unknown kind of file; expected .*\.tsv"):
        load_corpus(DataConfig(data=str(folder / "train.txt")), "train")


def test_missing_split_and_side(folder):
    data = write(folder, train_en="a\n", train_de="b\n", tset_en="a\n", tset_de="b\n", valid_en="a\n")
    with pytest.raises(CorpusError, match=r"no split 'test'.*splits found: train, tset.*did you mean 'tset'"):
        load_corpus(data, "test")
    with pytest.raises(CorpusError, match=r"valid\.en is there, but valid\.de is not"):
        load_corpus(data, "dev")
    with pytest.raises(CorpusError, match=r"train\.en is there, but train\.fr is not; did you mean 'train\.de'"):
        load_corpus(DataConfig(data=str(folder), source="en", target="fr"), "train")
    with pytest.raises(CorpusError, match=r"train\.de is there, but train\.eng is not; did you mean 'train\.en'"):
        load_corpus(DataConfig(data=str(folder), source="eng", target="de"), "train")
    with pytest.raises(CorpusError, match=r"neither train\.source with train\.target .*it holds train\.de, train\.en"):
        load_corpus(DataConfig(data=str(folder)), "train")


def test_empty_corpora(folder):
    data = write(folder, train_en="", train_de="", valid_tsv="en\tde\n")
    with pytest.raises(CorpusError, match=r"train\.en and .*train\.de: the corpus is empty"):
        load_corpus(data, "train")
    with pytest.raises(CorpusError, match=r"valid\.tsv: the corpus is empty"):
        load_corpus(data, "valid")
    bare = folder / "bare"
    bare.mkdir()
    with pytest.raises(CorpusError, match=r"bare holds no corpus: .*it holds nothing"):
        load_corpus(DataConfig(data=str(bare)), "train")


def test_invalid_text(folder):
    data = write(folder, train_de="b\nb\n", valid_jsonl='{"en": "a", "de": "b"}\n{"en": "\\ud83d", "de": "b"}\n')
    (folder / "train.en").write_bytes(b"a\n\xff\n")
    with pytest.raises(CorpusError, match=r"train\.en:2: byte 0xff"):
        load_corpus(data, "train")
    with pytest.raises(CorpusError, match=r"valid\.jsonl:2: here is half of a surrogate pair"):
        load_corpus(data, "valid")
    lenient = DataConfig(data=str(folder), source="en", target="de", encoding_errors="replace")
    assert pairs(load_corpus(lenient, "train"))[1] == ("\ufffd", "b")
    assert pairs(load_corpus(lenient, "valid"))[1] == ("\ufffd", "b")


TRANSLATIONS = [{"translation": {"en": f"a {i}", "de": f"b\n{i}"}} for i in range(5)]
EXPECTED = [(f"a {i}", f"b {i}") for i in range(5)]


def test_data_set_folder_as_the_hub_lays_it_out(folder):
    made = datasets.Dataset.from_list(TRANSLATIONS)
    (folder / "data").mkdir()
    for split in ("train", "validation"):
        made.to_parquet(str(folder / "data" / f"{split}-00000-of-00001.parquet"))
    data = DataConfig(data=str(folder), source="en", target="de")
    assert split_names(data) == ["train", "validation"]
    assert pairs(load_corpus(data, "train")) == EXPECTED
    assert pairs(load_corpus(data, "dev")) == EXPECTED
    assert load_corpus(data, "train").cache_files
    with pytest.raises(CorpusError, match="no split 'test'; splits found: train, validation"):
        load_corpus(data, "test")
    with pytest.raises(CorpusError, match=r"no column 'fr'; columns found: translation\.en, translation\.de"):
        load_corpus(DataConfig(data=str(folder), source="en", target="fr"), "train")


@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_shards_beside_each_other(folder, cache, ending):
    for shard in range(12):
        made = datasets.Dataset.from_list([{"en": f"a {shard}", "de": f"b {shard}"}])
        getattr(made, {"parquet": "to_parquet", "jsonl": "to_json"}[ending])(
            str(folder / f"train-{shard:05d}-of-00012.{ending}")
        )
    (folder / "valid.tsv").write_text("en\tde\nx\ty\n")
    data = DataConfig(data=str(folder), source="en", target="de")
    expected = [(f"a {shard}", f"b {shard}") for shard in range(12)]
    assert sorted(split_names(data)) == ["train", "valid"]
    assert pairs(load_corpus(data, "train")) == expected and pairs(load_corpus(data, "dev")) == [("x", "y")]
    assert all("seq2seq" in path.parts for path in cache.rglob("*.arrow"))  # one copy, by what the files hold
    (folder / f"train-00007-of-00012.{ending}").rename(folder / f"rest.{ending}")
    with pytest.raises(CorpusError, match=r"is one of 12 shards, of which 11 are there: train-00000-of-"):
        load_corpus(data, "train")


def test_a_pattern(folder):
    for split in ("train", "dev"):
        (folder / split).mkdir()
        for part in (1, 2):
            (folder / split / f"part{part}.jsonl").write_text(f'{{"en": "{split} {part}", "de": "b"}}\n')
    every = [("train 1", "b"), ("train 2", "b")]
    data = DataConfig(data=str(folder / "{split}" / "part*.jsonl"), source="en", target="de")
    assert sorted(split_names(data)) == ["dev", "train"]
    assert pairs(load_corpus(data, "train")) == every
    assert pairs(load_corpus(data, "valid")) == [("dev 1", "b"), ("dev 2", "b")]
    one = DataConfig(data=str(folder / "train" / "*.jsonl"), source="en", target="de")
    assert pairs(load_corpus(one, "train")) == every
    with pytest.raises(CorpusError, match=r"no split 'valid'; splits found: train\. Write \{split\} where the name"):
        load_corpus(one, "valid")
    with pytest.raises(CorpusError, match=r"no split 'test'; splits found: dev, train"):
        load_corpus(data, "test")
    with pytest.raises(CorpusError, match=r"\*\.tsv matches no file"):
        load_corpus(DataConfig(data=str(folder / "*.tsv")), "train")
    (folder / "train" / "part3.txt").write_text("")
    with pytest.raises(CorpusError, match=r"part3\.txt: unknown kind of file"):
        load_corpus(DataConfig(data=str(folder / "train" / "*")), "train")


def test_data_set_folder_with_configurations(folder):
    for name in ("one", "two"):
        (folder / name).mkdir()
        datasets.Dataset.from_list([{"en": name, "de": name}]).to_parquet(str(folder / name / "train.parquet"))
    (folder / "README.md").write_text(
        "---\nconfigs:\n"
        + "".join(f"- config_name: {name}\n  data_files: {name}/train.parquet\n" for name in ("one", "two"))
        + "---\n"
    )
    data = DataConfig(data=f"{folder}:two", source="en", target="de")
    assert pairs(load_corpus(data, "train")) == [("two", "two")]
    with pytest.raises(CorpusError, match=r"one.*two.*Name a configuration after a colon, as in DATA:NAME"):
        load_corpus(DataConfig(data=str(folder), source="en", target="de"), "train")


def test_saved_data_sets(folder):
    made = datasets.Dataset.from_list(TRANSLATIONS)
    made.save_to_disk(str(folder / "one"))
    assert pairs(load_corpus(DataConfig(data=str(folder / "one"), source="en", target="de"), "train")) == EXPECTED
    datasets.DatasetDict(train=made, dev=made.select([3, 1])).save_to_disk(str(folder / "many"))
    data = DataConfig(data=str(folder / "many"), source="en", target="de")
    assert split_names(data) == ["dev", "train"]
    assert pairs(load_corpus(data, "valid")) == [EXPECTED[3], EXPECTED[1]]
    with pytest.raises(CorpusError, match="no split 'test'; splits found: train, dev"):
        load_corpus(data, "test")
    (folder / "one" / "state.json").write_text("{")
    with pytest.raises(CorpusError, match="holds a saved data set that cannot be read"):
        load_corpus(DataConfig(data=str(folder / "one")), "train")


def test_data_set_id(folder, monkeypatch):
    """The hub's part is played by a folder of the same layout; what is called, and how, is the same."""
    with pytest.raises(CorpusError, match=r"someone/corpus: no such file or folder.*the hub is out of reach"):
        load_corpus(DataConfig(data="someone/corpus"), "train")
    (folder / "data").mkdir()
    datasets.Dataset.from_list(TRANSLATIONS).to_parquet(str(folder / "data" / "train-00000-of-00001.parquet"))
    asked = []

    def load(name, configuration, split):
        asked.append((name, configuration, split))
        return datasets.Dataset.from_parquet(str(folder / "data" / "train-00000-of-00001.parquet"))

    monkeypatch.setattr(finding, "_hub_in_reach", lambda: True)
    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda name, configuration: ["train"])
    monkeypatch.setattr(datasets, "load_dataset", load)
    data = DataConfig(data="someone/corpus:de-en", source="en", target="de")
    assert pairs(load_corpus(data, "train")) == EXPECTED
    assert asked == [("someone/corpus", "de-en", "train")]


def test_own_lines_are_read_by_the_same_reader(folder):
    write(folder, train_en="a\n")
    assert list(read_lines(folder / "train.en")) == ["a"]
