"""Raw text in, raw text out: order, odd lines, long lines, prefixes, ensembles, and what a wrong call is told."""

from __future__ import annotations

import itertools
import math
import re
import shutil

import pytest
import torch
from models import TEXT, small_tokenizer, write_model

from seq2seq import Translator
from seq2seq.config import TokenizerConfig
from seq2seq.errors import ConfigError, CorpusError
from seq2seq.inference import loading, sources
from seq2seq.inference import translator as translator_module
from seq2seq.inference.sources import cut_source
from seq2seq.inference.trace import Hypothesis
from seq2seq.text.tokenizer import Tokenizer

SHORT = {"beam_size": 3, "max_length": 8}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return small_tokenizer()


@pytest.fixture(scope="module")
def paths(tokenizer, tmp_path_factory) -> list[str]:
    root = tmp_path_factory.mktemp("models")
    return [write_model(root / name, tokenizer, seed) for seed, name in enumerate("ab")]


@pytest.fixture(scope="module")
def translator(paths) -> Translator:
    return Translator.from_pretrained(paths[0], device="cpu", precision="float32")


def test_a_list_gives_a_list_and_a_text_gives_a_text(translator):
    found = translator.translate(TEXT, **SHORT)
    assert len(found) == 4 and all(isinstance(text, str) for text in found)
    assert len(set(found)) > 1
    assert translator.translate(TEXT[1], **SHORT) == found[1]
    best = translator.translate(TEXT, n_best=3, **SHORT)
    assert [texts[0] for texts in best] == found and all(len(texts) == 3 for texts in best)
    assert translator.translate(TEXT[1], n_best=3, **SHORT) == best[1]
    assert translator.translate([], **SHORT) == []


def test_together_is_one_at_a_time(translator):
    lines = [" ".join(part) for n in (1, 2, 3) for part in itertools.permutations(["the cat", "runs", "red ."], n)]
    for options in (SHORT, {"beam_size": 1}, {"sample": True, "max_length": 8, "n_best": 2}):
        together = translator.translate_detailed(lines, **options)
        small = translator.translate_detailed(lines, search_tokens=1, **options)
        windows = list(translator.translate_stream(lines, window=4, **options))
        assert len(together) == len(lines)
        for a, b, c in zip(together, small, windows, strict=True):
            assert [t.text for t in a] == [t.text for t in b] == [t.text for t in c]
            assert [t.log_prob for t in a] == pytest.approx([t.log_prob for t in b], abs=1e-3)


ODD = ["", " ", "\t\u3000", "\0", "a\0b", "one\ntwo\r\nthree", "\u2028", "a\u2028b\x0bc\x85d", "👩🏽‍🚀🇫🇷", "猫がいる。",
       "\ud800 half", "x" * 3000, "the cat . " * 500, "\u200b", "\ufeff", "قطة", "-" * 50, "\r", "\n"]  # fmt: skip


def test_as_many_lines_out_as_in_whatever_they_hold(translator):
    found = translator.translate(ODD, beam_size=1, max_length=5)
    assert len(found) == len(ODD)
    assert not any(re.search("[\r\n]", text) for text in found)
    assert all(found[n] == "" for n, line in enumerate(ODD) if not line.strip())
    assert all(math.isfinite(score.log_prob) for score in translator.score(ODD, ODD[::-1]))


def test_the_model_is_not_run_for_nothing(translator, monkeypatch):
    monkeypatch.setattr(translator_module, "search", None)
    assert translator.translate(["", "  \t"]) == ["", ""]
    assert translator.translate([""], n_best=3) == [[""]]
    found = translator.translate_detailed("", prefix="the", with_attention=True)
    assert found == [[("", 0.0, 0.0, [], [], None)]]


def test_a_line_break_that_the_model_writes_becomes_a_space(translator, monkeypatch):
    bytes_of_break = [n for n in range(330) if translator.target_tokenizer.pieces([n])[0] in ("<0x0A>", "<0x0D>")]
    assert len(bytes_of_break) == 2
    cat = translator.target_tokenizer.encode(["cat"])[0]
    ids = [*cat, *bytes_of_break, *cat]
    monkeypatch.setattr(translator_module, "search", lambda *_, **__: [[Hypothesis(ids, -1.0, -1.0, None)]])
    text = translator.translate("the cat")
    assert text.startswith("cat") and text.split() == ["cat", "cat"] and "\n" not in text and "\r" not in text


def test_lines_are_read_only_a_window_ahead(translator):
    read = []

    def endless():
        for n in itertools.count():
            read.append(n)
            yield TEXT[n % 4]

    stream = translator.translate_stream(endless(), window=3, beam_size=1, max_length=4)
    assert read == []
    first = list(itertools.islice(stream, 4))
    assert len(first) == 4 and len(read) == 6
    one = translator.translate_stream(endless(), window=1, beam_size=1, max_length=4)
    read.clear()
    next(one)
    assert len(read) == 1


def test_long_lines_end_a_window_early(translator, monkeypatch):
    monkeypatch.setattr(sources, "WINDOW_CHARACTERS", 100)
    seen = []
    whole = Translator._translate_window
    monkeypatch.setattr(
        Translator, "_translate_window", lambda self, pairs, *rest: seen.append(len(pairs)) or whole(self, pairs, *rest)
    )
    lines = ["cat", "the cat " * 20, "dog", "red"]
    assert len(list(translator.translate_stream(lines, beam_size=1, max_length=3))) == 4
    assert seen == [2, 2]


def test_details_belong_together(translator):
    found = translator.translate_detailed(TEXT, n_best=3, with_attention=True, **SHORT)
    for line, best in zip(TEXT, found, strict=True):
        assert [t.score for t in best] == sorted((t.score for t in best), reverse=True)
        for t in best:
            assert translator.target_tokenizer.pieces(translator.source_tokenizer.encode([line])[0]) == t.source_pieces
            assert t.score == pytest.approx(t.log_prob / (len(t.pieces) + 1))
            assert t.attention.shape == (len(t.pieces) + 1, len(t.source_pieces) + 1)
            assert torch.allclose(t.attention.sum(1), torch.ones(len(t.pieces) + 1), atol=1e-4)
    assert translator.translate_detailed(TEXT[:1], **SHORT)[0][0].attention is None


def test_score_is_what_the_search_found(translator):
    # forced to the end, the search spells the text in the pieces that scoring takes
    found = translator.translate_detailed(TEXT, prefix=TEXT[::-1], max_length=1)
    for score, (best,) in zip(translator.score(TEXT, TEXT[::-1]), found, strict=True):
        assert score.log_prob == pytest.approx(best.log_prob, rel=1e-4)
        assert score.tokens == len(best.pieces) + 1
    assert [best.text for (best,) in found] == TEXT[::-1]


def test_scores_do_not_depend_on_the_window(translator):
    pairs = [(a, b) for a in TEXT for b in TEXT]
    alone = [translator.score([a], [b])[0].log_prob for a, b in pairs]
    assert [s.log_prob for s in translator.score_stream(pairs, window=5)] == pytest.approx(alone, rel=1e-4)


def test_sampling_draws_by_line_number(translator):
    lines = [TEXT[0]] * 6
    options = {"sample": True, "max_length": 8}
    found = translator.translate(lines, **options)
    assert len(set(found)) > 1
    assert translator.translate(lines[:3], **options) == found[:3]
    assert translator.translate(lines, search_seed=2, **options) != found
    assert [t[0].text for t in translator.translate_stream(lines, window=2, **options)] == found


def test_prefix_begins_the_translation(translator):
    found = translator.translate(TEXT, prefix="the old", **SHORT)
    assert all(text.startswith("the old") for text in found)
    given = ["two", "", "where is", "a"]
    found = translator.translate(TEXT, prefix=given, **SHORT)
    assert all(text.startswith(start) for text, start in zip(found, given, strict=True))
    assert found[1] == translator.translate(TEXT[1], **SHORT)
    (same,) = translator.translate([TEXT[2]], prefix=["where is"], **SHORT)
    assert same == found[2]


def test_prefixes_must_be_as_many_as_texts(translator):
    with pytest.raises(CorpusError, match="1 prefixes but 4 texts"):
        translator.translate(TEXT, prefix=["a"])
    with pytest.raises(CorpusError, match="only 1 prefixes for more lines"):
        list(translator.translate_stream(iter(TEXT), prefix=iter(["a"]), **SHORT))
    with pytest.raises(CorpusError, match="more prefixes than the 4 lines"):
        list(translator.translate_stream(iter(TEXT), prefix=iter("abcde"), **SHORT))


def test_long_sources_are_translated_in_parts(translator):
    assert translator.longest_source == 200  # the training run's 60 would cut too early
    sentence = TEXT[0] + " " + TEXT[1]
    ids = translator.source_tokenizer.encode([sentence])[0]
    times = 200 // len(ids) + 2
    line = " ".join([sentence] * times)
    ids = translator.source_tokenizer.encode([line])[0]
    parts = cut_source(ids, translator.source_tokenizer, translator.longest_source)
    assert len(parts) > 1 and [piece for part in parts for piece in part] == ids
    assert all(len(part) <= 200 for part in parts)
    texts = [translator.source_tokenizer.decode([part])[0] for part in parts]
    assert all(text.endswith(".") for text in texts)
    (found,) = translator.translate_detailed(line, n_best=2, with_attention=True, beam_size=2, max_length=6)
    alone = translator.translate_detailed(texts, n_best=2, beam_size=2, max_length=6)
    assert [t.text for t in found] == [" ".join(best[n].text for best in alone) for n in range(2)]
    assert found[0].log_prob == pytest.approx(sum(best[0].log_prob for best in alone), rel=1e-4)
    assert found[0].score >= found[1].score
    assert len(found[0].source_pieces) == len(ids)
    assert found[0].attention.shape == (len(found[0].pieces) + 1, len(ids) + 1)
    with_prefix = translator.translate(line, prefix="two men", beam_size=1, max_length=6)
    assert with_prefix.startswith("two men") and with_prefix.count("two men") == 1


def test_an_ensemble_of_one_model_twice_is_the_model(translator, paths):
    twice = Translator.from_pretrained([paths[0], paths[0]], device="cpu", precision="float32")
    assert twice.translate(TEXT, **SHORT) == translator.translate(TEXT, **SHORT)
    assert [s.log_prob for s in twice.score(TEXT, TEXT)] == pytest.approx(
        [s.log_prob for s in translator.score(TEXT, TEXT)], rel=1e-4
    )


def test_an_ensemble_of_two_models_scores_the_mean_of_their_probabilities(paths):
    both = Translator.from_pretrained(paths, device="cpu", precision="float32").score(TEXT, TEXT[::-1])
    each = [
        Translator.from_pretrained(path, device="cpu", precision="float32").score(TEXT, TEXT[::-1]) for path in paths
    ]
    for n, score in enumerate(both):
        pairs = zip(each[0][n].pieces, each[1][n].pieces, strict=True)
        assert score.pieces == pytest.approx([math.log((math.exp(a) + math.exp(b)) / 2) for a, b in pairs], abs=1e-3)


def test_an_ensemble_shares_one_tokenizer(paths, tmp_path):
    other = Tokenizer.train(TEXT * 10, TokenizerConfig(vocab_size=300), seed=1)
    path = write_model(tmp_path / "other", other, 1)
    with pytest.raises(ConfigError) as error:
        Translator.from_pretrained([paths[0], path])
    assert f"{paths[0]} and {path} have different tokenizers" in str(error.value)
    assert f"--tokenizer {paths[0]}/tokenizer.model" in str(error.value)


def test_half_precision_is_close(translator, paths):
    half = Translator.from_pretrained(paths[0], device="cpu", precision="bfloat16")
    scores = zip(half.score(TEXT, TEXT), translator.score(TEXT, TEXT), strict=True)
    assert all(a.log_prob == pytest.approx(b.log_prob, rel=0.05) and a.log_prob != b.log_prob for a, b in scores)
    assert len(half.translate(TEXT, **SHORT)) == 4


@pytest.mark.skipif(not hasattr(torch, "_int_mm"), reason="this PyTorch has no int8 product")
def test_int8_is_close_and_does_not_depend_on_neighbours(translator, paths):
    quick = Translator.from_pretrained(paths[0], device="cpu", precision="int8")
    forced = {"prefix": TEXT[::-1], "max_length": 1}
    found = quick.translate_detailed(TEXT, **forced), translator.translate_detailed(TEXT, **forced)
    for (a,), (b,) in zip(*found, strict=True):
        assert a.pieces == b.pieces
        assert a.log_prob == pytest.approx(b.log_prob, rel=0.05) and a.log_prob != b.log_prob
    together = quick.translate_detailed(TEXT, **SHORT)
    assert [best[0].text for best in together] == [quick.translate(line, **SHORT) for line in TEXT]
    alone = [quick.translate_detailed(line, **SHORT)[0][0].log_prob for line in TEXT]
    assert [best[0].log_prob for best in together] == pytest.approx(alone, abs=1e-4)
    # scores are those of float32
    assert quick.score(TEXT, TEXT) == translator.score(TEXT, TEXT)


def test_it_stays_ready_without_its_directory(paths, tmp_path, monkeypatch):
    copy = shutil.copytree(paths[0], tmp_path / "copy")
    ready = Translator.from_pretrained(copy, device="cpu", precision="float32")
    assert not ready.models[0].training and ready.config["source"] == "en"
    first = ready.translate(TEXT, **SHORT)
    shutil.rmtree(copy)
    monkeypatch.setattr(loading, "TranslationModel", None)
    assert ready.translate(TEXT, **SHORT) == first


def test_models_without_attention_return_none(tokenizer, tmp_path):
    plain = Translator.from_pretrained(
        write_model(tmp_path / "m", tokenizer, 3, attention="none"), device="cpu", precision="float32"
    )
    found = plain.translate_detailed(TEXT, with_attention=True, **SHORT)
    assert all(best[0].attention is None for best in found)
    assert [b[0].text for b in found] == [plain.translate(line, **SHORT) for line in TEXT]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam": 4}, "translate: unknown option 'beam'; did you mean 'beam_size'?"),
        ({"beam_size": "5"}, "translate: beam_size is '5', expected int"),
        ({"n_best": 9}, "n_best is 9 but beam_size is 5"),
        ({"window": 0}, "window is 0, expected at least 1"),
    ],
)
def test_wrong_options_are_told_before_anything_is_read(translator, options, message):
    def never():
        raise AssertionError("read before the options were checked")
        yield ""

    with pytest.raises(ConfigError) as error:
        translator.translate_stream(never(), **options)
    assert message in str(error.value)


def test_what_is_no_text_is_refused(translator):
    with pytest.raises(ConfigError, match="text 2 is None, expected a str"):
        translator.translate(["a", None])
