"""`seq2seq train-classifier` by the real command: what is held out and said, resume, what it refuses."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from test_classifier import SMALL, toy

from seq2seq.app.cli import main
from seq2seq.app.train_classifier import ClassificationTask
from seq2seq.checkpoint import load_model, read_tensors
from seq2seq.errors import UserError
from seq2seq.inference.loading import load_classifier
from seq2seq.nn.ngrams import UNTOLD
from seq2seq.text.labels import LabelledBatch
from seq2seq.training.interrupt import Interrupted
from seq2seq.training.logistic import mixture
from seq2seq.training.trainer import Trainer

FAST = [*SMALL, "--max-steps", "6", "--max-epochs", "0"]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return toy(tmp_path_factory.mktemp("toy") / "data")


def train(data: Path, output: Path, *options: str) -> int:
    return main(["train-classifier", "--data", str(data), "--output", str(output), *FAST, *options])


def test_what_is_found_held_out_and_written(data, tmp_path, capsys):
    with open(data / "train.tsv", "a") as file:
        file.write("\ta text without a label\n")
    assert train(data, tmp_path / "m", "--max-length", "2", "--max-windows", "1", "--class-weights", "balanced") == 0
    out = capsys.readouterr().out
    assert "left out of training: 1 rows without a label" in out
    assert "no split 'valid': 24 of 240 training texts are held out for validation" in out
    assert "216 texts to train on, 24 for validation, 4 labels" in out
    assert "training texts have more than 2 pieces: only that many are read" in out
    assert {path.name for path in (tmp_path / "m").iterdir()} == {
        "config.json", "model.safetensors", "tokenizer.model", "metrics.json", "metrics.jsonl", "README.md",
        "training_state",
    }  # fmt: skip
    config = load_model(tmp_path / "m").config
    assert (config["task"], config["labels"]) == ("classification", ["bird", "cat", "dog", "none"])
    assert config["limits"] == {"max_length": 2, "long_texts": "windows", "max_windows": 1}
    assert json.loads((tmp_path / "m" / "metrics.json").read_text())["valid"].keys() == {
        "loss", "accuracy", "macro_f1", "micro_f1",
    }  # fmt: skip
    assert "4 labels: bird, cat" in (tmp_path / "m" / "README.md").read_text()


def test_a_validation_split_of_its_own_and_a_share_of_the_training_split(data, tmp_path, capsys):
    for split in ("train", "valid"):
        (tmp_path / f"{split}.tsv").write_bytes((data / "train.tsv").read_bytes())
    with open(tmp_path / "valid.tsv", "a") as file:
        file.write("cow\ta cow\n\tnothing\n")
    assert train(tmp_path, tmp_path / "m", "--train-share", "0.25") == 0
    out = capsys.readouterr().out
    assert "held out" not in out and "60 texts to train on, 240 for validation" in out
    assert "left out of validation: " in out


@pytest.mark.parametrize("several", [False, True])
def test_validation_texts_decide_the_mixture_of_encoder_and_ngrams(tmp_path, several):
    """That of the saved model is the best for its scores on them."""
    data = toy(tmp_path / "data")
    (data / "valid.tsv").write_bytes((data / "train.tsv").read_bytes())
    options = ["--label-separator", ";"] if several else []
    assert train(data, tmp_path / "m", *options) == 0
    saved = load_classifier(tmp_path / "m", torch.device("cpu"))
    saved.model.eval()
    labels, texts = zip(*(line.split("\t") for line in (data / "train.tsv").read_text().splitlines()), strict=True)
    ids = [[*row, saved.tokenizer.eos_id] for row in saved.tokenizer.encode(texts)]
    parts = torch.cat(
        [
            saved.model.parts(LabelledBatch(torch.tensor([row]), torch.tensor([len(row)]), torch.zeros(1).long(), None))
            for row in ids
        ]
    )
    targets = torch.tensor([saved.labels.index(label) for label in labels])
    expected = mixture(parts.detach(), torch.nn.functional.one_hot(targets).float() if several else targets)
    torch.testing.assert_close(saved.model.ngrams.mixture.double(), expected, atol=1e-3, rtol=0)
    assert (expected - torch.tensor(UNTOLD)).abs().max() > 0.1


def test_ngrams_learn_from_texts_held_out_as_well(data, tmp_path, capsys):
    """They are those of all texts; validation and the mixture go by others, which have not seen its texts."""
    assert train(data, tmp_path / "m", "--train-share", "0.5") == 0
    assert capsys.readouterr().out.count("n-grams of ") == 1  # a share was asked for: no text more
    tokenizer = ["--tokenizer", str(tmp_path / "m" / "tokenizer.model")]
    assert train(data, tmp_path / "held", *tokenizer) == 0
    out = capsys.readouterr().out
    assert "n-grams of 216 texts: " in out and "n-grams of 240 texts: " in out
    assert train(data, tmp_path / "all", *tokenizer, "--valid-share", "0") == 0
    held, whole = (read_tensors(tmp_path / name / "model.safetensors") for name in ("held", "all"))
    for name in ("names", "rarity", "weight", "bias"):
        torch.testing.assert_close(held[f"ngrams.{name}"], whole[f"ngrams.{name}"], rtol=1e-3, atol=1e-3)


def test_validation_goes_by_ngrams_that_have_not_seen_its_texts(tmp_path):
    """Labels by chance: n-grams that had learned them by heart would know them all."""
    generator = np.random.default_rng(0)
    lines = [f"{'ab'[generator.integers(2)]}\tword{i} other{i}\n" for i in range(120)]
    (tmp_path / "train.tsv").write_text("".join(lines))
    assert train(tmp_path, tmp_path / "m", "--valid-share", "0.5") == 0
    scores = json.loads((tmp_path / "m" / "metrics.json").read_text())["valid"]
    assert scores["accuracy"] < 75
    # a share asked for at the continuation leaves n-grams that know the validation texts, and validation without them
    assert (
        train(tmp_path, tmp_path / "m", "--valid-share", "0.5", "--resume", "--train-share", "0.5", "--max-steps", "9")
        == 0
    )
    scores = json.loads((tmp_path / "m" / "metrics.json").read_text())["valid"]
    assert scores["accuracy"] < 75


ONCE = ["--max-steps", "0", "--max-epochs", "2", "--min-steps", "0"]


def test_texts_held_out_are_learned_from_once_the_best_model_is_known(data, tmp_path, capsys):
    """The same as a training on all texts, but for the mixture and the scores, which are those of before."""
    assert train(data, tmp_path / "t", "--max-steps", "1", "--no-refit") == 0
    options = [*ONCE, "--tokenizer", str(tmp_path / "t" / "tokenizer.model"), "--validate-every", "99"]
    assert train(data, tmp_path / "first", *options, "--no-refit") == 0
    assert "learned from, too" not in capsys.readouterr().out
    assert train(data, tmp_path / "m", *options) == 0
    assert "the texts held out are learned from, too: a new model" in capsys.readouterr().out
    assert train(data, tmp_path / "all", *options, "--valid-share", "0") == 0
    first, refit, whole = (json.loads((tmp_path / n / "metrics.json").read_text()) for n in ("first", "m", "all"))
    assert refit["valid"] == first["valid"] and refit["refit"] == {"best_step": first["step"], "steps": refit["step"]}
    assert refit["step"] == whole["step"] > first["step"] and refit["epoch"] == 2
    card = (tmp_path / "m" / "README.md").read_text()
    assert "had not learned from these texts; this one has" in card and "240 examples, " in card
    tensors = {name: load_model(tmp_path / name).tensors for name in ("first", "m", "all")}
    assert tensors["m"].keys() == tensors["all"].keys()
    learned = [name for name in tensors["m"] if not name.startswith("ngrams.")]
    assert all(torch.equal(tensors["m"][name], tensors["all"][name]) for name in learned)
    assert torch.equal(tensors["m"]["ngrams.mixture"], tensors["first"]["ngrams.mixture"])
    assert not torch.equal(tensors["all"]["ngrams.mixture"], tensors["first"]["ngrams.mixture"])
    # log and checkpoints are those of the first training, from whose end a longer one goes on
    logs = [(tmp_path / name / "metrics.jsonl").read_text().count("\n") for name in ("first", "m")]
    assert logs[0] == logs[1]
    capsys.readouterr()
    assert train(data, tmp_path / "m", *options, "--resume", "--max-epochs", "3") == 0
    assert f"going on from step {first['step']}" in capsys.readouterr().out
    steps = [json.loads(line)["step"] for line in (tmp_path / "m" / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)


@pytest.mark.parametrize(("patience", "kept"), [("0", 3.0), ("2", 1.0)])
def test_the_second_model_is_mixed_as_the_first_that_had_learned_as_long(data, tmp_path, monkeypatch, patience, kept):
    """The first of three validations is the best; the second training takes three epochs, or with patience one."""
    validations = []

    def validate(task, model):
        if not len(task.examples.valid):
            return {}
        validations.append(1.0)
        model.ngrams.mixture.fill_(sum(validations))
        return {"loss": 1.0, "accuracy": 50.0 - sum(validations)}

    monkeypatch.setattr(ClassificationTask, "validate", validate)
    assert train(data, tmp_path / "m", *ONCE, "--max-epochs", "3", "--patience", patience) == 0
    assert load_model(tmp_path / "m").tensors["ngrams.mixture"].tolist() == [kept, kept]
    metrics = json.loads((tmp_path / "m" / "metrics.json").read_text())
    assert len(validations) == 3 and metrics["valid"]["accuracy"] == 49.0 and metrics["epoch"] == kept


def test_patience_ends_the_second_training_where_the_best_model_was(data, tmp_path):
    """After the first epoch, as nothing is learned; without patience it takes as many epochs as the first training."""
    for name, options, epochs in (("a", ["--patience", "1"], 1), ("b", [], 2)):
        assert train(data, tmp_path / name, *ONCE, "--learning-rate", "1e-12", *options) == 0
        metrics = json.loads((tmp_path / name / "metrics.json").read_text())
        assert metrics["refit"]["best_step"] < 20 and metrics["epoch"] == epochs


@pytest.mark.parametrize(
    "options", [["--schedule", "plateau"], ["--train-share", "0.5"], ["--max-minutes", "0.005", "--max-steps", "99999"]]
)
def test_where_texts_held_out_stay_so(data, tmp_path, options):
    assert train(data, tmp_path / "m", *options) == 0
    assert "refit" not in json.loads((tmp_path / "m" / "metrics.json").read_text())


@pytest.mark.parametrize("started", [False, True])
def test_a_stop_while_all_texts_are_learned_from(data, tmp_path, monkeypatch, capsys, tiny_model, started):
    """The best model is there; the same command with --resume ends as if nothing had been, and then has done all."""
    options = [*ONCE, *(["--encoder", str(tiny_model)] if started else [])]
    assert train(data, tmp_path / "a", *options) == 0
    run = Trainer.run

    def stopped(trainer, until=0):
        if until:
            raise Interrupted(15)
        return run(trainer, until)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run", stopped)
        with pytest.raises(Interrupted):
            train(data, tmp_path / "b", *options)
    assert f"there is a model in {tmp_path / 'b'}. To learn from all texts:" in capsys.readouterr().out
    assert "refit" not in json.loads((tmp_path / "b" / "metrics.json").read_text())
    assert train(data, tmp_path / "b", *options, "--resume") == 0
    assert "the texts held out are learned from" in capsys.readouterr().out
    whole, resumed = load_model(tmp_path / "a").tensors, load_model(tmp_path / "b").tensors
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert train(data, tmp_path / "b", *options, "--resume") == 0
    assert "the texts held out are learned from" not in capsys.readouterr().out


def test_a_signal_in_the_last_validation_and_a_second_training_that_fails(data, tmp_path, monkeypatch, capsys):
    validate = ClassificationTask.validate

    def noted(task, model):
        os.kill(os.getpid(), signal.SIGTERM)
        return validate(task, model)

    with monkeypatch.context() as patch:
        patch.setattr(ClassificationTask, "validate", noted)
        with pytest.raises(Interrupted):
            train(data, tmp_path / "m", "--max-steps", "5", "--validate-every", "9")
    out = capsys.readouterr().out
    assert "To learn from all texts:" in out and "learned from, too" not in out
    run = Trainer.run

    def failed(trainer, until=0):
        if until:
            raise UserError("the loss was not finite")
        return run(trainer, until)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run", failed)
        assert train(data, tmp_path / "m", "--max-steps", "5", "--validate-every", "9", "--resume") == 0
    assert "not finite; the model that has not seen the texts held out is kept" in capsys.readouterr().out
    assert "refit" not in json.loads((tmp_path / "m" / "metrics.json").read_text())


def test_no_text_is_held_out(data, tmp_path, capsys):
    """All texts are trained on; the last model is kept, and its card says that nothing measured it."""
    options = ["--valid-share", "0", "--validate-every", "2", "--schedule", "inverse_sqrt"]
    assert train(data, tmp_path / "m", *options) == 0
    out = capsys.readouterr().out
    assert "none is held out" in out and "240 texts to train on, 0 for validation" in out and "best" not in out
    metrics = json.loads((tmp_path / "m" / "metrics.json").read_text())
    assert metrics["valid"] == {} and metrics["step"] == 6
    assert "No text was held out" in (tmp_path / "m" / "README.md").read_text()
    assert main(["plot", str(tmp_path / "m"), "--output", str(tmp_path / "run.svg")]) == 0
    assert train(data, tmp_path / "b", *options, "--max-steps", "3") == 0
    assert train(data, tmp_path / "b", *options, "--resume") == 0
    whole, resumed = load_model(tmp_path / "m").tensors, load_model(tmp_path / "b").tensors
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    # held out after all: what is measured counts for more than what was not
    assert train(data, tmp_path / "m", *options[2:], "--max-steps", "8", "--resume", "--valid-share", "0.1") == 0
    assert json.loads((tmp_path / "m" / "metrics.json").read_text())["valid"].keys() >= {"accuracy"}
    assert "best accuracy" in capsys.readouterr().out


def test_more_text_when_going_on(data, tmp_path):
    """The n-grams stay those of the beginning."""
    grown = tmp_path / "grown"
    grown.mkdir()
    (grown / "train.tsv").write_text((data / "train.tsv").read_text())
    assert train(grown, tmp_path / "m", "--max-steps", "2", "--validate-every", "2") == 0
    before = load_model(tmp_path / "m").tensors
    with open(grown / "train.tsv", "a") as file:
        file.write("cat\tan entirely new kind of cat\n" * 9)
    assert train(grown, tmp_path / "m", "--max-steps", "4", "--validate-every", "2", "--resume") == 0
    after = load_model(tmp_path / "m").tensors
    assert torch.equal(before["ngrams.weight"], after["ngrams.weight"]) and len(before["ngrams.names"])


def test_resumed_training_equals_unbroken(data, tmp_path):
    options = ["--validate-every", "3", "--schedule", "inverse_sqrt", "--r-drop", "1", "--word-dropout", "0.1"]
    assert train(data, tmp_path / "a", *options) == 0
    assert train(data, tmp_path / "b", *options, "--max-steps", "2", "--validate-every", "2") == 0
    assert train(data, tmp_path / "b", *options, "--resume") == 0
    last = "training_state/step-000000006/tensors.safetensors"
    whole, resumed = read_tensors(tmp_path / "a" / last), read_tensors(tmp_path / "b" / last)
    assert whole.keys() == resumed.keys() and all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize("pooling", ["mean", "max", "last", "attention"])
def test_every_pooling_trains(data, tmp_path, pooling):
    assert train(data, tmp_path / "m", "--pooling", pooling) == 0
    from seq2seq import Classifier

    assert np.isfinite(Classifier.from_pretrained(tmp_path / "m").predict("a cat").probability)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dropout-pooled", "1.5"], "--dropout-pooled is 1.5, expected 0 or more and less than 1"),
        (["--valid-share", "1"], "--valid-share is 1.0, expected 0 or more and less than 1"),
        (["--valid-share", "0", "--patience", "2"], "nothing for --patience or plateau to go by"),
        (["--ngrams", "65"], "--ngrams is 65, expected 0 (none) to 64"),
        (["--ngram-penalty", "0"], "--ngram-penalty is 0.0, expected more than 0"),
        (["--tied-languages", "fr"], "--tied-languages needs --encoder"),
        (["--encoder", "absent"], "no model directory absent"),
        (["--encoder", "a", "--tokenizer", "b"], "--tokenizer and --encoder exclude each other"),
        (["--data", ""], "--data is missing: a folder with train.tsv"),
    ],
)
def test_refusals_write_nothing(data, tmp_path, capsys, options, message):
    assert train(data, tmp_path / "out", *options) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and message in captured.err
    assert not (tmp_path / "out").exists()


def test_a_small_set_is_read_more_often(data, tmp_path, capsys):
    options = ["--train-share", "0.1", "--max-steps", "0", "--max-epochs", "2", "--min-steps", "30"]
    assert train(data, tmp_path / "m", *options) == 0
    out = capsys.readouterr().out
    assert "2 epochs of 2 steps are few: 15 epochs instead" in out and "done: 30 steps" in out
    assert out.count("\nstep ") == 2


def test_one_label_only(tmp_path, capsys):
    (tmp_path / "x.tsv").write_text("a\tone\na\ttwo\n" * 20)
    assert train(tmp_path / "x.tsv", tmp_path / "m") == 2
    assert "only one label, 'a'; a classifier needs two or more" in capsys.readouterr().err
