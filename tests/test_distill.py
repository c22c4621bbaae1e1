"""`seq2seq distill`: the plan, the whole of it with tiny models, and what may come between."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
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


NONE = {"source": b"", "target": b""}


class Fake:
    """In the place of a process: leaves what it should, and ends; or runs until it is stopped."""

    begun: list[Fake]
    signal_at = 0
    """If above 0 all run on, and a signal comes when so many have begun."""
    fails = ""
    scores: float | None = 1.5

    def __init__(self, command: str, arguments: list[str], directory: Path, log: Path | None) -> None:
        self.command, self.config = command, parse_command(command, arguments)
        self.terminated, self.asked, self.ended = 0, 0, not self.signal_at
        self.beside = sum(other.running() for other in self.begun)
        self.begun.append(self)
        if command == "train" and not self.signal_at:
            checkpoint.start_model_directory(directory, {"options": {"initial_model": self.initial_model}}, NONE)
            (directory / checkpoint.WEIGHTS).touch()
            (directory / "training_state" / "step-1").mkdir(parents=True, exist_ok=True)
        elif command == "diversify":
            directory.mkdir(exist_ok=True)
            (directory / "diversify.json").write_text('{"pairs": {}}', encoding="utf-8")
        if len(self.begun) == self.signal_at:
            os.kill(os.getpid(), signal.SIGTERM)

    @property
    def initial_model(self) -> str:
        return self.config.training.initial_model

    def running(self) -> bool:
        return not self.ended

    def validations(self) -> list[dict]:
        self.asked += 1
        return [{"step": 9, "epoch": 2, "valid": {"loss": self.scores}}] if self.asked == 2 else []

    def failure(self) -> str:
        return self.fails

    def terminate(self) -> None:
        self.terminated += 1
        self.ended = True

    def wait(self) -> None:
        assert self.ended


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(Fake, "begun", [], raising=False)
    monkeypatch.setattr(distill, "Training", Fake)
    monkeypatch.setattr(distill, "POLL_SECONDS", 0.01)
    return Fake


def test_the_plan():
    made = plan(
        "--teachers", "2", "--seed", "5", "--reverse-output", "back", "--max-epochs", "9", "--max-steps", "8",
        "--dropout", "0.1", "--tokenizer", "t.model",
    )  # fmt: skip
    assert made.work == Path("runs/best.work")
    first, second, reverse = made.teachers.values()
    assert [c.training.seed for c in made.teachers.values()] == [5, 6, 5]
    assert [c.training.output for c in (first, reverse)] == ["runs/best.work/teacher-1", "runs/best.work/reverse"]
    assert (first.data.source, second.data.target, reverse.data.source) == ("en", "fr", "fr")
    for config in (first, reverse):
        assert config.training.resume and config.training.max_epochs == 9 and config.model.dropout == 0.1
        assert config.data.data == "runs/best.work/corpus" and config.tokenizer.tokenizer == "t.model"
    student, back = made.students.values()
    assert student.training.initial_model == "runs/best.work/teacher-1" and student.training.output == "runs/best/"
    assert back.training.initial_model == "runs/best.work/reverse" and back.training.output == "back"
    assert (student.data.data, student.data.source, back.data.source) == ("runs/best.work/pairs", "en", "fr")
    assert (student.training.max_epochs, student.training.max_steps, student.optimization.learning_rate) == (7, 0, 1e-3)
    assert student.model.dropout == 0.1 and student.tokenizer.tokenizer is None


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
        (["--reverse-output", "runs/./best"], "must be directories beside each other"),
        (["--work", "runs/best/work"], "must be directories beside each other"),
        (["--reverse-output", "runs"], "must be directories beside each other"),
    ],
)
def test_what_makes_no_sense(words, message):
    with pytest.raises(ConfigError, match=message):
        plan(*words)


def test_not_under_a_launcher(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="without torchrun"):
        plan()


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
    assert main(words_for(small_corpus, tmp_path, *few, "--teachers", "1")) == 0


def test_a_failure_ends_all_and_is_told(fake, small_corpus, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Fake, "fails", "ended with 2: no room")
    monkeypatch.setattr(Fake, "running", lambda self: self is not self.begun[0] and not self.ended)
    monkeypatch.setattr(Fake, "signal_at", 99)
    assert main(words_for(small_corpus, tmp_path, "--threads", "2")) == 2
    assert "teacher-1 ended with 2: no room" in capsys.readouterr().err
    assert [training.terminated for training in fake.begun] == [0, 1]


@pytest.mark.parametrize(("cores", "at_once", "threads"), [("1", 1, 1), ("3", 3, 1), ("9", 4, 2)])
def test_a_signal_stops_all_and_the_same_command_goes_on(
    fake, small_corpus, tmp_path, monkeypatch, capsys, cores, at_once, threads
):
    monkeypatch.setattr(Fake, "signal_at", at_once)
    words = words_for(small_corpus, tmp_path, "--threads", cores)
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 128 + signal.SIGTERM
    assert [training.beside for training in fake.begun] == list(range(at_once))
    assert all(training.terminated == 1 for training in fake.begun)
    assert all(training.config.training.threads == threads for training in fake.begun)
    assert capsys.readouterr().err.endswith(f"stopped; to go on:\n  {shlex.join(['seq2seq', *words])}\n")


def test_no_number_of_threads_is_all_cores(monkeypatch):
    monkeypatch.setattr("seq2seq.nn.hardware.usable_cores", lambda: 2)
    for threads in ("0", "-1"):
        assert distill.shares(plan("--threads", threads).given, 4) == (2, 1)


def test_what_is_done_is_not_done_again(fake, small_corpus, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Fake, "scores", None)  # no finite number
    words = words_for(small_corpus, tmp_path, "--teachers", "2", "--threads", "2")
    assert main(words) == 0
    assert "reverse: step 9, epoch 2: loss –" in capsys.readouterr().err
    commands = [training.command for training in fake.begun]
    assert commands == ["train", "train", "train", "diversify", "train"]
    asked = fake.begun[3].config
    assert len(asked.forward) == 2 and len(asked.backward) == 1 and asked.closest and asked.search.n_best == 8
    assert fake.begun[-1].config.training.threads == 2, "the last one has both cores"

    report = tmp_path / "best" / distill.REPORT
    report.unlink()  # stopped while the student learns
    monkeypatch.chdir(tmp_path)
    assert main([*words, "--output", "best"]) == 0
    assert [training.command for training in fake.begun[5:]] == ["train"] * 4, "the pairs are there"
    back = ["--reverse-output", str(tmp_path / "back")]
    assert main([*words, *back]) == 0 and (tmp_path / "back" / distill.REPORT).exists()

    begun = len(fake.begun)
    shutil.rmtree(tmp_path / "best.work")
    assert main([*words, *back, "--threads", "1"]) == 0 and len(fake.begun) == begun
    assert f"done before: {tmp_path / 'best'} and {tmp_path / 'back'}" in capsys.readouterr().err
    assert main([*words, "--dropout", "0.4"]) == 2 and len(fake.begun) == begun
    assert "was made with dropout = 0.3, now 0.4; give a new directory" in capsys.readouterr().err
    (tmp_path / "best" / checkpoint.WEIGHTS).write_bytes(b"trained further by another command")
    assert main(words) == 2 and len(fake.begun) == begun
    assert "best holds another model" in capsys.readouterr().err


def test_a_student_goes_on_with_its_own_options_only(fake, small_corpus, tmp_path, capsys):
    words = words_for(small_corpus, tmp_path, "--teachers", "1")
    assert main(words) == 0
    (tmp_path / "best" / distill.REPORT).unlink()
    assert main([*words, "--student-rate", "0.1"]) == 2
    assert "was made with student_rate = 0.001, now 0.1; give a new directory, or delete it" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "best.work")  # and with it what the student is of
    begun = len(fake.begun)
    assert main(words) == 2 and len(fake.begun) == begun
    assert "holds another model" in capsys.readouterr().err


def test_only_what_is_trained_and_validated_on_is_read(fake, small_corpus, tmp_path, monkeypatch):
    corpus = tmp_path / "corpus"
    shutil.copytree(small_corpus, corpus)
    (corpus / "glossary.csv").write_text("no,pairs,at all\n", encoding="utf-8")
    for language in ("en", "fr"):
        (corpus / f"valid.{language}").unlink()
    assert main(words_for(corpus, tmp_path, "--teachers", "2")) == 0
    there = tmp_path / "best.work" / "corpus"
    names = {"corpus.json", "train.en", "train.fr", "valid.en", "valid.fr"}
    assert {path.name for path in there.iterdir()} == names
    assert (there / "valid.en").read_text(encoding="utf-8").count("\n") == 10, "the same for all teachers"


def test_a_folder_of_work_is_of_one_text_and_of_its_options(fake, small_corpus, tmp_path, capsys):
    corpus = tmp_path / "corpus"
    shutil.copytree(small_corpus, corpus)
    words = [*words_for(corpus, tmp_path), "--work", str(tmp_path / "work")]
    assert main(words) == 0
    begun = len(fake.begun)
    other = [*words, "--output", str(tmp_path / "other")]
    assert main([*other, "--teachers", "2"]) == 2
    assert "work was made with teachers = 3, now 2; give another --work, or delete it" in capsys.readouterr().err
    shutil.move(corpus, tmp_path / "moved")
    other += ["--data", str(tmp_path / "moved")]
    with (tmp_path / "moved" / "train.fr").open("a", encoding="utf-8") as file:
        file.write("Encore.\n")
    with (tmp_path / "moved" / "train.en").open("a", encoding="utf-8") as file:
        file.write("Again.\n")
    assert main(other) == 2 and len(fake.begun) == begun
    assert "was made of another text" in capsys.readouterr().err
    assert main([*other, "--output", str(tmp_path / "best")]) == 2 and len(fake.begun) == begun
    assert "best was made of another text" in capsys.readouterr().err
    for language in ("en", "fr"):
        shutil.copy(small_corpus / f"train.{language}", tmp_path / "moved")
    assert main([*other, "--student-epochs", "2"]) == 0, "a second student of the same teachers"


def test_two_at_work_in_one_folder(fake, small_corpus, tmp_path, capsys):
    work = tmp_path / "best.work"
    with distill.output.exclusive(work):
        assert main(words_for(small_corpus, tmp_path)) == 2
    assert "another training is writing" in capsys.readouterr().err and not fake.begun


def test_the_whole(small_corpus, tmp_path, capfd):
    """Of a table without the languages' names, in which only the place tells one language from the other."""
    for split in ("train", "valid", "test"):
        sides = [(small_corpus / f"{split}.{name}").read_text(encoding="utf-8").splitlines() for name in ("en", "fr")]
        pairs = list(zip(*sides, strict=True))[:30]  # what six steps have taught takes long to translate
        (tmp_path / "corpus").mkdir(exist_ok=True)
        table = "".join(f"{source}\t{target}\n" for source, target in pairs)
        (tmp_path / "corpus" / f"{split}.tsv").write_text(table, encoding="utf-8")
    words = words_for(tmp_path / "corpus", tmp_path, "--teachers", "2", *TINY, "--vocab-size", "350", "--threads", "2")
    assert main([*words, "--student-epochs", "1"]) == 0, capfd.readouterr().err
    told = capfd.readouterr().err
    assert "teacher-2: step 6, epoch " in told, told
    assert f"done: {tmp_path / 'best'};" in told
    work = tmp_path / "best.work"
    assert (work / "corpus" / "train.en").read_bytes() == "".join(
        (small_corpus / "train.en").read_text(encoding="utf-8").splitlines(keepends=True)[:30]
    ).encode()
    reverse = checkpoint.read_config(work / "reverse")
    assert (reverse["source"], reverse["target"]) == ("fr", "en")
    seeds = [checkpoint.read_config(work / f"teacher-{n}")["options"]["seed"] for n in (1, 2)]
    options = checkpoint.read_config(tmp_path / "best")["options"]
    assert seeds == [1, 2] and options["initial_model"] == str(work / "teacher-1")
    assert (work / "pairs" / "train.en").read_text(encoding="utf-8").count("\n") > 60
    assert json.loads((tmp_path / "best" / distill.REPORT).read_text(encoding="utf-8"))["teachers"] == 2
    assert len(Translator.from_pretrained(tmp_path / "best").translate(["A red house."])) == 1
