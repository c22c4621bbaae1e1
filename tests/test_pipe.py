"""Streams without end, and translations beside others: the short forms of scripts/stress/pipe.py and neighbours.py."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest
from conftest import ROOT
from models import small_tokenizer, write_classifier, write_model

from seq2seq import Translator


def script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / "stress" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    tokenizer = small_tokenizer()
    return {
        "translate": write_model(folder / "t", tokenizer, 0),
        "classify": write_classifier(folder / "c", tokenizer, 0),
    }


def test_many_lines_in_flat_memory_and_none_lost_where_the_reader_stalls(models):
    curve = script("pipe").answers("classify", models["classify"], 20_000, stalls=1, notes=12)
    assert curve.lines == 20_000 and len(curve.memory) >= 10 and curve.memory[0] > 50
    assert max(curve.memory) < 1.1 * min(curve.memory[1:])


def test_line_by_line_until_the_reader_leaves(models):
    assert script("pipe").reader_leaves("classify", models["classify"]) == (141, b"")


READ = (
    "import sys\nfrom seq2seq.app.streams import text_lines\n"
    "sys.stdout.write(str(len(list(text_lines((), None, 'strict')[0]))))"
)


def test_a_pipe_that_does_not_wait_is_made_to():
    """Some programs leave their end of a pipe in a mode in which reading fails while there is nothing to read."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    with subprocess.Popen([sys.executable, "-c", READ], stdin=reader, stdout=subprocess.PIPE, cwd=ROOT) as running:
        os.close(reader)
        with pytest.raises(subprocess.TimeoutExpired):
            running.wait(1)  # it has begun, and waits
        for _ in range(3):
            os.write(writer, b"line\n")
        os.close(writer)
        assert running.communicate(timeout=100)[0] == b"3" and running.returncode == 0


WRITE = (
    "import sys\nfrom seq2seq.app.streams import output_file\nfrom seq2seq.errors import UserError\n"
    "try:\n    with output_file(None) as file: file.write('x' * 100_000)\n"
    "except UserError as error: sys.stderr.write(str(error))"
)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_disk_behind_standard_output():
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", WRITE], stdout=full, stderr=subprocess.PIPE, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, b"cannot write standard output: No space left on device")


@pytest.mark.parametrize(("closed", "code", "message"), [
    ("<&-", READ, b"standard input is closed; give sentences, or a file with --input"),
    (">&-", WRITE, b"standard output is closed; give a file with --output"),
])  # fmt: skip
def test_closed_streams(closed, code, message):
    command = [sys.executable, "-c", code]
    done = subprocess.run(["sh", "-c", f'exec "$@" {closed}', "sh", *command], stderr=subprocess.PIPE, cwd=ROOT)
    assert message in done.stderr


def test_an_error_where_standard_output_is_closed():
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m seq2seq train --data x >&-"], stderr=subprocess.PIPE, cwd=ROOT
    )
    assert done.returncode == 2 and b"--output is missing" in done.stderr


def test_a_translation_depends_on_its_sentence_alone(models):
    neighbours, pipe = script("neighbours"), script("pipe")
    texts = [text for text in map(pipe.sentence, range(1, 40)) if text.strip()]
    translator = Translator.from_pretrained(models["translate"], device="cpu", precision="float32")
    made = neighbours.ways(translator, texts, beam_size=3, max_length=8)
    assert len({text for text, _ in made["together"]}) > 5
    for name, (differ, score) in neighbours.differences(made).items():
        assert differ == 0 and score < 1e-4, name
