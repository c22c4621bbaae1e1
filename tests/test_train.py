"""`seq2seq train` by the real command: a toy task learned to a bar, resume, and what it refuses."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import sacrebleu
import torch
from conftest import ROOT, TINY

from seq2seq import Translator, checkpoint
from seq2seq.app import train
from seq2seq.app.cli import main
from seq2seq.app.output import exclusive
from seq2seq.checkpoint import directions, load_model, read_tensors
from seq2seq.config import TrainingConfig, TrainTranslatorConfig
from seq2seq.inference import risk


def _reversal(folder: Path) -> Path:
    """Sentences of invented words, the target is the source backwards; test sentences do not occur in training."""
    rng = random.Random(1)
    words = ["".join(rng.choices("bdfgklmnprst", k=1) + rng.choices("aeiou", k=1)) + "x" for _ in range(12)]
    sentences = {tuple(rng.choices(words, k=rng.randint(3, 7))) for _ in range(2800)}
    lines = sorted(" ".join(words) for words in sentences)
    rng.shuffle(lines)
    folder.mkdir()
    for split, part in (("train", lines[:2200]), ("valid", lines[2200:2250]), ("test", lines[2250:2350])):
        (folder / f"{split}.src").write_text("".join(f"{line}\n" for line in part))
        (folder / f"{split}.rev").write_text("".join(" ".join(reversed(line.split())) + "\n" for line in part))
    return folder


def test_reversal_is_learned(tmp_path: Path) -> None:
    data = _reversal(tmp_path / "data")
    start = time.process_time()  # on the clock other programs count too
    code = main(
        [
            *("train", "--data", str(data), "--source", "src", "--target", "rev", "--output", str(tmp_path / "model")),
            *("--vocab-size", "300", "--embedding-size", "64", "--encoder-size", "64", "--decoder-size", "128"),
            *("--attention-size", "64", "--batch-tokens", "800", "--max-epochs", "11", "--learning-rate", "0.006"),
            *("--warmup-steps", "50", "--ema-decay", "0.98", "--dropout", "0.1", "--dropout-readout", "0.1"),
            *("--dropout-embedding", "0.05", "--label-smoothing", "0.05"),
            # products this small gain nothing from a second thread
            *("--threads", "1"),
        ]
    )
    seconds = time.process_time() - start
    assert code == 0
    sources, references = ((data / f"test.{side}").read_text().splitlines() for side in ("src", "rev"))
    translations = Translator.from_pretrained(tmp_path / "model").translate(sources, beam_size=5)
    assert sacrebleu.corpus_bleu(translations, [references]).score >= 95
    assert seconds < 60


def _train(data: Path, output: Path, *options: str) -> int:
    return main(
        ["train", "--data", str(data), "--source", "en", "--target", "fr", "--output", str(output), *TINY, *options]
    )


@pytest.mark.parametrize("options", [[], ["--sampling", "0.2", "--accumulate", "2", "--dropout-state", "0.2"]])
def test_resumed_training_equals_unbroken(small_corpus: Path, tmp_path: Path, options: list[str]) -> None:
    """The whole chain: sampling tokenizer, dropout, averaging, a stop in the middle of an epoch."""
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    options = [*options, "--validate-every", "3", "--max-epochs", "9", "--schedule", "inverse_sqrt"]
    assert _train(small_corpus, unbroken, *options) == 0
    assert _train(small_corpus, broken, *options, "--max-steps", "2", "--validate-every", "2") == 0
    assert _train(small_corpus, broken, *options, "--resume") == 0
    last = "training_state/step-000000006/tensors.safetensors"
    whole, resumed = read_tensors(unbroken / last), read_tensors(broken / last)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_minimum_risk_training(small_corpus: Path, tiny_model: Path, tmp_path: Path, monkeypatch) -> None:
    """A model goes on with its own translations beside the pairs, and ends alike wherever the run was stopped."""
    monkeypatch.setattr(risk, "sentence_bleu", lambda text, *_: len(text) % 7 / 7)  # it says nothing that BLEU sees
    start = ["--initial-model", str(tiny_model), "--max-steps", "5", "--schedule", "constant"]
    asked = [*start, "--risk", "30", "--risk-beam", "3", "--accumulate", "2", "--precision", "float32"]
    unbroken, broken, without = (tmp_path / name for name in ("unbroken", "broken", "without"))
    assert _train(small_corpus, unbroken, *asked) == 0
    assert _train(small_corpus, broken, *asked, "--max-steps", "2") == 0
    assert _train(small_corpus, broken, *asked, "--resume") == 0
    assert _train(small_corpus, without, *start, "--accumulate", "2", "--precision", "float32") == 0
    last = "training_state/step-000000005/tensors.safetensors"
    whole, resumed, plain = (read_tensors(folder / last) for folder in (unbroken, broken, without))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert not all(torch.equal(whole[name], plain[name]) for name in whole)
    asked = ["--initial-model", str(tiny_model), "--max-steps", "1", "--log-every", "1", "--precision", "float32"]
    asked += ["--dropout", "0", "--dropout-embedding", "0", "--dropout-readout", "0"]
    for name, options in (("first", []), ("second", ["--risk", "30"])):  # what is logged is the loss of the pairs
        assert _train(small_corpus, tmp_path / name, *asked, *options) == 0
    logs = [(tmp_path / name / "metrics.jsonl").read_text().splitlines()[0] for name in ("first", "second")]
    assert json.loads(logs[0])["loss"] == json.loads(logs[1])["loss"]


def test_a_resumed_run_goes_on_in_a_stream(small_corpus: Path, tmp_path: Path, capsys) -> None:
    """Several windows, of which the resumed run reads the first and those from its checkpoint on."""
    for split in ("train", "valid"):
        sides = [(small_corpus / f"{split}.{side}").read_text(encoding="utf-8").splitlines() for side in ("en", "fr")]
        rows = [json.dumps({"en": s, "fr": t}) + "\n" for s, t in zip(*sides, strict=True)]
        for shard in range(2):
            (tmp_path / f"{split}-{shard:05d}-of-00002.jsonl").write_text("".join(rows[shard::2]))
    options = ["--streaming", "--stream-buffer", "15", "--validate-every", "3", "--schedule", "inverse_sqrt"]
    options += ["--max-epochs", "0", "--max-steps", "9"]
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    assert _train(tmp_path, unbroken, *options) == 0
    said = capsys.readouterr().out
    assert "streamed, 15 pairs in memory; 10 pairs for validation" in said
    assert "tokenizer: trained on the first 200 pairs of the stream" in said
    assert _train(tmp_path, broken, *options, "--max-steps", "7", "--validate-every", "7") == 0
    assert _train(tmp_path, broken, *options, "--resume") == 0
    state = unbroken / "training_state" / "step-000000009"
    assert json.loads((state / "state.json").read_text())["progress"]["epoch"] >= 2
    last = "training_state/step-000000009/tensors.safetensors"
    whole, resumed = read_tensors(unbroken / last), read_tensors(broken / last)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert main(["train", "--data", str(tmp_path), "--output", str(tmp_path / "x"), "--stream-buffer", "0"]) == 2
    assert "--stream-buffer is 0, expected 1 or more" in capsys.readouterr().err


@pytest.mark.parametrize("paper", ["cho2014", "bahdanau2015"])
def test_recipes_of_the_papers_train(small_corpus: Path, tmp_path: Path, paper: str) -> None:
    """Their own optimizer, initialisation, gates and readout, at small sizes: the loss falls."""
    config = ["--config", str(ROOT / "configs" / f"{paper}.yaml")]
    assert _train(small_corpus, tmp_path / "m", *config, "--max-steps", "40", "--log-every", "1") == 0
    lines = [json.loads(line) for line in (tmp_path / "m" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < losses[0] - 0.1


def test_model_directory(tiny_model: Path) -> None:
    assert {path.name for path in tiny_model.iterdir()} == {
        "config.json", "model.safetensors", "tokenizer.model", "metrics.json", "metrics.jsonl", "README.md",
        "training_state",
    }  # fmt: skip
    config = load_model(tiny_model).config
    assert (config["source"], config["target"], config["task"], config["joint"]) == ("en", "fr", "translation", True)
    assert config["options"]["embedding_size"] == 16 and config["command"][:2] == ["seq2seq", "train"]
    assert json.loads((tiny_model / "metrics.json").read_text())["valid"].keys() == {"loss", "bleu", "chrf"}
    assert "en → fr" in (tiny_model / "README.md").read_text()


def test_separate_vocabularies_and_a_given_tokenizer(small_corpus: Path, tiny_model: Path, tmp_path: Path) -> None:
    assert _train(small_corpus, tmp_path / "two", "--no-joint", "--tokenizer-type", "unigram") == 0
    assert (tmp_path / "two" / "source.model").exists() and not load_model(tmp_path / "two").config["joint"]
    given = tiny_model / "tokenizer.model"
    assert _train(small_corpus, tmp_path / "given", "--tokenizer", str(given), "--attention", "none") == 0
    assert (tmp_path / "given" / "tokenizer.model").read_bytes() == given.read_bytes()
    both = Translator.from_pretrained([tiny_model, tmp_path / "given"])
    assert len(both.translate(["the cat", ""], beam_size=2)) == 2


def test_training_starts_from_another_model(small_corpus: Path, tiny_model: Path, tmp_path: Path, capsys) -> None:
    """Weights, sizes and tokenizer are those of the model; with steps of no length nothing else comes of it."""
    still = ["--learning-rate", "1e-30", "--max-steps", "2", "--ema-decay", "0"]
    start = ["--initial-model", str(tiny_model), "--embedding-size", "24", "--dropout", "0.35", *still]
    assert _train(small_corpus, tmp_path / "same", *start) == 0
    assert f"from {tiny_model}" in capsys.readouterr().out
    first, second = load_model(tiny_model), load_model(tmp_path / "same")
    assert all(torch.equal(value, second.tensors[name]) for name, value in first.tensors.items())
    assert second.config["model"] == {**first.config["model"], "dropout": 0.35}
    assert (tmp_path / "same" / "tokenizer.model").read_bytes() == (tiny_model / "tokenizer.model").read_bytes()
    # the other direction, with one vocabulary for both
    assert _train(small_corpus, tmp_path / "back", *start, "--source", "fr", "--target", "en") == 0
    assert load_model(tmp_path / "back").config["target"] == "en"
    # what goes on does not start again
    assert _train(small_corpus, tmp_path / "same", *start, "--max-steps", "3", "--resume") == 0
    assert "going on from step 2" in capsys.readouterr().out


def test_both_directions(small_corpus: Path, tiny_model: Path, tmp_path: Path, capsys) -> None:
    """One model, twice the examples, the tokenizer of one direction; it can be scored either way."""
    assert _train(small_corpus, tmp_path / "both", "--both-directions") == 0
    both, one = load_model(tmp_path / "both").config, load_model(tiny_model).config
    assert both["examples"] == 2 * one["examples"] and directions(both) == [("en", "fr"), ("fr", "en")]
    assert (tmp_path / "both" / "tokenizer.model").read_bytes() == (tiny_model / "tokenizer.model").read_bytes()
    card = (tmp_path / "both" / "README.md").read_text(encoding="utf-8")
    assert "en ↔ fr" in card and "Validated from en to fr alone" in card
    told = []
    for words in (["--source", "fr"], ["--target", "en"], ["--source", "fr", "--target", "en"], ["--source", "en"]):
        capsys.readouterr()
        asked = ["--data", str(small_corpus), "--split", "test", *words]
        assert (
            main(["evaluate", "--model", str(tmp_path / "both"), *asked, "--max-length", "8", "--beam-size", "1"]) == 0
        )
        told.append(capsys.readouterr().out)
    assert told[0] == told[1] == told[2] != told[3], "one language given, the other follows"
    code = main(["evaluate", "--model", str(tiny_model), "--data", str(small_corpus), "--source", "fr"])
    assert "source and target are both 'fr'" in _refused(capsys, code)
    capsys.readouterr()
    same = shutil.copytree(tiny_model, tmp_path / "same")
    (same / "config.json").write_text(json.dumps({**load_model(same).config, "target": "en"}), encoding="utf-8")
    assert main(["evaluate", "--model", str(same), "--data", str(small_corpus), "--max-length", "8"]) == 0
    # a run keeps its directions, also one of before there was the option
    code = _train(small_corpus, tmp_path / "both", "--resume", "--max-steps", "40")
    assert "was begun with both_directions = True, now False" in _refused(capsys, code)
    old = shutil.copytree(tiny_model, tmp_path / "old")
    config = json.loads((old / "config.json").read_text(encoding="utf-8"))
    del config["options"]["both_directions"]
    (old / "config.json").write_text(json.dumps(config), encoding="utf-8")
    code = _train(small_corpus, old, "--both-directions", "--resume")
    assert "was begun with both_directions = False, now True" in _refused(capsys, code)
    code = _train(small_corpus, tmp_path / "m", "--both-directions", "--no-joint")
    assert "--both-directions needs one vocabulary for both languages" in _refused(capsys, code)
    assert not (tmp_path / "m").exists()


def test_models_that_cannot_be_started_from(small_corpus: Path, tiny_model: Path, tmp_path: Path, capsys) -> None:
    start = ["--initial-model", str(tiny_model)]
    code = _train(small_corpus, tmp_path / "m", *start, "--tokenizer", str(tiny_model / "tokenizer.model"))
    assert "--tokenizer and --initial-model exclude each other" in _refused(capsys, code)
    code = _train(small_corpus, tmp_path / "m", "--initial-model", str(tmp_path / "nothing"))
    assert str(tmp_path / "nothing") in _refused(capsys, code)
    assert _train(small_corpus, tmp_path / "apart", "--no-joint", "--max-steps", "1") == 0
    capsys.readouterr()
    start = ["--initial-model", str(tmp_path / "apart"), "--source", "fr", "--target", "en"]
    code = _train(small_corpus, tmp_path / "m", *start)
    assert "start from one that was trained with --joint" in _refused(capsys, code)
    code = _train(small_corpus, tmp_path / "m", *start[:2], "--both-directions")
    assert "from en to fr and back; start from one that was trained with --joint" in _refused(capsys, code)
    assert not (tmp_path / "m").exists()


def _refused(capsys: pytest.CaptureFixture[str], code: int) -> str:
    captured = capsys.readouterr()
    assert code == 2 and captured.err.count("\n") == 1 and "Traceback" not in captured.err
    return captured.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dropout", "1.5"], "--dropout is 1.5, expected 0 or more and less than 1"),
        (["--embedding-size", "0"], "--embedding-size is 0, expected 1 or more"),
        (["--max-steps", "0", "--max-epochs", "0"], "nothing would end this training; give --max-epochs"),
        (["--risk", "-1"], "--risk is -1.0, expected 0 or more"),
        (["--risk", "30", "--risk-beam", "1"], "--risk-beam is 1, expected 2 or more"),
        (
            ["--risk", "30", "--both-directions", "--source", "zh"],
            "BLEU of both languages with --both-directions, which zh and fr",
        ),
        (["--risk", "30", "--r-drop", "1"], "--risk and --r-drop exclude each other"),
        (["--batch-tokens", "0"], "--batch-tokens or --batch-sentences must be above 0"),
        (["--target", "de"], "de"),
        (["--valid-split", "nowhere"], "no validation split 'nowhere'"),
        (["--valid-share", "1"], "--valid-share is 1.0, expected 0 or more and less than 1"),
        (["--tokenizer", "absent.model"], "absent.model"),
        (["--device", "abacus"], "device 'abacus' cannot be used"),
        (["--data", "/absent/folder"], "/absent/folder"),
    ],
)
def test_refusals_write_nothing(small_corpus, tmp_path, capsys, options: list[str], message: str) -> None:
    assert message in _refused(capsys, _train(small_corpus, tmp_path / "out", *options))
    assert not (tmp_path / "out").exists()


def test_a_single_file_has_pairs_to_validate_on(small_corpus: Path, tmp_path: Path, capsys) -> None:
    sides = [(small_corpus / f"train.{name}").read_text(encoding="utf-8").splitlines() for name in ("en", "fr")]
    data = tmp_path / "all.tsv"
    data.write_text("en\tfr\n" + "".join(f"{a}\t{b}\n" for a, b in zip(*sides, strict=True)), encoding="utf-8")
    assert _train(data, tmp_path / "out") == 0
    told = capsys.readouterr().out
    assert "190 training pairs, 10 for validation (held out, for there is no split 'valid')" in told
    assert "bleu" in checkpoint.read_metrics(tmp_path / "out")["valid"]
    assert _train(data, tmp_path / "out", "--resume", "--max-steps", "8") == 0
    assert "190 training pairs" in capsys.readouterr().out
    assert "no validation split 'valid'" in _refused(capsys, _train(data, tmp_path / "other", "--valid-share", "0"))


def test_unequal_line_counts(small_corpus: Path, tmp_path: Path, capsys) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for path in small_corpus.iterdir():
        (data / path.name).write_bytes(path.read_bytes())
    (data / "train.fr").write_text("une ligne\n")
    error = _refused(capsys, _train(data, tmp_path / "out"))
    assert "200" in error and "1" in error and "train.fr" in error
    assert not (tmp_path / "out").exists()


def test_another_model_is_not_overwritten_unasked(small_corpus, tiny_model, tmp_path, capsys) -> None:
    before = (tiny_model / "model.safetensors").read_bytes()
    error = _refused(capsys, _train(small_corpus, tiny_model))
    assert "--resume" in error and "--overwrite" in error
    (tmp_path / "notes.txt").write_text("mine")
    assert "holds other files" in _refused(capsys, _train(small_corpus, tmp_path))
    error = _refused(capsys, _train(small_corpus, tiny_model, "--resume", "--embedding-size", "32"))
    assert "embedding_size = 16, now 32" in error
    assert (tiny_model / "model.safetensors").read_bytes() == before


def test_tensorboard(small_corpus, tmp_path, capsys) -> None:
    code = _train(small_corpus, tmp_path / "out", "--tensorboard", "--log-every", "1")
    if importlib.util.find_spec("tensorboard") is None:
        assert "pip install 'seq2seq[tensorboard]'" in _refused(capsys, code)
        assert not (tmp_path / "out").exists()
    else:
        assert code == 0 and list((tmp_path / "out" / "tensorboard").glob("events*"))


def test_resume_where_there_is_nothing_starts_anew(small_corpus, tmp_path, capsys) -> None:
    assert _train(small_corpus, tmp_path / "new", "--resume") == 0
    assert "nothing to resume" in capsys.readouterr().out
    assert (tmp_path / "new" / "model.safetensors").exists()


def test_ctrl_c_saves_and_says_how_to_go_on(small_corpus: Path, tmp_path: Path) -> None:
    arguments = [
        *("train", "--data", str(small_corpus), "--source", "en", "--target", "fr", "--output", str(tmp_path / "m")),
        *TINY,
        *("--max-steps", "100000", "--max-epochs", "0"),
    ]
    with subprocess.Popen([sys.executable, "-m", "seq2seq", *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("step "):  # the first validation is over
                break
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert process.returncode == 130
    assert "--resume" in rest.splitlines()[-1] and rest.splitlines()[-1].strip().startswith("seq2seq train")
    assert list((tmp_path / "m" / "training_state").glob("step-*"))


def test_metrics_tell_where_they_come_from(tiny_model: Path) -> None:
    found = json.loads((tiny_model / "metrics.json").read_text())
    machine = found["environment"]
    assert found["seed"] == 1 and found["command"][:2] == ["seq2seq", "train"] and found["skipped_steps"] == 0
    assert machine["versions"]["torch"] == torch.__version__
    assert (machine["threads"], machine["precision"], machine["device"]) == (1, "float32", "cpu")
    assert machine["cores"] >= 1 and "commit" in machine
    machine = {"device": "cpu", "threads": 1, "precision": "float32", "processes": 1}
    assert load_model(tiny_model).config["machine"] == machine


def test_the_same_twice_in_another_process(small_corpus: Path, tmp_path: Path) -> None:
    """With all that is random, and other hashes of strings."""
    options = ["--sampling", "0.2", "--word-dropout", "0.1", "--dropout-state", "0.1", "--no-joint"]
    where = ["--data", str(small_corpus), "--source", "en", "--target", "fr", *TINY, *options]
    assert main(["train", *where, "--output", str(tmp_path / "a" / "m")]) == 0
    command = [sys.executable, "-m", "seq2seq", "train", *where, "--output", str(tmp_path / "b" / "m")]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONHASHSEED": "77"}, cwd=ROOT)
    for name in ("model.safetensors", "source.model", "target.model"):
        assert (tmp_path / "a" / "m" / name).read_bytes() == (tmp_path / "b" / "m" / name).read_bytes(), name


def test_a_second_training_in_the_same_directory_is_refused(small_corpus, tmp_path, capsys) -> None:
    with exclusive(tmp_path / "m"):
        error = _refused(capsys, _train(small_corpus, tmp_path / "m"))
    assert "another training is writing" in error
    assert _train(small_corpus, tmp_path / "m") == 0


def test_a_training_that_was_there_first_is_not_cleared_away(small_corpus, tmp_path, capsys, monkeypatch) -> None:
    """It ended while this one was still reading its text."""
    prepare = train.prepare_data

    def slow(config, *rest):
        monkeypatch.setattr(train, "prepare_data", prepare)
        assert _train(small_corpus, tmp_path / "m") == 0
        return prepare(config, *rest)

    monkeypatch.setattr(train, "prepare_data", slow)
    assert "already holds a model" in _refused(capsys, _train(small_corpus, tmp_path / "m", "--seed", "2"))
    assert json.loads((tmp_path / "m" / "metrics.json").read_text())["seed"] == 1


def test_what_a_resumed_run_cannot_change(small_corpus, tiny_model, tmp_path, capsys) -> None:
    shutil.copytree(tiny_model, tmp_path / "m")
    assert "holds a run of translation, this is classification" in _refused(
        capsys, main(["train-classifier", "--data", "x", "--output", str(tmp_path / "m"), "--resume"])
    )
    for option, value in (("--optimizer", "sgd"), ("--source", "fr")):
        assert "cannot change" in _refused(capsys, _train(small_corpus, tmp_path / "m", "--resume", option, value))
    (tmp_path / "m" / "training_state" / "step-000000006" / "state.json").write_text('{"progress": {"stp": 6}}')
    assert "training state is damaged" in _refused(capsys, _train(small_corpus, tmp_path / "m", "--resume"))
    shutil.rmtree(tmp_path / "m" / "training_state")
    assert "no training state to go on from" in _refused(capsys, _train(small_corpus, tmp_path / "m", "--resume"))
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == (tiny_model / "model.safetensors").read_bytes()


def test_a_resumed_run_keeps_the_precision_that_auto_chose(small_corpus, tmp_path, capsys, monkeypatch) -> None:
    """Timed again, a product may be faster in another type; weights would differ from the unbroken run's."""
    monkeypatch.setattr("seq2seq.nn.hardware._seconds", lambda dtype, _: 0.1 if dtype == torch.bfloat16 else 1.0)
    auto = ["--precision", "auto", "--max-steps", "2"]
    assert _train(small_corpus, tmp_path / "m", *auto) == 0
    monkeypatch.setattr("seq2seq.nn.hardware._seconds", lambda dtype, _: 1.0)
    assert _train(small_corpus, tmp_path / "m", *auto, "--resume", "--max-steps", "3") == 0
    assert capsys.readouterr().out.count("matrix products in bfloat16") == 2
    assert _train(small_corpus, tmp_path / "m", "--resume", "--threads", "2", "--max-steps", "4") == 0
    out = capsys.readouterr().out
    assert "begun with precision bfloat16, now float32: the same run, but not bit for bit" in out
    assert "begun with threads 1, now 2" in out


@pytest.mark.parametrize("call", [2, 8, 15, 18])
def test_no_space_left_is_a_message_and_the_last_checkpoint_is_intact(
    small_corpus, tmp_path, capsys, monkeypatch, call: int
) -> None:
    """Simulated at some of the calls of writing; a real disk is filled in scripts/stress/disk.py."""
    left, written = call, checkpoint._write

    def full(path: Path, content: bytes) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            path.write_bytes(content[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written(path, content)

    monkeypatch.setattr(checkpoint, "_write", full)
    options = ["--save-every", "1", "--validate-every", "2", "--max-steps", "5"]
    error = _refused(capsys, _train(small_corpus, tmp_path / "m", *options))
    assert "(No space left on device)" in error and "Make room, then: seq2seq train" in error and "--resume" in error
    monkeypatch.setattr(checkpoint, "_write", written)
    state = checkpoint.load_training_state(tmp_path / "m")
    if state is None:
        assert "nothing was saved before" in error
    else:
        assert f"the checkpoint of step {state.values['progress']['step']} is intact" in error
    assert _train(small_corpus, tmp_path / "m", *options, "--resume") == 0
    assert not [path for path in (tmp_path / "m").rglob(".*")]


def test_validation_takes_sentences_from_all_parts_of_the_split() -> None:
    """A split sorted by length would else be judged by its shortest sentences."""

    class Split:
        def __len__(self) -> int:
            return 10

        def source_texts(self, rows: np.ndarray) -> list[str]:
            return [f"source {row}" for row in rows]

        def target_texts(self, rows: np.ndarray) -> list[str]:
            return [f"target {row}" for row in rows]

    def task(sentences: int) -> train.TranslationTask:
        config = TrainTranslatorConfig(training=TrainingConfig(validation_sentences=sentences))
        return train.TranslationTask(config, Split(), Split(), (), torch.device("cpu"))  # type: ignore[arg-type]

    assert task(4).sources == ["source 0", "source 2", "source 5", "source 7"]
    assert task(4).references == ["target 0", "target 2", "target 5", "target 7"]
    assert task(10).sources == task(50).sources == [f"source {row}" for row in range(10)]
