"""Translations by a Ray cluster: workers write what one process writes; a real cluster where Ray is installed."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT
from models import small_tokenizer, write_model

from seq2seq.app import translate_ray
from seq2seq.app.cli import main as seq2seq_main
from seq2seq.app.translate_ray import RayArguments, Worker, main
from seq2seq.config import SearchConfig
from seq2seq.errors import ConfigError
from seq2seq.text.parts import cut, find_files

SEARCH = ["--max-length", "6", "--beam-size", "2", "--precision", "float32"]
LINES = [f"the cat {i} sat on the mat {'very ' * (i % 5)}" if i % 7 else "" for i in range(23)]
with_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the extra `ray` is not installed")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models") / "m", small_tokenizer(), 1)


@pytest.fixture
def text(tmp_path):
    (tmp_path / "in.txt").write_text("".join(f"{line}\n" for line in LINES), encoding="utf-8")
    return str(tmp_path / "in.txt")


@pytest.fixture
def table(tmp_path):
    """The same lines in two Parquet files of a folder, with another column; an empty line is a missing value."""
    rows = [{"id": i, "en": line or None} for i, line in enumerate(LINES)]
    schema = pa.schema([("id", pa.int64()), ("en", pa.string())])
    (tmp_path / "tables").mkdir()
    for name, part in (("a", rows[:9]), ("b", rows[9:])):
        path = tmp_path / "tables" / f"{name}.parquet"
        pq.write_table(pa.Table.from_pylist(part, schema), path, row_group_size=4)
    return str(tmp_path / "tables")


def job(model, given, output, **options):
    options = {"shard_lines": 5, "precision": "float32", "search": SearchConfig(beam_size=2, max_length=6), **options}
    return RayArguments(model=(model,), input=given, output=str(output), **options)


def worked(job):
    """All parts of a job, by one worker without Ray, last part first; what it says of them."""
    worker = Worker(job, job.for_worker())
    (job_output := translate_ray.Path(job.output)).mkdir(exist_ok=True)
    parts = reversed(list(cut(find_files(job.input), job.shard_lines)))
    problems = [worker({"part": [json.dumps([part.number, part.spans])]})["problem"] for part in parts]
    return sorted(job_output.iterdir()), problems


def one_process(model, text, output, *options):
    arguments = ["--model", model, "--input", text, "--output", str(output), "--threads", "1", *SEARCH, *options]
    assert seq2seq_main(["translate", *arguments]) == 0


@pytest.mark.parametrize("format_", ["text", "jsonl"])
@pytest.mark.parametrize("kind", ["text", "table"])
def test_a_worker_writes_what_translate_writes(model, text, table, tmp_path, format_, kind):
    one_process(model, text, f"{tmp_path}/expected/", "--format", format_, "--shard-lines", "5")
    expected = sorted(path for path in (tmp_path / "expected").iterdir() if path.name != "shards.json")
    given = text if kind == "text" else table
    files, problems = worked(job(model, given, tmp_path / "out", format=format_, column="en"))
    assert problems == [[""]] * 5
    assert [path.name for path in files] == [path.name for path in expected]
    assert [path.read_text() for path in files] == [path.read_text() for path in expected]


@pytest.mark.parametrize("n_best", [1, 2])
def test_tables_keep_their_columns(model, text, table, tmp_path, n_best):
    one_process(model, text, tmp_path / "expected", "--n-best", str(n_best), "--format", "jsonl")
    expected = [json.loads(line)["translations"] for line in (tmp_path / "expected").read_text().splitlines()]
    search = SearchConfig(beam_size=2, max_length=6, n_best=n_best)
    files, _ = worked(job(model, table, tmp_path / "out", format="parquet", column="en", search=search))
    assert [path.name for path in files] == [f"{i:06}.parquet" for i in range(5)]
    rows = pa.concat_tables(pq.read_table(path) for path in files).to_pylist()
    assert [(row["id"], row["en"] or "") for row in rows] == list(enumerate(LINES))
    texts = [row["translation"] if n_best > 1 else [row["translation"]] for row in rows]
    scores = [row["translation_score"] if n_best > 1 else [row["translation_score"]] for row in rows]
    assert texts == [[t["text"] for t in best] for best in expected]
    assert [s for row in scores for s in row] == pytest.approx([t["score"] for best in expected for t in best])


def test_tables_from_text(model, text, tmp_path):
    files, _ = worked(job(model, text, tmp_path / "out", format="parquet", output_column="fr"))
    table = pa.concat_tables(pq.read_table(path) for path in files)
    assert table.column_names == ["source", "fr", "fr_score"] and table["source"].to_pylist() == LINES


def test_a_worker_tells_what_is_wrong_with_a_part(model, tmp_path):
    (tmp_path / "in.txt").write_bytes(b"the cat\n" * 7 + b"\xff\n")
    files, problems = worked(job(model, str(tmp_path / "in.txt"), tmp_path / "out"))
    assert "in.txt:8: byte 0xff is no UTF-8" in problems[0][0] and problems[1:] == [[""]]
    assert [path.name for path in files] == ["000000.txt"]


def test_the_folder_is_that_of_translate(model, text, tmp_path):
    """One command may go on with what the other has begun."""
    one_process(model, text, f"{tmp_path}/out/", "--shard-lines", "5")
    begun = json.loads((tmp_path / "out" / "shards.json").read_text())
    wanted = job(model, text, tmp_path / "out")
    assert json.loads(json.dumps(translate_ray._origin(wanted, wanted.for_worker(), [text]))) == begun


@pytest.mark.parametrize(
    ("options", "resources", "expected"),
    [
        ({}, {"CPU": 5.0}, 5),
        ({"threads": 2}, {"CPU": 5.0}, 2),
        ({"workers": 3}, {"CPU": 5.0}, 3),
        ({"gpus": 0.5}, {"CPU": 16.0, "GPU": 2.0}, 4),
        ({"gpus": 0.5, "threads": 8}, {"CPU": 16.0, "GPU": 2.0}, 2),
        ({"workers": 6}, {"CPU": 5.0}, "has 5 CPUs and 0 GPUs, too little for 6 workers of 1 CPUs each"),
        ({"gpus": 1.0}, {"CPU": 5.0}, "too little for 1 workers of 1 CPUs and 1 GPUs each"),
    ],
)
def test_workers_that_a_cluster_has_room_for(options, resources, expected):
    if isinstance(expected, int):
        assert translate_ray._workers(resources, RayArguments(**options)) == expected
    else:
        with pytest.raises(ConfigError, match=expected):
            translate_ray._workers(resources, RayArguments(**options))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "--input is missing: a text or Parquet file"),
        (["--input", "x.txt"], "--output is missing: a folder to write"),
        (["--input", "x.txt", "--output", "o", "--shard-lines", "0"], "--shard-lines is 0, expected 1 or more"),
        (["--input", "x.txt", "--output", "o", "--threads", "0"], "--threads is 0, expected 1 or more"),
        (["--input", "x.txt", "--output", "o", "--workers", "-1"], "--workers is -1, expected 0 or more"),
        (["--input", "x.txt", "--output", "o", "--n-best", "9"], "n_best"),
    ],
)
def test_options_that_cannot_be_used(arguments, told, capsys):
    assert main(arguments) == 2
    assert told in capsys.readouterr().err


def test_without_ray(text, capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["--model", "m", "--input", text, "--output", f"{tmp_path}/out/"]) == 2
    assert capsys.readouterr().err.endswith('pip install "seq2seq[ray]"\n')
    assert not (tmp_path / "out").exists()


def test_columns_are_looked_at_first(table, tmp_path):
    files = find_files(table)
    with pytest.raises(Exception, match=r"no column 'source'; columns found: id, en"):
        translate_ray._check_columns(job("m", table, tmp_path), files)
    taken = job("m", table, tmp_path, column="en", output_column="id", format="parquet")
    with pytest.raises(ConfigError, match=r"has a column 'id' already; name another with --output-column"):
        translate_ray._check_columns(taken, files)
    translate_ray._check_columns(dataclasses.replace(taken, format="text"), files)


@with_ray
@pytest.mark.timeout(500)  # two clusters, each of which starts for half a minute on a busy machine
def test_a_cluster(model, text, table, tmp_path):
    """Two workers go on with a folder that one process has begun; then a Parquet folder, and one error."""

    def run(*arguments):
        command = [sys.executable, str(ROOT / "scripts" / "translate_ray.py"), "--model", model, *SEARCH]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        environment.pop("RAY_ADDRESS", None)
        done = subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    one_process(model, text, tmp_path / "expected")
    one_process(model, text, f"{tmp_path}/out/", "--shard-lines", "5")
    for name in ("000001.txt", "000004.txt"):
        (tmp_path / "out" / name).unlink()
    kept = (tmp_path / "out" / "000000.txt").stat().st_mtime_ns
    arguments = ["--shard-lines", "5", "--workers", "2"]
    code, said = run("--input", text, "--output", f"{tmp_path}/out/", *arguments)
    assert code == 0 and said.endswith(f"2 files of up to 5 lines written to {tmp_path}/out\n"), said
    whole = "".join(path.read_text() for path in sorted((tmp_path / "out").glob("*.txt")))
    assert whole == (tmp_path / "expected").read_text()
    assert (tmp_path / "out" / "000000.txt").stat().st_mtime_ns == kept

    code, said = run("--input", table, "--output", f"{tmp_path}/two/", "--format", "parquet", "--column", "en")
    assert code == 0, said
    texts = pq.read_table(tmp_path / "two" / "000000.parquet")["translation"].to_pylist()
    assert texts == (tmp_path / "expected").read_text().splitlines()


@with_ray
@pytest.mark.parametrize("address", ["127.0.0.1:1", "localhost:port"])
def test_a_cluster_that_is_not_there(model, text, tmp_path, capsys, address):
    command = [sys.executable, str(ROOT / "scripts" / "translate_ray.py"), "--model", model, "--address", address]
    command += ["--input", text, "--output", f"{tmp_path}/out/"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith(f"error: no Ray cluster at {address}: ")
    assert not (tmp_path / "out").exists()
