#!/usr/bin/env python
"""Coverage-guided fuzzing of all that reads what people give: files of text, recipes, model directories, tokenizers.

pip install atheris
python scripts/stress/fuzz.py [--inputs 20000] [--target all] [--seed 1] [--keep FOLDER]

Each target takes bytes that libFuzzer makes from valid examples, steered by which lines of the code they reach. A
`UserError` is the right answer to nonsense; any other exception, a wrong result, a hang of a minute, 3 GB of memory or
a crash of native code ends the target with a report, and leaves the input in the folder.
"""

from __future__ import annotations

import argparse
import copy
import gzip
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import atheris

# what the fuzzer sees the lines of; its own machinery must not be among them
SEEN = ["seq2seq.text", "seq2seq.config", "seq2seq.checkpoint", "seq2seq.tensors", "seq2seq.inference.loading", "csv",
        "json", "yaml"]  # fmt: skip

with atheris.instrument_imports(include=SEEN):
    import torch

    from seq2seq.checkpoint import save_weights, start_model_directory
    from seq2seq.config import (
        ClassifierConfig,
        DataConfig,
        ModelConfig,
        TokenizerConfig,
        TrainClassifierConfig,
        TrainTranslatorConfig,
        from_flat,
        read_yaml,
        to_flat,
    )
    from seq2seq.errors import UserError
    from seq2seq.inference.loading import load_classifier, load_translator
    from seq2seq.nn.classifier import ClassificationModel
    from seq2seq.nn.translator import TranslationModel
    from seq2seq.tensors import read_tensors
    from seq2seq.text.corpus import SCHEMA, _text_array
    from seq2seq.text.tables import LabelledPairs, read_lines, split_lines, table_pairs
    from seq2seq.text.tokenizer import Tokenizer

CPU = torch.device("cpu")
TEXT = ["the cat sat on the mat .", "a dog runs in the park .", "où est le vieux train ?", "日本語 👩🏽‍🚀 हिन्दी"]
SIZES = {"embedding_size": 4, "encoder_size": 4, "decoder_size": 4, "attention_size": 4}
# what numbers, texts and structures of a JSON document are replaced with
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 7, 2**31, 2**63, 10**400, 0.5, -0.0, float("nan"), float("inf"), 1e308, "", "x",
    "\x00", "a\nb", "\ud800", "../../etc/passwd", "/dev/zero", [], [[]], ["a"], ["a", "a"], [1], {}, {"a": 1}, "0",
    "none", "classification", "translation", "bahdanau", "mean", [0] * 100, "x" * 1000,
]  # fmt: skip


class Target:
    """Something that reads bytes: examples to start from, and what is done with bytes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def examples(self) -> list[bytes]:
        """Valid inputs."""
        raise NotImplementedError

    def try_bytes(self, content: bytes) -> None:
        """Reads; raises UserError for nonsense, AssertionError where what was read cannot be right."""
        raise NotImplementedError


class Lines(Target):
    """Lines of text, plain and out of a pipe in small pieces."""

    def examples(self) -> list[bytes]:
        return ["\n".join(TEXT).encode(), b"\xef\xbb\xbfa\r\nb\x00\n\xe2\x80\xa8\n", b"caf\xe9\n\n", "é\n".encode()]

    def try_bytes(self, content: bytes) -> None:
        text = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
        expected = text.split("\n")
        if not expected[-1]:
            expected.pop()
        expected = [line.removesuffix("\r") for line in expected]
        assert list(split_lines(io.BytesIO(content), "x", "replace")) == expected
        assert list(split_lines(Trickle(content), "x", "replace")) == expected  # type: ignore[arg-type]
        assert list(split_lines(io.BytesIO(content), "x")) == expected


class Trickle(io.BytesIO):
    """A stream that gives three bytes at a time, as a pipe may."""

    def read(self, size: int | None = -1) -> bytes:
        """At most three bytes."""
        return super().read(min(size or 3, 3))


class Gzip(Target):
    """Lines of a gzipped file."""

    def examples(self) -> list[bytes]:
        whole = gzip.compress("\n".join(TEXT).encode(), mtime=0)
        return [whole, whole[:-9], whole + whole, gzip.compress(b"", mtime=0), whole + b"\0\0"]

    def try_bytes(self, content: bytes) -> None:
        path = self.folder / "x.gz"
        path.write_bytes(content)
        for line in read_lines(path, "replace"):
            assert "\n" not in line


class Table(Target):
    """A table of pairs, and one of labels and texts."""

    ending = "tsv"

    def examples(self) -> list[bytes]:
        return [
            *(b"a\tb\nc\td\n", b"en\tde\nx\ty\n", b"label\ttext\n3\ta\n", b"de\tx\ten\r\n1\t2\t3\r\n", b'a\t"b\n\t\n'),
            b"en\ten\tde\na\tb\tc\n",
        ]

    def try_bytes(self, content: bytes) -> None:
        path = self.folder / f"x.{self.ending}"
        path.write_bytes(content)
        kinds = [
            DataConfig(source="en", target="de"),
            DataConfig(source="en", target="de", encoding_errors="replace"),
            LabelledPairs(source="label", target="text", separator="|", encoding_errors="replace"),
        ]
        wrong: UserError | None = None
        for data in kinds:
            try:
                for sources, targets in table_pairs(path, data):
                    assert len(sources) == len(targets)
                    assert not any("\n" in text for text in (*sources, *targets))
                    for column, name in ((sources, "source"), (targets, "target")):
                        assert len(_text_array(column, 0, "x", data).cast(SCHEMA.field(name).type)) == len(column)
            except UserError as error:
                wrong = error
        if wrong is not None:
            raise wrong


class Csv(Table):
    """The same with quotes."""

    ending = "csv"

    def examples(self) -> list[bytes]:
        return [
            *(b'en,de\n"a, b","c ""d"""\n', b'label,text\r\n1,"x\ny"\r\n', b"a,b\n", b'en,de\n"a\n', b'a,b\n"c" d,e\n'),
            b"\xef\xbb\xbfen,de\n\0,\n",
        ]


class Jsonl(Table):
    """The same as objects."""

    ending = "jsonl"

    def examples(self) -> list[bytes]:
        return [
            *(
                b'{"en": "a", "de": "b"}\n',
                b'{"translation": {"de": "b", "en": null}}\n',
                b'{"en": "\\ud83d", "de": ""}',
            ),
            *(b'{"text": "a", "label": ["x", 2, null]}\n{"text": "", "label": -1.5}\n', b"[" * 2000, b"9" * 5000),
            b'{"source": "a", "target": "b\\nc"}\n',
        ]


class Parquet(Table):
    """The same in columns."""

    ending = "parquet"

    def examples(self) -> list[bytes]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        tables: list[dict[str, Any]] = [
            {"en": ["a", None], "de": ["b", "é\nx"]},
            {"translation": [{"en": "a", "de": "b"}]},
            {"label": [1, 2], "text": ["x", "y"]},
            {"label": [["a", "b"], []], "text": ["x", "y"]},
        ]
        found = []
        for table in tables:
            stream = io.BytesIO()
            pq.write_table(pa.table(table), stream, compression="none", use_dictionary=False, write_statistics=False)
            found.append(stream.getvalue())
        return found


class Recipe(Target):
    """A YAML recipe of either kind of training."""

    def examples(self) -> list[bytes]:
        found = [path.read_bytes() for path in sorted(Path("configs").glob("*.yaml"))[:6]]
        return [*found, b"seed: 1\n", b"learning_rate: 1e-3\njoint: no\n", b"a: &a [*a]\n", b"data: 2020-13-45\n",
                b"? [a]\n: 1\n", b"seed: 0x1_0\nbeta1: .nan\n", b"!!python/object:os.system {}\n"]  # fmt: skip

    def try_bytes(self, content: bytes) -> None:
        path = self.folder / "x.yaml"
        path.write_bytes(content)
        values = read_yaml(path)
        for kind in (TrainTranslatorConfig, TrainClassifierConfig):
            config: Any = from_flat(kind, values, where="x")
            assert repr(from_flat(kind, to_flat(config))) == repr(config)


class ModelConfiguration(Target):
    """config.json of a model directory: its bytes, or valid ones with some values replaced."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.directories = [write_translator(folder / "t"), write_classifier(folder / "c")]
        self.originals = [(path / "config.json").read_text() for path in self.directories]

    def examples(self) -> list[bytes]:
        return [
            *(b"\0" + text.encode() for text in self.originals),
            *(bytes([1, n, n, n * 7 % 256, n]) for n in range(40)),
        ]

    def try_bytes(self, content: bytes) -> None:
        kind, rest = content[:1], content[1:]
        for directory, original, load in zip(
            self.directories, self.originals, (load_translator, load_classifier), strict=True
        ):
            written = rest if kind == b"\0" else replaced(json.loads(original), rest)
            (directory / "config.json").write_bytes(written)
            load(directory, CPU)  # type: ignore[operator]


def replaced(document: dict[str, Any], choices: bytes) -> bytes:
    """A JSON document with some of its values replaced, removed or doubled, as bytes choose."""
    data = atheris.FuzzedDataProvider(choices)
    for _ in range(data.ConsumeIntInRange(1, 4)):
        place: Any = document
        while True:
            key = data.PickValueInList(sorted(place, key=str)) if place else None
            inner = place.get(key)
            if not isinstance(inner, dict) or not inner or data.ConsumeBool():
                break
            place = inner
        action = data.ConsumeIntInRange(0, 9)
        if action == 0:
            place.pop(key, None)
        elif action == 1:
            place[data.ConsumeUnicode(8)] = copy.deepcopy(inner)
        elif action == 2:
            place[key] = data.ConsumeInt(8)
        else:
            place[key] = copy.deepcopy(data.PickValueInList(VALUES))
    document.pop("sha256", None)
    sys.set_int_max_str_digits(0)
    return json.dumps(document).encode()


class Weights(Target):
    """model.safetensors of a model directory that has no checksum of the file."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.directory = write_translator(folder / "t")
        config = json.loads((self.directory / "config.json").read_text())
        config.pop("sha256")
        (self.directory / "config.json").write_text(json.dumps(config))
        self.original = (self.directory / "model.safetensors").read_bytes()

    def examples(self) -> list[bytes]:
        size = 8 + int.from_bytes(self.original[:8], "little")
        return [self.original, self.original[:-4], self.original[:size], b"\xff" * 8 + self.original[8:size], b""]

    def try_bytes(self, content: bytes) -> None:
        path = self.directory / "model.safetensors"
        path.write_bytes(content)
        try:
            read_tensors(path)
        except UserError:
            load_translator(self.directory, CPU)
            raise AssertionError("a damaged file was taken for weights") from None
        load_translator(self.directory, CPU)


class TokenizerModel(Target):
    """A SentencePiece model, and what is done with one."""

    def examples(self) -> list[bytes]:
        options = ({"normalization": "identity"}, {"tokenizer_type": "unigram", "normalization": "identity"})
        return [Tokenizer.train(TEXT * 5, TokenizerConfig(vocab_size=330, **o), 1).to_bytes() for o in options]  # type: ignore[arg-type]

    def try_bytes(self, content: bytes) -> None:
        tokenizer = Tokenizer(content)
        ids = tokenizer.encode([*TEXT, "", "\0 \ud800 ▁"])
        assert all(0 <= i < tokenizer.vocab_size for row in ids for i in row)
        tokenizer.decode(ids)
        tokenizer.pieces(ids[0])
        if tokenizer.algorithm in ("bpe", "unigram"):
            tokenizer.sample(TEXT, 1, 0.3)


class RoundTrip(Target):
    """Text to ids and back, exactly; and every other normalisation without a crash."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.exact = [Tokenizer(model) for model in TokenizerModel(folder).examples()]
        kinds = ("nmt_nfkc", "nfkc", "nmt_nfkc_cf", "nfkc_cf")
        self.others = [
            Tokenizer.train(TEXT * 5, TokenizerConfig(vocab_size=330, normalization=kind), 1)  # type: ignore[arg-type]
            for kind in kinds
        ]

    def examples(self) -> list[bytes]:
        return [
            text.encode() for text in (*TEXT, "  two  dogs\t", "<s> </s> <0x41>", "ﬁ Ｆ ① e\u0301\u200b\ufeff", "\0")
        ]

    def try_bytes(self, content: bytes) -> None:
        text = content.decode("utf-8", "replace").replace("\u2581", " ")
        for tokenizer in self.exact:
            assert tokenizer.decode(tokenizer.encode([text])) == [text]
            assert tokenizer.decode(tokenizer.sample([text], len(content), 0.5)) == [text]
        for tokenizer in self.others:
            ids = tokenizer.encode([text])
            assert tokenizer.unk_id not in ids[0]
            tokenizer.decode(ids)


TARGETS: dict[str, Callable[[Path], Target]] = {
    "lines": Lines, "gzip": Gzip, "tsv": Table, "csv": Csv, "jsonl": Jsonl, "parquet": Parquet, "recipe": Recipe,
    "config": ModelConfiguration, "weights": Weights, "tokenizer": TokenizerModel, "roundtrip": RoundTrip,
}  # fmt: skip


def write_translator(directory: Path) -> Path:
    """A model directory with very small untrained weights."""
    tokenizer = Tokenizer.train(TEXT * 5, TokenizerConfig(vocab_size=330, normalization="identity"), 1)
    size = tokenizer.vocab_size
    model = TranslationModel(ModelConfig(**SIZES), size, size, joint=True)
    config = {"task": "translation", "source": "en", "target": "fr", "source_vocab": size, "target_vocab": size,
              "joint": True, "model": SIZES, "options": {"max_length": 60}}  # fmt: skip
    start_model_directory(directory, config, dict.fromkeys(("source", "target"), tokenizer.to_bytes()))
    save_weights(directory, dict(model.state_dict()), {}, "")
    return directory


def write_classifier(directory: Path) -> Path:
    """The same of a classifier."""
    tokenizer = Tokenizer.train(TEXT * 5, TokenizerConfig(vocab_size=330, normalization="identity"), 1)
    sizes = {"embedding_size": 4, "encoder_size": 4, "ngrams": 2}
    model = ClassificationModel(ClassifierConfig(**sizes), tokenizer.vocab_size, 2, known_ngrams=5)  # type: ignore[arg-type]
    columns = {"text_column": "text", "label_column": "label", "label_separator": ""}
    config = {"task": "classification", "labels": ["a", "b"], "several": False, "separator": "", "model": sizes,
              "limits": {"max_length": 50, "long_texts": "windows", "max_windows": 3}, "options": columns,
              "known_ngrams": 5, "words": 2}  # fmt: skip
    start_model_directory(directory, config, dict.fromkeys(("source", "target"), tokenizer.to_bytes()))
    save_weights(directory, dict(model.state_dict()), {}, "")
    return directory


def fuzz(name: str, inputs: int, seed: int, keep: Path) -> None:
    """Fuzzes one target in this process, which libFuzzer ends."""
    torch.set_num_threads(1)
    scratch = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    target = TARGETS[name](scratch)
    corpus = scratch / "corpus"
    corpus.mkdir()
    examples = target.examples()
    for number, example in enumerate(examples):
        (corpus / str(number)).write_bytes(example)

    def one(content: bytes) -> None:
        try:
            target.try_bytes(content)
        except UserError as error:
            message = str(error)
            assert message and "\n" not in message and len(message) < 3000, f"no clear message: {message!r}"

    longest = max(max(map(len, examples)) * 2, 4096)
    options = [f"-runs={inputs}", f"-seed={seed}", "-timeout=60", "-rss_limit_mb=3000", f"-max_len={longest}",
               f"-artifact_prefix={keep}/{name}-", "-verbosity=0", "-print_final_stats=1",
               "-len_control=0"]  # fmt: skip
    atheris.Setup([sys.argv[0], *options, str(corpus)], one)
    atheris.Fuzz()


def main() -> None:
    """Fuzzes each target in a process of its own, one after the other, and prints what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000, help="for each target")
    parser.add_argument("--target", choices=["all", *TARGETS], default="all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()), help="folder for inputs that fail")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.keep.mkdir(parents=True, exist_ok=True)
    if options.here:
        fuzz(options.target, options.inputs, options.seed, options.keep)
    total, failed = 0, []
    for name in TARGETS if options.target == "all" else [options.target]:
        words = ["--here", "--target", name, "--inputs", str(options.inputs), "--seed", str(options.seed)]
        start = time.perf_counter()
        command = [sys.executable, __file__, *words, "--keep", str(options.keep)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        text = done.stdout.decode("utf-8", "replace")
        counts = [int(line.split()[-1]) for line in text.splitlines() if line.startswith("stat::number_of_executed")]
        total += sum(counts)
        seconds = time.perf_counter() - start
        sys.stdout.write(f"{name:<10} {sum(counts):9,} inputs in {seconds:5.0f} s, exit code {done.returncode}\n")
        if done.returncode:
            failed.append(name)
            sys.stdout.write(text[-6000:] + "\n")
        sys.stdout.flush()
    sys.stdout.write(f"{total:,} inputs, {len(failed)} targets failed {' '.join(failed)}\n")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
