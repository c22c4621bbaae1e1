"""Strings to token ids and back: SentencePiece, trained from text or given as a .model file.

What normalisation changes. A model that is trained here stores its rule (`normalization`) and applies it to all text:

- `identity`: nothing. Text comes back exactly, tabs, runs of spaces and leading spaces included. The one exception is
  U+2581 (the block SentencePiece itself writes for a space), which comes back as a space.
- `nfkc`: Unicode NFKC (full-width forms, ligatures, composed accents, circled digits become plain ones); spaces are
  trimmed at both ends and runs of them become one.
- `nmt_nfkc`: NFKC; besides, tabs, line breaks, zero-width spaces, zero-width non-joiners and U+FFFD become spaces and
  most control characters vanish. Zero-width joiners stay, so joined emoji and Devanagari conjuncts do too.
- `nfkc_cf`, `nmt_nfkc_cf`: the same two with case folding.

What is left after normalisation is never lost: a character outside the vocabulary is spelt in bytes (byte fallback).
"""

from __future__ import annotations

import bisect
import hashlib
import io
import itertools
import random
import re
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import sentencepiece

from seq2seq.config import TokenizerConfig
from seq2seq.errors import ConfigError, CorpusError
from seq2seq.text.sampling import Sampler

PAD, UNK, BOS, EOS = range(4)
"""Ids of the special pieces in every model trained here."""

LOG_ERRORS = 2
"""SentencePiece's log level that leaves out its progress reports."""

LINE_CHARACTERS = 1000
"""SentencePiece skips training lines past 4192 bytes; longer ones reach it in parts of this many characters."""

RARE = 0.0005
"""Share of the running text that a large alphabet leaves to byte fallback at least."""

TRAINING_THREADS = 4
"""Fixed, whatever the machine: unigram training adds up floats in an order that follows from it."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_ALGORITHMS = {1: "unigram", 2: "bpe", 3: "word", 4: "char"}


def sample_lines(lines: Iterable[str], count: int, seed: int) -> list[str]:
    """A uniform random sample of at most `count` lines (all of them, in order, when there are no more).

    One pass, `count` lines in memory; the same lines and seed give the same sample.
    """
    kept: list[str] = []
    draw = random.Random(seed).random
    for index, line in enumerate(lines):
        if index < count:
            kept.append(line)
        else:
            slot = int(draw() * (index + 1))
            if slot < count:
                kept[slot] = line
    return kept


class Tokenizer:
    """A SentencePiece model; trained ones have pad 0, unk 1, bos 2, eos 3."""

    def __init__(self, model: bytes, name: str = "tokenizer") -> None:
        """Args:
            model: The bytes of a SentencePiece .model file.
            name: What to call it in an error.

        Raises:
            ConfigError: The bytes are no such model, or the model has no end-of-sentence piece.
        """
        sentencepiece.set_min_log_level(LOG_ERRORS)
        try:
            if not model:
                raise RuntimeError("it is empty")
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
            size = self._processor.get_piece_size()
            self.eos_id: int = self._processor.eos_id()
            self._processor.id_to_piece(list(range(size)))  # all of them are text
            self.algorithm: str = _algorithm(model)
        except (RuntimeError, OSError, ValueError, IndexError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(
                f"{name} is no SentencePiece model, or a damaged one ({reason}); expected a .model file "
                "that SentencePiece has written"
            ) from None
        if self.eos_id < 0:
            raise ConfigError(
                f"{name} has no end-of-sentence piece, which translation needs; "
                "train the SentencePiece model with eos_id >= 0"
            )
        self._model = model
        self.vocab_size: int = size
        self.unk_id: int = self._processor.unk_id()
        self.bos_id: int = self._or_eos(self._processor.bos_id())
        self.pad_id: int = self._or_eos(self._processor.pad_id())
        self._silent = frozenset((self.pad_id, self.bos_id, self.eos_id))
        self._sampler: Sampler | None = None
        self._sampling = threading.Lock()

    def _or_eos(self, piece: int) -> int:
        return piece if piece >= 0 else self.eos_id

    @classmethod
    def train(cls, lines: Iterable[str], config: TokenizerConfig, seed: int, *, languages: int = 1) -> Tokenizer:
        """Learn a vocabulary from text; the same text, options and seed give the same bytes.

        A character gets a piece of its own unless the alphabet would fill more than a quarter of the vocabulary: then
        the rarest are left to byte fallback, so many that the rest fits, and one character of the text in 2000 at
        least. The vocabulary is smaller than asked for when the text has too few different words; `vocab_size` tells.

        Args:
            lines: Text of all languages that share the vocabulary; read once, `tokenizer_sentences` lines a language
                are kept in memory.
            config: `vocab_size`, `tokenizer_type`, `normalization`, `tokenizer_sentences` count.
            seed: For the sample.
            languages: How many languages `lines` holds one after the other.

        Raises:
            CorpusError: No line has any text.
            ConfigError: `vocab_size` has no room for the alphabet and the 256 bytes.
        """
        sample = sample_lines(lines, config.tokenizer_sentences * languages, seed)
        if not any(line and not line.isspace() for line in sample):
            raise CorpusError(f"no text to train a tokenizer on: {len(sample)} lines, all empty")
        sentencepiece.set_min_log_level(LOG_ERRORS)
        rare = _rare_characters(sample, config.vocab_size)
        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=_training_lines(sample, rare),
                model_writer=model,
                model_type=config.tokenizer_type,
                vocab_size=config.vocab_size,
                hard_vocab_limit=False,  # a text too small for the vocabulary gets a smaller one
                character_coverage=1.0,  # SentencePiece's own limit, 0.98, is too high for a small vocabulary
                byte_fallback=True,
                normalization_rule_name=config.normalization,
                remove_extra_whitespaces=config.normalization != "identity",
                pad_id=PAD,
                unk_id=UNK,
                bos_id=BOS,
                eos_id=EOS,
                num_threads=TRAINING_THREADS,
                minloglevel=LOG_ERRORS,
            )
        except RuntimeError as error:
            raise _training_error(error, config) from None
        return cls(model.getvalue())

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer:
        """Read a .model file.

        Raises:
            ConfigError: No such file, or no SentencePiece model.
        """
        try:
            model = Path(path).read_bytes()
        except OSError as error:
            raise ConfigError(
                f"cannot read tokenizer {path}: {error.strerror}; expected a SentencePiece .model file"
            ) from None
        return cls(model, str(path))

    @classmethod
    def from_bytes(cls, model: bytes) -> Tokenizer:
        """The inverse of `to_bytes`."""
        return cls(model)

    def save(self, path: str | Path) -> None:
        """Write a .model file."""
        Path(path).write_bytes(self._model)

    def to_bytes(self) -> bytes:
        """The bytes of the .model file."""
        return self._model

    @property
    def fingerprint(self) -> str:
        """A short name for the model's bytes, for caches."""
        return hashlib.sha256(self._model).hexdigest()[:16]

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, without BOS and EOS. A lone surrogate, which is no character, becomes U+FFFD."""
        return self._processor.encode(_well_formed(texts), num_threads=1)

    def sample(self, texts: Sequence[str], seed: int, amount: float) -> list[list[int]]:
        """A random segmentation of each text: BPE-dropout (Provilkov et al. 2020) or unigram sampling (Kudo 2018).

        The same texts in the same order with the same seed and amount give the same ids, whatever was sampled before
        and in whichever thread or process.

        Args:
            texts: As for `encode`.
            seed: Any integer.
            amount: In [0, 1]. BPE: the probability that a merge is skipped. Unigram: 1 - smoothing, so 0 stays near
                the best segmentation and 1 draws among all of them alike.

        Raises:
            ConfigError: The model is neither BPE nor unigram, so it has one segmentation only.
        """
        if self.algorithm not in ("bpe", "unigram"):
            raise ConfigError(
                f"sampling is {amount}, but the tokenizer is a {self.algorithm} model, which has one segmentation "
                "only; leave sampling at 0, or use a bpe or unigram model"
            )
        if amount <= 0 and self.algorithm == "bpe":
            return self.encode(texts)
        with self._sampling:
            if self._sampler is None:
                self._sampler = Sampler(self._processor, self.algorithm, _user_defined(self._model))
            return self._sampler(_well_formed(texts), seed, amount)

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Text of each sequence of ids; pad, BOS and EOS are left out, bytes that are no UTF-8 become U+FFFD."""
        silent = self._silent
        kept = [[int(i) for i in row if int(i) not in silent] for row in ids]
        # Rows that are all empty would leave SentencePiece to guess the type of what they do not hold.
        return self._processor.decode(kept, num_threads=1) if any(kept) else [""] * len(kept)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The piece that each id stands for; U+2581 marks a space."""
        return [self._processor.id_to_piece(int(i)) for i in ids]

    def texts(self) -> list[str]:
        """The text of every piece, as in `pieces`; empty for those that stand for none, or for what a user defined."""
        known, defined = self._processor, _user_defined(self._model)
        none = (known.is_control, known.is_unknown, known.is_unused, known.is_byte)
        texts = ["" if any(has(i) for has in none) else known.id_to_piece(i) for i in range(self.vocab_size)]
        return ["" if text in defined else text for text in texts]


def _well_formed(texts: Sequence[str]) -> list[str]:
    texts = list(texts)
    try:
        for text in texts:
            if not text.isascii():
                text.encode()
    except UnicodeEncodeError:
        return [_SURROGATE.sub("\ufffd", text) for text in texts]
    return texts


def _training_lines(lines: Sequence[str], rare: str) -> Iterator[str]:
    # The trainer refuses NUL. A line broken at a rare character teaches no piece that holds it; bytes spell both.
    blank = str.maketrans(dict.fromkeys("\0" + rare, " "))
    for line in _well_formed(lines):
        line = line.translate(blank)
        for start in range(0, len(line), LINE_CHARACTERS):
            part = line[start : start + LINE_CHARACTERS]
            if part.strip():
                yield part


def _rare_characters(lines: Iterable[str], vocab_size: int) -> str:
    """The characters that get no piece: none where the alphabet fits into a quarter of the vocabulary."""
    counts: Counter[str] = Counter()
    for line in lines:
        counts.update(line)
    alphabet = [(character, count) for character, count in counts.most_common() if not character.isspace()]
    room = vocab_size // 4
    if len(alphabet) <= room:
        return ""
    common = (1 - RARE) * sum(count for _, count in alphabet)
    covered = list(itertools.accumulate(count for _, count in alphabet))
    kept = min(bisect.bisect_left(covered, common) + 1, room)
    return "".join(character for character, _ in alphabet[kept:])


def _training_error(error: Exception, config: TokenizerConfig) -> Exception:
    reason = " ".join(str(error).split())
    needed = re.search(r"smaller than required_chars\. \d+ vs (\d+)", reason)
    if needed:
        return ConfigError(
            f"vocab_size is {config.vocab_size}, but this text needs {needed[1]} pieces at least: 4 special ones, "
            f"256 bytes and its characters; give a vocab_size well above {needed[1]}"
        )
    return ConfigError(f"SentencePiece could not train a tokenizer: {reason}")


def _algorithm(model: bytes) -> str:
    """The model's algorithm: field 3 (`model_type`) of field 2 (`trainer_spec`) of its protocol buffer."""
    spec = b""
    for number, value in _fields(model):
        if number == 2 and isinstance(value, bytes):
            spec = value
    for number, value in _fields(spec):
        if number == 3 and isinstance(value, int):
            return _ALGORITHMS.get(value, "unknown")
    return "unigram"


def _user_defined(model: bytes) -> frozenset[str]:
    """The pieces that are never split: those (field 1 of the model) whose type (field 3) is 4."""
    pieces = (dict(_fields(value)) for number, value in _fields(model) if number == 1 and isinstance(value, bytes))
    return frozenset(piece[1].decode() for piece in pieces if piece.get(3) == 4 and isinstance(piece[1], bytes))


def _varint(message: bytes, start: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[start]
        start += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, start


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field of a protocol buffer message."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        kind = key & 7
        if kind == 0:
            number, position = _varint(message, position)
            yield key >> 3, number
            continue
        if kind == 2:
            size, position = _varint(message, position)
        else:
            size = 8 if kind == 1 else 4
        yield key >> 3, message[position : position + size]
        position += size
