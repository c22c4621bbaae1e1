"""`Translator`: a model directory, or several, in memory; raw text in, raw text out."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from seq2seq.checkpoint import directions
from seq2seq.config import DataConfig, SearchConfig, from_flat
from seq2seq.errors import ConfigError
from seq2seq.inference.consensus import by_agreement
from seq2seq.inference.ensemble import Ensemble
from seq2seq.inference.evaluate import tokenizer_for
from seq2seq.inference.hub import push_to_hub
from seq2seq.inference.loading import load_translator, local_directory
from seq2seq.inference.prepared import PreparedModel
from seq2seq.inference.rules import check_search
from seq2seq.inference.scoring import Score, check_counts, score_ids
from seq2seq.inference.search import SearchModel, search
from seq2seq.inference.sources import checked, cut_source, one_line, windows, with_prefix
from seq2seq.inference.trace import Hypothesis
from seq2seq.nn.hardware import choose_decoding_precision, choose_device, keep_memory, use_threads
from seq2seq.nn.translator import TranslationModel
from seq2seq.text.batching import collate, length_batches
from seq2seq.text.tokenizer import Tokenizer

STEP_LOGITS = 16_000_000
"""Most logits of one decoding step: hypotheses x vocabulary."""

_Unit = tuple[int, int]  # line and part of it


class Translation(NamedTuple):
    """One translation of one text. The attention's last row and last column belong to the end of the sentence."""

    text: str  # always one line
    score: float  # log_prob / (pieces + 1) ** length_penalty; higher is better
    log_prob: float  # log p(pieces, end of sentence | source), natural logarithm
    pieces: list[str]
    source_pieces: list[str]
    attention: Tensor | None  # (len(pieces) + 1, len(source_pieces) + 1)


class Translator:
    """Translates and scores; keeps the model ready between calls, and nothing else."""

    def __init__(
        self,
        model: TranslationModel | Ensemble,
        source_tokenizer: Tokenizer,
        target_tokenizer: Tokenizer,
        *,
        config: dict[str, Any] | None = None,
        precision: torch.dtype = torch.float32,
    ) -> None:
        """A translator from parts in memory; `from_pretrained` reads them from a directory.

        Args:
            model: Put into evaluation mode.
            source_tokenizer: Of the sources.
            target_tokenizer: Of the translations; the same one when the vocabulary is joint.
            config: What the model directory's config.json holds.
            precision: Type of matrix products when translating; with int8, scoring takes float32.
        """
        self.models: list[TranslationModel] = model.models if isinstance(model, Ensemble) else [model]
        for member in self.models:
            member.eval()
        self.model = model
        prepared = [PreparedModel(member, precision) for member in self.models]
        self.searched: SearchModel = Ensemble(prepared) if isinstance(model, Ensemble) else prepared[0]
        self.source_tokenizer, self.target_tokenizer = source_tokenizer, target_tokenizer
        self.config: dict[str, Any] = config or {}
        self.precision = precision
        self.device = next(self.models[0].parameters()).device
        default = DataConfig().max_length
        self.longest_source = max(default, self.config.get("options", {}).get("max_length", default))
        """Sources with more pieces are translated in parts: far beyond what training showed, a model loses its way."""
        self.directory: Path | None = None
        """Where the model was read from."""

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path | Sequence[str | Path],
        *,
        device: str = "auto",
        threads: int | None = None,
        precision: Literal["auto", "float32", "bfloat16", "int8"] = "auto",
    ) -> Translator:
        """Reads a model directory, or several that translate together.

        Args:
            path: A model directory, or `user/name` on the Hugging Face hub where no such directory is here; a list of
                them becomes an ensemble, whose members must share their tokenizer.
            device: `auto`, `cpu` or `cuda`.
            threads: CPU threads of this process; 0 takes the cores that it may use, None leaves them as they are.
            precision: Type of matrix products: `auto` takes the fastest of these that a short timed product shows. With
                int8, `score` computes in float32.

        Raises:
            ModelDirectoryError: A path is no (readable) model directory, or holds no translation model.
            ConfigError: No such device, no path, or members with different tokenizers.
        """
        paths = [path] if isinstance(path, (str, Path)) else list(path)
        if not paths:
            raise ConfigError("no model given; name a directory that training wrote")
        if threads is not None:
            use_threads(threads)
        keep_memory()
        chosen = choose_device(device)
        directories = [local_directory(part) for part in paths]
        loaded = [load_translator(directory, chosen) for directory in directories]
        _, tokenizers, config = loaded[0]
        for other, (_, others, _) in zip(paths[1:], loaded[1:], strict=True):
            if others != tokenizers:
                raise ConfigError(
                    f"{paths[0]} and {other} have different tokenizers; models that translate together must share "
                    f"one: train the second with --tokenizer {paths[0]}/tokenizer.model"
                )
        source = Tokenizer.from_bytes(tokenizers["source"])
        joint = tokenizers["source"] == tokenizers["target"]
        target = source if joint else Tokenizer.from_bytes(tokenizers["target"])
        model = loaded[0][0] if len(loaded) == 1 else Ensemble([member for member, _, _ in loaded])
        kind = choose_decoding_precision(precision, chosen)
        translator = cls(model, source, target, config=config, precision=kind)
        translator.directory = directories[0] if len(directories) == 1 else None
        return translator

    def push_to_hub(self, name: str, *, private: bool = True, token: str | None = None) -> str:
        """Puts the model directory onto the Hugging Face hub as `user/name`; see `seq2seq.inference.hub`."""
        return push_to_hub(self.directory, name, private=private, token=token)

    def translate(
        self, texts: str | Sequence[str], *, prefix: str | Sequence[str] | None = None, **options: Any
    ) -> Any:
        """Translations of texts.

        Args:
            texts: One text, or a list of them. A text is one sentence or a few; line breaks in it count as spaces.
            prefix: With what the translations must begin: one for all, or one a text.
            **options: Fields of `SearchConfig`, such as `beam_size=5`.

        Returns:
            For a list a list of str, for one text a str; with `n_best` above 1 a list of str (the best first, at most
            n_best) in the place of each str.

        Raises:
            ConfigError: An unknown option (the nearest known one is told), options that contradict each other, a text
                that is no str.
            CorpusError: Not as many prefixes as texts.
        """
        several = options.get("n_best", 1) != 1
        found = [
            [translation.text for translation in best] if several else best[0].text
            for best in self.translate_detailed(texts, prefix=prefix, **options)
        ]
        return found[0] if isinstance(texts, str) else found

    def translate_detailed(
        self,
        texts: str | Sequence[str],
        *,
        prefix: str | Sequence[str] | None = None,
        with_attention: bool = False,
        **options: Any,
    ) -> list[list[Translation]]:
        """As `translate`: for each text the n_best translations with scores, pieces and, if asked for, attention."""
        texts = [texts] if isinstance(texts, str) else list(texts)
        if prefix is not None and not isinstance(prefix, str):
            prefix = list(prefix)
            check_counts("prefixes", len(prefix), "texts", len(texts))
        return list(self.translate_stream(texts, prefix=prefix, with_attention=with_attention, **options))

    def translate_stream(
        self,
        lines: Iterable[str],
        *,
        prefix: str | Iterable[str] | None = None,
        with_attention: bool = False,
        window: int = 1000,
        first: int = 0,
        **options: Any,
    ) -> Iterator[list[Translation]]:
        """Translates lines as they come: as many lists out as lines in, in their order, whatever the lines hold.

        At most `window` lines (fewer where they are long) are read ahead, sorted by length, translated in batches and
        put back in order. A line of nothing but white space has an empty translation, for which the model is not run.
        A line of more than `longest_source` pieces is cut after sentence ends, or where there are none between words;
        the translations of its parts are joined by a space, their log probabilities added, and the prefix is that of
        the first part. What the seed of sampling draws for a line depends on the line's number alone.

        Args:
            lines: Texts; may be endless.
            prefix: With what translations must begin: one for all, or one a line.
            with_attention: Also return attention weights, where the model has them.
            window: Lines read ahead; 1 answers line by line.
            first: Number of the first line, where these are the later ones of a text.
            **options: Fields of `SearchConfig`.

        Raises:
            ConfigError: As `translate`; options are checked before the first line is read.
        """
        config = from_flat(SearchConfig, options, where="translate")
        check_search(config)
        if config.mbr and len({tokenizer_for(target) for _, target in directions(self.config)}) > 1:
            raise ConfigError(
                "mbr takes BLEU of the translations, and this model's two languages are counted in other units; leave "
                "it out, or take a model of one direction"
            )
        if window < 1:
            raise ConfigError(f"window is {window}, expected at least 1")
        return self._stream(with_prefix(lines, prefix), config, with_attention, window, first)

    def _stream(
        self, pairs: Iterable[tuple[str, str]], config: SearchConfig, with_attention: bool, window: int, start: int
    ) -> Iterator[list[Translation]]:
        for part in windows(pairs, window):
            yield from self._translate_window(part, start, config, with_attention)
            start += len(part)

    @torch.inference_mode()
    def _translate_window(
        self, pairs: list[tuple[str, str]], start: int, config: SearchConfig, with_attention: bool
    ) -> list[list[Translation]]:
        """Translations of (text, prefix) pairs, the first of which is line number `start`."""
        texts = [one_line(text) if text.strip() else "" for text, _ in pairs]
        prefixes = [one_line(prefix) for _, prefix in pairs]
        given = self.target_tokenizer.encode(prefixes) if any(prefixes) else [[] for _ in pairs]
        sources = [  # each line's parts
            cut_source(ids, self.source_tokenizer, self.longest_source) for ids in self.source_tokenizer.encode(texts)
        ]
        units = [(n, part) for n, parts in enumerate(sources) for part in range(len(parts))]
        found: dict[_Unit, list[Hypothesis]] = {}
        hypotheses = config.n_best if config.sample else config.beam_size
        searched = dataclasses.replace(config, n_best=hypotheses) if config.mbr else config
        # a batch of very short sentences would have too many rows for its logits
        least = config.search_tokens * self.target_tokenizer.vocab_size // STEP_LOGITS
        lengths = np.array([max(len(sources[n][part]) + 1, least) for n, part in units], dtype=np.int64)
        for group in length_batches(lengths, config.search_tokens, hypotheses):
            chosen = [units[i] for i in group]
            ids = [sources[n][part] for n, part in chosen]
            forced = [given[n] if part == 0 else [] for n, part in chosen]
            streams = [(start + n, part) for n, part in chosen]
            found.update(zip(chosen, self._search(ids, forced, streams, searched, with_attention), strict=True))
        spelled = self._spell(found)
        if config.mbr:
            language, penalty = self.config.get("target", ""), config.length_penalty
            spelled = {u: by_agreement(best, language, penalty)[: config.n_best] for u, best in spelled.items()}
        return [
            self._join([spelled[n, part] for part in range(len(parts))], parts, config)
            for n, parts in enumerate(sources)
        ]

    def _search(
        self, ids: list[list[int]], prefix: list[list[int]], streams: list[tuple[int, int]], config: SearchConfig,
        with_attention: bool,
    ) -> list[list[Hypothesis]]:  # fmt: skip
        source, target = self.source_tokenizer, self.target_tokenizer
        batch = collate(
            ids, [[]] * len(ids), source_eos=source.eos_id, source_pad=source.pad_id, target_bos=target.bos_id,
            target_eos=target.eos_id, target_pad=target.pad_id,
        ).to(self.device)  # fmt: skip
        return search(
            self.searched, batch.source, batch.source_lengths, config, bos_id=target.bos_id, eos_id=target.eos_id,
            pad_id=target.pad_id, prefix=prefix, with_attention=with_attention, streams=streams,
        )  # fmt: skip

    def _products(self) -> contextlib.AbstractContextManager[Any]:
        if self.precision != torch.bfloat16:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.precision)

    def _spell(self, found: dict[_Unit, list[Hypothesis]]) -> dict[_Unit, list[tuple[Hypothesis, str]]]:
        """Each hypothesis with its text: one call of the tokenizer for all of them."""
        texts = iter(self.target_tokenizer.decode([h.ids for best in found.values() for h in best]))
        return {unit: [(h, one_line(next(texts))) for h in best] for unit, best in found.items()}

    def _join(
        self, found: list[list[tuple[Hypothesis, str]]], parts: list[list[int]], config: SearchConfig
    ) -> list[Translation]:
        """Translations of one line from those of its parts: the n-th best of all parts make the n-th best."""
        if not found:
            return [Translation("", 0.0, 0.0, [], [], None)]
        source_pieces = [piece for ids in parts for piece in self.source_tokenizer.pieces(ids)]
        translations = []
        for rank in range(max(map(len, found))):
            # a part may have fewer hypotheses than another
            chosen = [hypotheses[min(rank, len(hypotheses) - 1)] for hypotheses in found]
            text = " ".join(text for _, text in chosen)
            pieces = [piece for h, _ in chosen for piece in self.target_tokenizer.pieces(h.ids)]
            log_prob = sum(h.log_prob for h, _ in chosen)
            length = sum(len(h.ids) + 1 for h, _ in chosen)
            score = log_prob / length**config.length_penalty
            attention = _join_attention([h.attention for h, _ in chosen])
            translations.append(Translation(text, score, log_prob, pieces, source_pieces, attention))
        return translations if config.sample or config.mbr else sorted(translations, key=lambda found: -found.score)

    def score(self, sources: Sequence[str], targets: Sequence[str], *, batch_tokens: int = 4000) -> list[Score]:
        """log p(target | source) of each pair of texts.

        The target is tokenised for this; a search may have built the same text from other pieces. Sources are never
        cut into parts, however long they are.

        Args:
            sources: N texts.
            targets: N texts.
            batch_tokens: Budget of a batch: pairs x the longest side.

        Raises:
            CorpusError: Not as many targets as sources.
        """
        check_counts("sources", len(sources), "targets", len(targets))
        return list(self.score_stream(zip(sources, targets, strict=True), batch_tokens=batch_tokens))

    def score_stream(
        self, pairs: Iterable[tuple[str, str]], *, batch_tokens: int = 4000, window: int = 1000
    ) -> Iterator[Score]:
        """As `score`, for pairs as they come; at most `window` of them are read ahead."""
        for part in windows(pairs, window):
            sources = self.source_tokenizer.encode([one_line(text) for text in checked(s for s, _ in part)])
            targets = self.target_tokenizer.encode([one_line(text) for text in checked(t for _, t in part)])
            with self._products():
                yield from score_ids(
                    self.model, sources, targets, self.source_tokenizer, self.target_tokenizer,
                    batch_tokens=batch_tokens, device=self.device,
                )  # fmt: skip


def _join_attention(weights: list[Tensor | None]) -> Tensor | None:
    """Attention (T + 1, S + 1) of a line from that of its parts, of which only the last keeps its end of sentence."""
    blocks = [part for part in weights if part is not None]
    if len(blocks) < len(weights):
        return None
    return torch.block_diag(*(part[:-1, :-1] for part in blocks[:-1]), blocks[-1])
