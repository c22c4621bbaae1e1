"""Options that contradict each other, prefixes that do not fit, and what the rules leave of a distribution.

What rules do to whole searches is in test_search.py.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from toys import EOS, IDS, SOURCES, ToyModel, run

from seq2seq.config import SearchConfig
from seq2seq.errors import ConfigError
from seq2seq.inference.rules import IMPOSSIBLE, Rules, check_search


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_best": 6}, "n_best is 6 but beam_size is 5: give beam_size 6 or more, or n_best 5 or less"),
        ({"beam_size": 0}, "beam_size is 0, expected at least 1"),
        ({"min_length": 5, "max_length": 4}, "min_length is 5, more than max_length, which is 4"),
        ({"sample": True, "temperature": 0.0}, "temperature is 0.0, expected more than 0; greedy search is"),
        ({"sample": True, "top_p": 1.5}, "top_p is 1.5, expected more than 0 and at most 1"),
        ({"temperature": 0.5}, "shape sampling alone: give sample too"),
        ({"length_penalty": -1.0}, "length_penalty is -1.0, expected at least 0"),
        ({"search_seed": -1}, "search_seed is -1, expected at least 0"),
    ],
)
def test_contradictions_are_refused(options, message):
    with pytest.raises(ConfigError) as error:
        check_search(replace(SearchConfig(), **options))
    assert message in str(error.value)


def test_prefixes_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="1 prefixes for 8 sentences"):
        run(ToyModel(), SOURCES, prefix=[[3]])
    with pytest.raises(ConfigError, match="a prefix holds BOS, EOS or padding"):
        run(ToyModel(), SOURCES[:1], prefix=[[3, EOS]])


def left(rules: Rules, t: int, history: torch.Tensor | None = None) -> list[list[int]]:
    """Pieces that each sentence's first hypothesis may take next."""
    log_probs = torch.zeros(len(rules.longest), 2, 7)
    rules.apply(log_probs, t, history)
    return [(row[0] > -torch.inf).nonzero()[:, 0].tolist() for row in log_probs]


def test_what_may_come():
    rules = Rules(SearchConfig(max_length=3), [2, 4], [[5, 6], []], **IDS)
    assert left(rules, 0) == [[5], [2, 3, 4, 5, 6]]
    assert left(rules, 1) == [[6], [2, 3, 4, 5, 6]]
    assert left(rules, 2) == [[2, 3, 4, 5, 6]] * 2
    assert left(rules, 3) == [[EOS]] * 2
    rules = Rules(SearchConfig(min_length=1, no_repeat_ngram=1), [2, 4], None, **IDS)
    assert rules.longest.tolist() == [22, 26]
    assert left(rules, 0) == [[3, 4, 5, 6]] * 2
    history = torch.tensor([[[3, 4]] * 2, [[6, 5]] * 2])
    assert left(rules, 2, history) == [[2, 5, 6], [2, 3, 4]]
    rules.select(torch.tensor([1]).numpy())
    assert rules.longest.tolist() == [26]


def test_what_must_come_keeps_a_probability_that_can_be_added():
    rules = Rules(SearchConfig(), [2], [[5]], **IDS)
    log_probs = torch.full((1, 1, 7), -torch.inf)
    rules.apply(log_probs, 0, None)
    assert log_probs[0, 0, 5] == IMPOSSIBLE and (log_probs > -torch.inf).sum() == 1
