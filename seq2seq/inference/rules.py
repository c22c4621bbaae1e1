"""What a search may, must and must not produce, sentence by sentence.

Shapes: N sentences of the batch, M of them not done yet, K hypotheses a sentence, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from seq2seq.config import SearchConfig
from seq2seq.errors import ConfigError
from seq2seq.inference.trace import Ints

# Least log probability of a piece that must come whatever the model says; float32 still tells sums with it apart.
IMPOSSIBLE = -1e4


def check_search(config: SearchConfig) -> None:
    """Refuses options that contradict each other.

    Raises:
        ConfigError: Which option, and what to give instead.
    """
    for name, least in (("beam_size", 1), ("n_best", 1), ("min_length", 0), ("max_length", 0), ("no_repeat_ngram", 0),
                        ("top_k", 0), ("length_penalty", 0), ("search_seed", 0), ("search_tokens", 1)):  # fmt: skip
        if getattr(config, name) < least:
            raise ConfigError(f"{name} is {getattr(config, name)}, expected at least {least}")
    if config.n_best > config.beam_size and not config.sample:
        raise ConfigError(
            f"n_best is {config.n_best} but beam_size is {config.beam_size}: "
            f"give beam_size {config.n_best} or more, or n_best {config.beam_size} or less"
        )
    if config.mbr and (config.sample or config.beam_size < 2):
        raise ConfigError(
            "mbr chooses among the hypotheses of a beam: leave out sample, and give beam_size 2 or more, such as 16"
        )
    if config.max_length and config.min_length > config.max_length:
        raise ConfigError(f"min_length is {config.min_length}, more than max_length, which is {config.max_length}")
    if not config.temperature > 0:
        raise ConfigError(f"temperature is {config.temperature}, expected more than 0; greedy search is beam_size 1")
    if not 0 < config.top_p <= 1:
        raise ConfigError(f"top_p is {config.top_p}, expected more than 0 and at most 1")
    if not config.sample and (config.temperature, config.top_k, config.top_p) != (1, 0, 1):
        raise ConfigError("temperature, top_k and top_p shape sampling alone: give sample too, or leave them out")


class Rules:
    """Limits, prefixes and forbidden pieces of the sentences that are not done."""

    def __init__(
        self, config: SearchConfig, lengths: Sequence[int], prefix: Sequence[Sequence[int]] | None,
        *, bos_id: int, eos_id: int, pad_id: int,
    ) -> None:  # fmt: skip
        """Rules of N sentences.

        Args:
            config: Options.
            lengths: Source tokens of each sentence, with EOS.
            prefix: Pieces with which each translation must begin.
            bos_id: Never produced.
            eos_id: What ends a sentence.
            pad_id: Never produced.

        Raises:
            ConfigError: Not as many prefixes as sentences, or BOS, EOS or padding in one.
        """
        self.config, self.eos_id = config, eos_id
        # a given tokenizer may lack BOS and PAD and have EOS in their place
        self.never = [piece for piece in {bos_id, pad_id} if piece != eos_id]
        prefixes: list[list[int]] = [list(ids) for ids in prefix] if prefix is not None else [[] for _ in lengths]
        if len(prefixes) != len(lengths):
            raise ConfigError(f"{len(prefixes)} prefixes for {len(lengths)} sentences; give one a sentence")
        if any(piece in (bos_id, eos_id, pad_id) for ids in prefixes for piece in ids):
            raise ConfigError("a prefix holds BOS, EOS or padding; give it without")
        given = np.array([len(ids) for ids in prefixes], dtype=np.int64)
        sources = np.array(lengths, dtype=np.int64)
        longest = np.full_like(sources, config.max_length) if config.max_length else 2 * (sources - 1) + 20
        self.longest: Ints = np.maximum(longest, np.maximum(given, config.min_length))  # (N,) most pieces without EOS
        self.prefix: Ints = np.full((len(prefixes), given.max()), -1, dtype=np.int64)  # (N, longest), -1 behind
        for row, ids in zip(self.prefix, prefixes, strict=True):
            row[: len(ids)] = ids
        self.first_limit = int(self.longest.min())

    def select(self, index: Ints) -> None:
        """Keeps the sentences `index` alone."""
        self.longest, self.prefix = self.longest[index], self.prefix[index]
        self.first_limit = int(self.longest.min())

    def usual(self, t: int) -> bool:
        """Whether of piece number t (from 0) all may come but those that never do."""
        return not self.config.no_repeat_ngram and t >= self.config.min_length and self._forced(t) is None

    def apply(self, log_probs: Tensor, t: int, history: Tensor | None) -> None:
        """Sets log probabilities (M, K, V) of what may not be piece number t (from 0) to minus infinity, in place.

        Args:
            log_probs: Of the next piece.
            t: Pieces so far.
            history: (M, K, t) those pieces; None where no rule needs them.
        """
        pieces = self._forced(t)
        forced = None if pieces is None else torch.from_numpy(pieces).to(log_probs.device)
        raw = None
        if forced is not None:
            index = forced.clamp(min=0)[:, None, None].expand(-1, log_probs.shape[1], 1)
            raw = log_probs.gather(2, index).clamp(min=IMPOSSIBLE)
        for piece in self.never:
            log_probs.select(2, piece).fill_(-torch.inf)
        size = self.config.no_repeat_ngram
        if size and history is not None and t >= size:
            windows = history.unfold(2, size, 1)  # (M, K, t - size + 1, size)
            seen = (windows[..., :-1] == history[:, :, None, t - size + 1 :]).all(-1)
            m, k, start = seen.nonzero(as_tuple=True)
            log_probs[m, k, windows[m, k, start, -1]] = -torch.inf
        if t < self.config.min_length:
            end = log_probs[..., self.eos_id].clone()
            log_probs[..., self.eos_id] = -torch.inf
            stuck = log_probs.amax(-1) == -torch.inf  # no other piece is left: then the minimum gives way
            log_probs[..., self.eos_id] = torch.where(stuck, end, -torch.inf)
        if forced is not None and raw is not None:
            must = (forced >= 0)[:, None, None]
            log_probs.masked_fill_(must, -torch.inf)
            log_probs.scatter_(2, index, torch.where(must, raw, log_probs.gather(2, index)))

    def _forced(self, t: int) -> Ints | None:
        """The piece (M,) that must come now, -1 where any may; None where that holds for all."""
        forced = self.prefix[:, t] if t < self.prefix.shape[1] else None
        if t < self.first_limit:
            return None if forced is None else forced.copy()
        return np.where(self.longest <= t, self.eos_id, -1 if forced is None else forced)
