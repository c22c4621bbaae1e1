"""`seq2seq distill`: the plan, the whole of it with tiny models, and what may come between."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path

import pytest
from conftest import TINY

from seq2seq import Translator, checkpoint
from seq2seq.app import distill
from seq2seq.app.cli import main, parse_command
from seq2seq.errors import ConfigError

LANGUAGES = ["--source", "en", "--target", "fr"]


def plan(*words: str) -> distill.Plan:
    return distill.Plan.of(parse_command("distill", ["--data", "d", *LANGUAGES, "--output", "runs/best/", *words]))


class Fake:
    """In the place of a training: writes weights and ends, or runs until it is stopped."""

    begun: list[Fake]
    endless = False
    fails = ""

    def __init__(self, command: str, arguments: list[str], directory: Path, log: Path) -> None:
        self.config, self.stopped = parse_command(command, arguments), 0
        self.beside = sum(other.running() for other in self.begun)
        self.begun.append(self)
        if not self.endless:
            directory.mkdir(parents=True, exist_ok=True)
            (directory / checkpoint.WEIGHTS).touch()

    def running(self) -> bool:
        return self.endless and not self.stopped

    def validations(self) -> list[dict]:
        return []

    def failure(self) -> str:
        return self.fails

    def stop(self) -> None:
        self.stopped += 1


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(Fake, "begun", [], raising=False)
    monkeypatch.setattr(Fake, "endless", False)
    monkeypatch.setattr(Fake, "fails", "")
    monkeypatch.setattr(distill, "Training", Fake)
    monkeypatch.setattr(distill, "POLL_SECONDS", 0.01)
    return Fake


def test_the_plan():
    made = plan("--teachers", "2", "--seed", "5", "--reverse-output", "back", "--max-epochs", "9", "--dropout", "0.1")
    assert made.work == Path("runs/best.work")
    first, second, reverse = made.teachers.values()
    assert [c.training.seed for c in made.teachers.values()] == [5, 6, 5]
    assert [c.training.output for c in (first, reverse)] == ["runs/best.work/teacher-1", "runs/best.work/reverse"]
    assert (first.data.source, second.data.target, reverse.data.source) == ("en", "fr", "fr")
    assert all(c.training.resume and c.training.max_epochs == 9 and c.model.dropout == 0.1 for c in (first, reverse))
    student, back = made.students.values()
    assert student.training.initial_model == "runs/best.work/teacher-1" and student.training.output == "runs/best/"
    assert back.training.initial_model == "runs/best.work/reverse" and back.training.output == "back"
    assert (student.data.data, student.data.source, back.data.source) == ("runs/best.work/pairs", "en", "fr")
    assert (student.training.max_epochs, student.optimization.learning_rate) == (7, 1e-3)
    assert student.model.dropout == 0.1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--risk", "3"], "--risk is not for distill: it needs a model"),
        (["--initial-model", "m"], "--initial-model is not for distill"),
        (["--both-directions"], "--reverse-output gives"),
        (["--streaming"], "translated as a whole"),
        (["--overwrite"], "delete --work and --output"),
        (["--teachers", "0"], "must be 1 or more"),
        (["--target", "en"], "both 'en'"),
        (["--output", ""], "needs --data CORPUS and --output DIR"),
    ],
)
def test_what_makes_no_sense(words, message):
    with pytest.raises(ConfigError, match=message):
        plan(*words)


def words_for(corpus: Path, folder: Path, *words: str) -> list[str]:
    return ["distill", "--data", str(corpus), *LANGUAGES, "--output", str(folder / "best"), *words]


def test_a_directory_with_another_model_is_found_before_anything_is_trained(fake, small_corpus, tiny_model, capsys):
    assert main(["distill", "--data", str(small_corpus), *LANGUAGES, "--output", str(tiny_model)]) == 2
    assert "holds another model" in capsys.readouterr().err and not fake.begun


def test_teachers_must_have_one_tokenizer(fake, small_corpus, tmp_path, capsys):
    few = ["--tokenizer-sentences", "100"]
    assert main(words_for(small_corpus, tmp_path, *few)) == 2
    assert "200 pairs are more than --tokenizer-sentences 100" in capsys.readouterr().err and not fake.begun
    assert not list(tmp_path.iterdir())
    distill.Plan.of(parse_command("distill", words_for(small_corpus, tmp_path, *few, "--teachers", "1")[1:])).check()


def test_a_failure_ends_all_and_is_told(fake, small_corpus, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Fake, "fails", "the training ended with 2: no room")
    assert main(words_for(small_corpus, tmp_path, "--threads", "2")) == 2
    assert "teacher-1: the training ended with 2: no room" in capsys.readouterr().err
    assert len(fake.begun) == 2 and all(training.stopped for training in fake.begun)


@pytest.mark.parametrize(("cores", "at_once", "threads"), [("1", 1, 1), ("3", 3, 1), ("9", 4, 2)])
def test_a_signal_stops_all_and_the_same_command_goes_on(
    fake, small_corpus, tmp_path, monkeypatch, capsys, cores, at_once, threads
):
    monkeypatch.setattr(Fake, "endless", True)
    words = words_for(small_corpus, tmp_path, "--threads", cores)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    with pytest.raises(SystemExit) as stopped:
        main(words)
    timer.join()
    assert stopped.value.code == 128 + signal.SIGTERM
    assert [training.beside for training in fake.begun] == list(range(at_once))
    assert all(training.stopped == 1 and training.config.training.threads == threads for training in fake.begun)
    assert capsys.readouterr().err.endswith(f"to go on:\n  seq2seq {' '.join(words)}\n")


def test_pairs_are_made_once_and_not_of_teachers_that_go_on(fake, small_corpus, tmp_path, monkeypatch, capsys):
    made = []

    def diversify(arguments, command):
        made.append(arguments)
        folder = Path(arguments.output)
        folder.mkdir(exist_ok=True)
        (folder / distill.REPORT).write_text(json.dumps({"pairs": {}}), encoding="utf-8")

    monkeypatch.setattr(distill, "diversify", diversify)
    words = words_for(small_corpus, tmp_path, "--teachers", "2", "--threads", "2")
    assert main(words) == 0
    (asked,) = made
    assert len(asked.forward) == 2 and len(asked.backward) == 1 and asked.closest and asked.search.n_best == 8
    assert [training.beside for training in fake.begun] == [0] * 4  # these end at once
    assert fake.begun[-1].config.training.threads == 2, "the last one has both cores"
    report = tmp_path / "best.work" / "pairs" / distill.REPORT
    os.utime(report, (2e9, 2e9))
    assert main(words) == 0 and len(made) == 1
    os.utime(report, (1e9, 1e9))
    capsys.readouterr()
    assert main(words) == 2 and len(made) == 1
    assert "the teachers have learned more since" in capsys.readouterr().err


def test_the_whole(small_corpus, tmp_path, capfd):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for path in small_corpus.iterdir():  # what six steps have taught takes long to translate
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        (corpus / path.name).write_text("".join(lines[:30]), encoding="utf-8")
    words = words_for(corpus, tmp_path, "--teachers", "2", *TINY, "--vocab-size", "350", "--threads", "2")
    assert main(words) == 0, capfd.readouterr().err
    told = capfd.readouterr().err
    assert "teacher-2: step 6, epoch " in told, told
    assert f"done: {tmp_path / 'best'};" in told
    work = tmp_path / "best.work"
    seeds = [checkpoint.read_config(work / f"teacher-{n}")["options"]["seed"] for n in (1, 2)]
    options = checkpoint.read_config(tmp_path / "best")["options"]
    assert seeds == [1, 2] and options["initial_model"] == str(work / "teacher-1")
    assert (work / "pairs" / "train.en").read_text(encoding="utf-8").count("\n") > 60
    assert (work / "pairs" / "test.fr").exists()
    translator = Translator.from_pretrained(tmp_path / "best")
    assert len(translator.translate(["A red house."])) == 1
