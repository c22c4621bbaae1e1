"""Models from strangers: damaged and malicious directories are refused at once, clearly, without memory or code."""

from __future__ import annotations

import ast
import json
import os
import pickle
import random
import resource
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from models import TEXT, small_tokenizer, write_classifier, write_model
from safetensors.torch import load_file, save
from test_layout import MODULES

from seq2seq import Classifier, Translator
from seq2seq.app.cli import main
from seq2seq.checkpoint import save_weights
from seq2seq.config import TokenizerConfig
from seq2seq.errors import ModelDirectoryError
from seq2seq.tensors import tensors_to_bytes
from seq2seq.text.tokenizer import Tokenizer

WEIGHTS, TOKENIZER = "model.safetensors", "tokenizer.model"
HUGE = 10**18
TERABYTE = 1 << 40


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    tokenizer = small_tokenizer()
    write_model(folder / "translator", tokenizer, 0)
    write_classifier(folder / "classifier", tokenizer, 0, ngrams=2)
    return {name: folder / name for name in ("translator", "classifier")}


LOAD: dict[str, Callable[..., object]] = {
    "translator": Translator.from_pretrained,
    "classifier": Classifier.from_pretrained,
}


def change(*path_and_value):
    """Sets a value of config.json, at a path of keys; `...` removes it."""
    *path, last, value = path_and_value

    def damage(directory: Path) -> None:
        config = json.loads((directory / "config.json").read_text())
        place = config
        for key in path:
            place = place[key]
        if value is ...:
            del place[last]
        else:
            place[last] = value
        (directory / "config.json").write_text(json.dumps(config))

    return damage


def write(name: str, content: bytes):
    return lambda directory: (directory / name).write_bytes(content)


def edit(name: str, change: Callable[[bytearray], object], unnoted: bool = False):
    """Changes the bytes of a file; `unnoted`: config.json tells no checksum."""

    def damage(directory: Path) -> None:
        content = bytearray((directory / name).read_bytes())
        change(content)
        (directory / name).write_bytes(content)
        if unnoted:
            forget(directory)

    return damage


forget = change("sha256", ...)


def flip(place: int):
    def damage(content: bytearray) -> None:
        content[place] ^= 16

    return damage


def instead(name: str, make: Callable[[Path], object]):
    """Something else in the place of a file."""

    def damage(directory: Path) -> None:
        (directory / name).unlink()
        make(directory / name)

    return damage


def sparse(name: str):
    return lambda directory: os.truncate(directory / name, TERABYTE)


def tensors(change: Callable[[dict], object]):
    """Other weights, with right checksums."""

    def damage(directory: Path) -> None:
        weights = load_file(directory / WEIGHTS)
        change(weights)
        save_weights(directory, weights, {}, "")

    return damage


def header(**entries):
    """A safetensors file that is a header alone."""
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text


def other_tokenizer(directory: Path) -> None:
    other = Tokenizer.train(TEXT * 10 + ["many other words stand here"], TokenizerConfig(vocab_size=350), seed=1)
    (directory / TOKENIZER).write_bytes(other.to_bytes())


def both(*damages):
    def damage(directory: Path) -> None:
        for one in damages:
            one(directory)

    return damage


def fill(value: float):
    def change(weights: dict[str, torch.Tensor]) -> None:
        next(weight for weight in weights.values() if weight.is_floating_point()).view(-1)[:1].fill_(value)

    return tensors(change)


def deep(directory: Path) -> None:
    (directory / "config.json").write_text('{"model": ' + "[" * 100_000)


FIRST = {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}
LINK = lambda path: path.symlink_to("/dev/zero")  # noqa: E731

# name: what is done to a directory, and what the message says
DAMAGED: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda d: (d / "config.json").unlink(), "is no model directory"),
    "empty config": (write("config.json", b""), "cannot read"),
    "cut config": (edit("config.json", lambda c: c.__delitem__(slice(len(c) // 2, None))), "cannot read"),
    "config is a list": (write("config.json", b"[1]"), "no JSON object"),
    "config of many brackets": (deep, "cannot read"),
    "config is no UTF-8": (write("config.json", b'{"a": "\xff"}'), "cannot read"),
    "config of a terabyte": (sparse("config.json"), "which no configuration needs"),
    "config is a folder": (instead("config.json", Path.mkdir), "is no model directory"),
    "config is a pipe": (instead("config.json", os.mkfifo), "is no model directory"),
    "config is a device": (instead("config.json", LINK), "is no model directory"),
    "no format": (change("format_version", ...), "has no format_version"),
    "newer format": (change("format_version", 2), "has format 2, this version of seq2seq reads up to 1: upgrade"),
    "format is text": (change("format_version", "1"), "has no format_version"),
    "format is true": (change("format_version", True), "has no format_version"),
    "task is a list": (change("task", ["translation"]), "holds a model for"),
    "no sizes": (change("model", ...), "has no 'model'"),
    "sizes are a list": (change("model", [16]), "'model' is no JSON object"),
    "unknown option": (change("model", "encoder_sizes", 3), "unknown option 'encoder_sizes'; did you mean"),
    "size is text": (change("model", "encoder_size", "12"), "encoder_size is '12', expected int"),
    "size is zero": (change("model", "embedding_size", 0), "embedding_size is 0, expected 1 or more"),
    "size is negative": (change("model", "encoder_size", -12), "encoder_size is -12"),
    "another size": (change("model", "encoder_size", 14), "do not belong together"),
    "huge size": (change("model", "embedding_size", HUGE), "no possible model|do not belong together"),
    "size beyond all types": (change("model", "encoder_size", 10**30), "no possible model"),
    "layers without end": (change("model", "encoder_layers", 10**9), "encoder_layers is 1000000000, expected"),
    "options are a list": (change("options", []), "'options' is no JSON object"),
    "checksums are text": (change("sha256", "0"), "'sha256' is no JSON object"),
    "no weights": (lambda d: (d / WEIGHTS).unlink(), "has no model.safetensors"),
    "empty weights": (write(WEIGHTS, b""), "damaged"),
    "cut weights": (edit(WEIGHTS, lambda c: c.__delitem__(slice(-5, None))), "damaged"),
    "cut weights, header kept": (edit(WEIGHTS, lambda c: c.__delitem__(slice(9, None))), "damaged"),
    "a bit of the weights": (edit(WEIGHTS, flip(-1)), "checksum differs"),
    "a bit of the weights, no checksum of the file": (edit(WEIGHTS, flip(-1), True), "checksum differs"),
    "a bit of the header": (edit(WEIGHTS, flip(20)), "damaged|do not belong together"),
    "more weights": (edit(WEIGHTS, lambda c: c.extend(b"more")), "damaged"),
    "weights with a header of 16 exabytes": (write(WEIGHTS, b"\xff" * 8 + b"{}"), "damaged .a header of"),
    "weights of four terabytes, declared": (write(WEIGHTS, header(a=FIRST)), "damaged"),
    "weights of a terabyte, without content": (sparse(WEIGHTS), "more than this machine's memory|damaged"),
    "weights of another shape": (
        tensors(lambda w: w.update({name: torch.zeros(3) for name in list(w)[:1]})), "has shape .3., expected"
    ),
    "a tensor renamed": (tensors(lambda w: w.update(new=w.pop(next(iter(w))))), "do not belong together"),
    "a tensor too many": (tensors(lambda w: w.update(more=torch.zeros(1))), "more has shape .1., expected none"),
    "weights that are no numbers": (fill(float("nan")), "what is no number"),
    "endless weights": (fill(float("inf")), "what is no number"),
    "weights of whole numbers": (
        tensors(lambda w: w.update({name: tensor.long() for name, tensor in w.items()})), "holds torch.int64"
    ),
    "weights without a checksum": (
        both(lambda d: (d / WEIGHTS).write_bytes(save(load_file(d / WEIGHTS))), forget), "checksum differs"
    ),
    "weights are a pickle": (lambda d: (d / WEIGHTS).write_bytes(pickle.dumps({"a": [1]})), "damaged"),
    "weights are a folder": (instead(WEIGHTS, Path.mkdir), "is no file"),
    "weights are a pipe": (instead(WEIGHTS, os.mkfifo), "is no file"),
    "weights are a device": (instead(WEIGHTS, LINK), "is no file"),
    "no tokenizer": (lambda d: (d / TOKENIZER).unlink(), "has no tokenizer.model"),
    "empty tokenizer": (both(write(TOKENIZER, b""), forget), "is no SentencePiece model, or a damaged one"),
    "cut tokenizer": (edit(TOKENIZER, lambda c: c.__delitem__(slice(-500, None)), True), "or a damaged one"),
    "a bit of the tokenizer": (edit(TOKENIZER, flip(5000)), "checksum differs"),
    "another tokenizer": (other_tokenizer, "checksum differs"),
    "another tokenizer, no checksum": (both(other_tokenizer, forget), "do not belong together"),
    "tokenizer of a terabyte": (sparse(TOKENIZER), "which no tokenizer needs"),
    "tokenizer is a pipe": (instead(TOKENIZER, os.mkfifo), "has no tokenizer.model"),
    "tokenizer is a device": (instead(TOKENIZER, LINK), "has no tokenizer.model"),
}  # fmt: skip

DAMAGED_TRANSLATORS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a classifier's task": (change("task", "classification"), "holds a model for classification, not a translator"),
    "no vocabulary": (change("source_vocab", ...), "has no 'source_vocab'"),
    "huge vocabulary": (change("target_vocab", HUGE), "tokenizer and config.json do not belong together"),
    "vocabulary is text": (change("source_vocab", "330"), "source_vocab is '330', expected a whole number"),
    "joint is text": (change("joint", "yes"), "joint is 'yes', expected true or false"),
    "language is a number": (change("source", 7), "source is 7, expected text"),
    "language is half a character": (change("target", "\ud83d"), "target is .*, expected text"),
    "no language": (change("target", ...), "has no 'target'"),
    "length is text": (change("options", "max_length", "60"), "max_length is '60', expected a whole number"),
    "attention is unknown": (change("model", "attention", "dot"), "attention is 'dot', expected one of"),
    "decoder layers without end": (change("model", "decoder_layers", 2**62), "decoder_layers is"),
}

DAMAGED_CLASSIFIERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a translator's task": (change("task", "translation"), "holds a model for translation; give one that"),
    "no task": (change("task", ...), "holds a model for translation; give one that"),
    "no labels": (change("labels", ...), "has no 'labels'"),
    "empty labels": (change("labels", []), "expected a list of different names"),
    "too many labels": (change("labels", ["a", "b", "c"]), "do not belong together"),
    "one label twice": (change("labels", ["a", "a"]), "expected a list of different names"),
    "labels are numbers": (change("labels", [1, 2]), "labels is 1, expected names of one line"),
    "a label of two lines": (change("labels", ["a\nb", "c"]), "expected names of one line"),
    "a label is half a character": (change("labels", ["\ud83d", "c"]), "expected names of one line"),
    "no limits": (change("limits", ...), "has no 'limits'"),
    "a limit of zero": (change("limits", "max_length", 0), "limits is .*, expected 1 or more"),
    "a limit is missing": (change("limits", "max_windows", ...), "expected those of training"),
    "an unknown way of cutting": (change("limits", "long_texts", "all"), "expected those of training"),
    "several is text": (change("several", "no"), "several is 'no', expected true or false"),
    "no separator": (change("separator", ...), "has no 'separator'"),
    "no column": (change("options", "text_column", ...), "has no 'text_column'"),
    "n-grams without end": (change("model", "ngrams", 10**9), "ngrams is 1000000000, expected a number from 0 to 64"),
    "n-grams without a table": (change("known_ngrams", 0), "known_ngrams is 0, expected what belongs to ngrams 2"),
    "more n-grams than there are": (change("known_ngrams", 10**9), "do not belong together"),
    "names that are no whole numbers": (
        tensors(lambda w: w.update({"ngrams.names": w["ngrams.names"].float()})),
        "ngrams.names holds torch.float32",
    ),
    "n-grams of long before": (change("model", "dropout_ngrams", 0.3), "is of an earlier version, .* train it again"),
    "n-grams of before": (change("words", ...), "is of an earlier version, .* train it again"),
    "a spelling of numbers with fractions": (
        tensors(lambda w: w.update({"ngrams.spelling": w["ngrams.spelling"].float()})),
        "ngrams.spelling holds torch.float32",
    ),
}

CASES = [
    *(("translator", name, *case) for name, case in {**DAMAGED, **DAMAGED_TRANSLATORS}.items()),
    *(("classifier", name, *case) for name, case in {**DAMAGED, **DAMAGED_CLASSIFIERS}.items()),
]


def test_the_originals_can_be_loaded(originals):
    assert len(DAMAGED) >= 40
    for kind, directory in originals.items():
        assert LOAD[kind](directory, device="cpu", precision="float32")


@pytest.mark.parametrize(("kind", "name", "damage", "message"), CASES, ids=[f"{case[0]}: {case[1]}" for case in CASES])
def test_a_damaged_directory_is_refused(kind, name, damage, message, originals, tmp_path):
    directory = shutil.copytree(originals[kind], tmp_path / "model")
    damage(directory)
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelDirectoryError, match=message) as caught:
        LOAD[kind](directory, device="cpu", precision="float32")
    assert time.process_time() - start < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes
    text = str(caught.value)
    assert "\n" not in text and len(text) < 700 + len(str(directory)) and str(directory) in text


@pytest.mark.parametrize("command", [["translate", "--model"], ["train-classifier", "--data", "x", "--encoder"]])
def test_commands_say_it_in_one_line(command, originals, tmp_path, capsys):
    directory = shutil.copytree(originals["translator"], tmp_path / "model")
    change("joint", 3)(directory)
    output = ["--output", str(tmp_path / "out")] if command[0] == "train-classifier" else ["A dog."]
    assert main([*command, str(directory), *output]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"seq2seq: error: {directory}/config.json: joint is 3") and captured.out == ""
    assert captured.err.count("\n") == 1


def test_any_bit_of_weights_and_tokenizer_is_seen(originals, tmp_path):
    directory = shutil.copytree(originals["translator"], tmp_path / "model")
    drawn = random.Random(3)
    for name in (WEIGHTS, TOKENIZER):
        whole = (directory / name).read_bytes()
        for _ in range(40):
            content = bytearray(whole)
            content[drawn.randrange(len(whole))] ^= 1 << drawn.randrange(8)
            (directory / name).write_bytes(content)
            with pytest.raises(ModelDirectoryError):
                Translator.from_pretrained(directory, device="cpu", precision="float32")
        (directory / name).write_bytes(whole)
    Translator.from_pretrained(directory, device="cpu", precision="float32")


OPENED: list[str] = []
HOOKS: list[str] = []


def note_opened(event: str, arguments: tuple) -> None:
    if HOOKS and event == "open" and isinstance(arguments[0], str):
        OPENED.append(arguments[0])


@pytest.mark.parametrize("kind", ["translator", "classifier"])
def test_no_path_of_a_configuration_is_opened(kind, originals, tmp_path):
    """A configuration is full of paths of the machine that trained; none of them is read or written."""
    directory = shutil.copytree(originals[kind], tmp_path / "model")
    trap = tmp_path / "trap"
    trap.write_text("secret")
    for name in ("data", "output", "tokenizer", "encoder", "config", "valid_split", "source", "target"):
        change("options", name, str(trap))(directory)
    change("tokenizer.model", "../trap")(directory)
    change("tensors", str(trap))(directory)
    if not HOOKS:
        sys.addaudithook(note_opened)  # stays, and does nothing when HOOKS is empty
    HOOKS.append(kind)
    OPENED.clear()
    LOAD[kind](directory, device="cpu", precision="float32")
    HOOKS.clear()
    inside = [path for path in OPENED if path.startswith(str(tmp_path))]
    assert inside and all(Path(path).parent == directory for path in inside), OPENED


def test_weights_that_are_replaced_meanwhile_are_read(originals, tmp_path, monkeypatch):
    """A reader between the two files of a run that saves: it sees the old or the new weights, and no damage."""
    directory = shutil.copytree(originals["translator"], tmp_path / "model")
    from seq2seq import checkpoint

    weights = load_file(directory / WEIGHTS)
    replace, seen = os.replace, []

    def replace_and_read(source, target):
        replace(source, target)
        Translator.from_pretrained(directory, device="cpu", precision="float32")
        seen.append(Path(target).name)

    monkeypatch.setattr(checkpoint.os, "replace", replace_and_read)
    save_weights(directory, {name: tensor + 1 for name, tensor in weights.items()}, {}, "")
    assert seen == ["config.json", WEIGHTS, "config.json", "metrics.json", "README.md"]
    kept = json.loads((directory / "config.json").read_text())["sha256"]
    assert len(kept[WEIGHTS]) == 1 and len(kept) == 2


def test_a_save_that_stops_between_two_files_harms_nothing(originals, tmp_path, monkeypatch):
    directory = shutil.copytree(originals["translator"], tmp_path / "model")
    from seq2seq import checkpoint

    weights = load_file(directory / WEIGHTS)
    replace = os.replace
    for stop in (WEIGHTS, "config.json", "metrics.json"):

        def replace_until(source, target, stop=stop, left=[]):  # noqa: B006
            left.append(target)
            if Path(target).name == stop and (stop != "config.json" or len(left) > 1):
                raise InterruptedError("killed")
            replace(source, target)

        monkeypatch.setattr(checkpoint.os, "replace", replace_until)
        with pytest.raises(InterruptedError):
            save_weights(directory, {name: tensor + 1 for name, tensor in weights.items()}, {}, "")
        Translator.from_pretrained(directory, device="cpu", precision="float32")
    monkeypatch.undo()
    save_weights(directory, weights, {}, "")
    assert len(json.loads((directory / "config.json").read_text())["sha256"][WEIGHTS]) == 1


def test_older_directories_without_checksums_are_read(originals, tmp_path):
    for kind, original in originals.items():
        directory = shutil.copytree(original, tmp_path / kind)
        forget(directory)
        LOAD[kind](directory, device="cpu", precision="float32")


def test_half_precision_weights_are_read(originals, tmp_path):
    directory = shutil.copytree(originals["translator"], tmp_path / "model")
    weights = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(directory / WEIGHTS).items()}
    save_weights(directory, weights, {}, "")
    assert (
        Translator.from_pretrained(directory, device="cpu", precision="float32").model.output_bias.dtype
        == torch.float32
    )
    assert len(tensors_to_bytes(weights)) < 0.6 * (originals["translator"] / WEIGHTS).stat().st_size


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_nothing_that_could_run_code_is_called(path):
    """No pickle, no eval, no YAML with tags; `torch.load` only with `weights_only=True`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = {alias.name.split(".")[0] for alias in node.names} | {
                (getattr(node, "module", "") or "").split(".")[0]
            }
            assert not names & {"pickle", "dill", "marshal", "shelve", "joblib", "cloudpickle"}
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("eval", "exec", "compile", "__import__", "yaml.load", "yaml.unsafe_load", "os.system")
            if called == "torch.load":
                assert any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords)
            risky = [k for k in node.keywords if k.arg in ("trust_remote_code", "shell", "allow_pickle")]
            assert all(ast.unparse(k.value) == "False" for k in risky)
