"""Text to ids to text in many scripts, training, and sampling that a resumed run can repeat."""

from __future__ import annotations

import io
import random
import threading

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.config import TokenizerConfig
from seq2seq.errors import ConfigError, CorpusError
from seq2seq.text.tokenizer import LINE_CHARACTERS, Tokenizer, sample_lines

STEMS = "walk jump run sing dream paint cook read write build climb swim laugh learn plant".split()
WORDS = [stem + ending for stem in STEMS for ending in ("", "s", "ing", "er", "ers")]
WORDS += "the a small big dogs cats houses runners jump jumping jumped over under near walking slowly quickly".split()


def sentences(count):
    random_words = random.Random(3)
    return [" ".join(random_words.choices(WORDS, k=random_words.randint(3, 12))) + "." for _ in range(count)]


TEXT = sentences(500)

# Nothing here but the Latin words is in the training text: byte fallback has to carry it.
SCRIPTS = {
    "Japanese": "私は猫が好きです。「はい」",
    "Arabic": "السَّلَامُ عَلَيْكُم ١٢٣",
    "Devanagari": "क्षत्रिय हिन्दी में",
    "emoji": "\U0001f469\U0001f3fd\u200d\U0001f680 \U0001f1e9\U0001f1ea \u2764\ufe0f",
    "spaces": "  two  dogs\tand \t cats  ",
    "controls": "a\0b \x07 \x1b[0m \x85 \u2028 \ufeff \u200b \xa0",
    "lookalikes": "<s> </s> <pad> <unk> <0x41> \ufffd \u2047 ﬁ Ｆ ①",
    "nothing": "",
    "space": " ",
    "noncharacter": "\uffff \U0010ffff \ue000",
}


def train(**options):
    return Tokenizer.train(TEXT, TokenizerConfig(**{"vocab_size": 400, **options}), seed=1)


@pytest.fixture(scope="module", params=["bpe", "unigram"])
def exact(request):
    return train(tokenizer_type=request.param, normalization="identity")


@pytest.fixture(scope="module", params=["bpe", "unigram"])
def usual(request):
    return train(tokenizer_type=request.param)


@pytest.mark.parametrize("name", SCRIPTS)
def test_identity_gives_back_every_script(exact, name):
    ids = exact.encode([SCRIPTS[name]])
    assert exact.decode(ids) == [SCRIPTS[name]]
    assert exact.unk_id not in ids[0]


@given(text=st.text(st.characters(exclude_characters="\u2581", exclude_categories=["Cs"])))
def test_identity_gives_back_any_text(exact, text):
    assert exact.decode(exact.encode([text])) == [text]


def test_the_one_exception_of_identity(exact):
    assert exact.decode(exact.encode(["a\u2581b"])) == ["a b"]


@pytest.mark.parametrize("name", ["Japanese", "Arabic", "Devanagari", "emoji", "nothing"])
def test_usual_normalisation_keeps_scripts(usual, name):
    ids = usual.encode([SCRIPTS[name]])
    assert usual.decode(ids) == [SCRIPTS[name]]
    assert usual.unk_id not in ids[0]


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("  two  dogs\tand \t cats  ", "two dogs and cats"),
        ("ﬁve Ｆ ① …", "five F 1 ..."),
        ("e\u0301", "\xe9"),
        ("zero\u200bwidth non\u200cjoiner \u200djoiner", "zero width non joiner \u200djoiner"),
        ("bell\x07 line\u2028break bad\ufffdbyte", "bell line break bad byte"),
        ("a\0b", "a\0b"),  # NUL comes through
        ("a\u2581b", "a b"),
    ],
)
def test_what_usual_normalisation_changes(usual, text, normalised):
    assert usual.decode(usual.encode([text])) == [normalised]


def test_case_folding_is_stored_in_the_model():
    folded = Tokenizer.from_bytes(train(normalization="nmt_nfkc_cf").to_bytes())
    assert folded.decode(folded.encode(["The DOGS"])) == ["the dogs"]


def test_special_pieces_and_names(usual):
    assert (usual.pad_id, usual.unk_id, usual.bos_id, usual.eos_id) == (0, 1, 2, 3)
    ids = usual.encode(["the dogs jump."])[0]
    assert not {0, 1, 2, 3} & set(ids)
    assert usual.decode([[2, *ids, 3, 0, 0], [], [3]]) == ["the dogs jump.", "", ""]
    assert "".join(usual.pieces(ids)).replace("\u2581", " ") == " the dogs jump."
    assert usual.decode([[0], []]) == ["", ""] and usual.decode([]) == [] and usual.encode([]) == []


def test_bytes_that_are_no_text_decode_to_replacement_characters(usual):
    broken = usual.encode(["\U0001f469"])[0][:-1]
    assert "\ufffd" in usual.decode([broken])[0]


def test_lone_surrogates_do_not_crash(exact):
    assert exact.decode(exact.encode(["ok", "half \ud83d"])) == ["ok", "half \ufffd"]


def test_training_is_deterministic(usual):
    again = train(tokenizer_type=usual.algorithm)
    assert again.to_bytes() == usual.to_bytes()
    assert again.fingerprint == usual.fingerprint
    other = Tokenizer.train(TEXT[:200], TokenizerConfig(vocab_size=400), seed=1)
    assert other.fingerprint != usual.fingerprint


@pytest.mark.parametrize("algorithm", ["bpe", "unigram"])
def test_small_text_gets_a_smaller_vocabulary(algorithm):
    tokenizer = Tokenizer.train(["a b", "b a c"], TokenizerConfig(tokenizer_type=algorithm), seed=1)
    assert 260 < tokenizer.vocab_size < 300
    assert tokenizer.decode(tokenizer.encode(["c a"])) == ["c a"]


def test_vocabulary_without_room():
    with pytest.raises(ConfigError, match=r"vocab_size is 100, but this text needs 2\d\d pieces at least"):
        train(vocab_size=100)


@pytest.mark.parametrize("lines", [[], [""], ["", "  ", "\u3000"]])
def test_no_text_to_train_on(lines):
    with pytest.raises(CorpusError, match=f"no text to train a tokenizer on: {len(lines)} lines, all empty"):
        Tokenizer.train(lines, TokenizerConfig(), seed=1)


def test_odd_lines_do_not_stop_training():
    odd = ["x\0y", "tab\tbed", "", "\u2028", "half \ud83d", "\ufeff", "<unk> </s>", "\u2047 \u2585"]
    tokenizer = Tokenizer.train([*TEXT, *odd], TokenizerConfig(vocab_size=400, normalization="identity"), seed=1)
    texts = [text for text in odd if "\ud83d" not in text]
    assert tokenizer.decode(tokenizer.encode(texts)) == texts


def test_long_lines_are_not_lost_to_training():
    """SentencePiece itself would skip the line; then no piece for `zebra` could exist."""
    line = "zebra " * 2000
    assert len(line.encode()) > 4192 and len(line) > LINE_CHARACTERS
    tokenizer = Tokenizer.train([line, "a b c"], TokenizerConfig(vocab_size=300), seed=1)
    assert tokenizer.pieces(tokenizer.encode(["zebra"])[0]) == ["\u2581zebra"]


def test_large_alphabets_leave_room_for_words():
    alphabet = [chr(0x4E00 + i) for i in range(900)]
    lines = ["犬が走る" * 5] * 200 + ["".join(alphabet[i : i + 30]) for i in range(0, 900, 30)]
    tokenizer = Tokenizer.train(lines, TokenizerConfig(vocab_size=600), seed=1)
    single = sum(len(piece) == 1 for piece in tokenizer.pieces(range(tokenizer.vocab_size)))
    assert 100 < single <= 600 // 4 + 1  # the mark of a space counts as well
    assert len(tokenizer.encode(["犬が走る"])[0]) <= 4
    assert tokenizer.decode(tokenizer.encode(["".join(alphabet)])) == ["".join(alphabet)]


def test_sample_of_lines():
    lines = [str(i) for i in range(1000)]
    assert sample_lines(iter(lines), 1000, 1) == lines
    assert sample_lines(iter(lines), 50, 1) == sample_lines(iter(lines), 50, 1) != sample_lines(iter(lines), 50, 2)
    assert len(set(sample_lines(lines, 50, 1))) == 50
    hits = [
        sum(int(line) // 100 == tenth for seed in range(60) for line in sample_lines(lines, 50, seed))
        for tenth in range(10)
    ]
    assert all(210 < count < 390 for count in hits)  # 300 expected, standard deviation 16


def test_training_reads_a_sample_of_each_language():
    lines = ["alpha beta"] * 50 + ["gamma delta"] * 50
    few = TokenizerConfig(vocab_size=400, tokenizer_sentences=50)
    both = Tokenizer.train(lines, few, seed=1, languages=2)
    everything = Tokenizer.train(lines, TokenizerConfig(vocab_size=400), seed=1)
    assert both.to_bytes() == everything.to_bytes()
    assert Tokenizer.train(lines, few, seed=1).to_bytes() != everything.to_bytes()


def test_save_and_load(tmp_path, usual):
    usual.save(tmp_path / "t.model")
    loaded = Tokenizer.load(tmp_path / "t.model")
    assert loaded.encode(TEXT[:20]) == usual.encode(TEXT[:20])
    assert loaded.to_bytes() == usual.to_bytes() and loaded.algorithm == usual.algorithm


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x0a\x05ab"])
def test_damaged_models(tmp_path, content):
    path = tmp_path / "t.model"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"t\.model is no SentencePiece model, or a damaged one"):
        Tokenizer.load(path)


def test_cut_model(tmp_path, usual):
    (tmp_path / "t.model").write_bytes(usual.to_bytes()[:-500])
    with pytest.raises(ConfigError, match=r"t\.model is no SentencePiece model, or a damaged one"):
        Tokenizer.load(tmp_path / "t.model")


def test_missing_model(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read tokenizer .*t\.model: No such file"):
        Tokenizer.load(tmp_path / "t.model")


def given_model(**options):
    model = io.BytesIO()
    options = {"vocab_size": 60, "model_type": "unigram", "minloglevel": 2, "hard_vocab_limit": False, **options}
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(TEXT), model_writer=model, **options)
    return model.getvalue()


def test_given_models_without_some_special_pieces():
    plain = Tokenizer.from_bytes(given_model())  # SentencePiece's own defaults: unk 0, bos 1, eos 2, no pad
    assert (plain.unk_id, plain.bos_id, plain.eos_id, plain.pad_id) == (0, 1, 2, 2)
    bare = Tokenizer.from_bytes(given_model(bos_id=-1, eos_id=1))
    assert (bare.bos_id, bare.eos_id, bare.pad_id) == (1, 1, 1)
    assert bare.decode([[1, *bare.encode(["the dogs"])[0], 1]]) == ["the dogs"]
    with pytest.raises(ConfigError, match="no end-of-sentence piece"):
        Tokenizer.from_bytes(given_model(eos_id=-1))


@pytest.mark.parametrize("algorithm", ["unigram", "bpe", "char", "word"])
def test_algorithm_is_read_from_the_model(algorithm):
    tokenizer = Tokenizer.from_bytes(given_model(model_type=algorithm))
    assert tokenizer.algorithm == algorithm
    if algorithm in ("char", "word"):
        with pytest.raises(ConfigError, match=f"a {algorithm} model, which has one segmentation only"):
            tokenizer.sample(["the dogs"], 1, 0.1)


# Sampling.


def test_samples_are_other_segmentations_of_the_same_text(usual):
    sampled = usual.sample(TEXT, 1, 0.5)
    assert usual.decode(sampled) == TEXT
    plain = usual.encode(TEXT)
    assert sampled != plain
    assert sum(map(len, sampled)) > sum(map(len, plain))
    assert usual.sample(TEXT, 1, 0.5) == sampled
    assert usual.sample(TEXT, 2, 0.5) != sampled
    assert usual.sample([], 1, 0.5) == [] and usual.sample([""], 1, 0.5) == [[]]


def test_amount_is_the_share_of_randomness(usual):
    plain = usual.encode(TEXT)
    changed = [
        sum(a != b for a, b in zip(usual.sample(TEXT, 1, amount), plain, strict=True)) for amount in (0.02, 0.3, 0.95)
    ]
    assert changed[0] < changed[1] <= changed[2]


def test_bpe_dropout_of_one_leaves_characters():
    tokenizer = train(tokenizer_type="bpe")
    assert all(len(piece) == 1 for piece in tokenizer.pieces(tokenizer.sample(["dogs jump"], 1, 1.0)[0]))
    assert tokenizer.sample(TEXT, 1, 0.0) == tokenizer.encode(TEXT)


def test_samples_do_not_depend_on_what_was_sampled_before(usual):
    expected = usual.sample(TEXT[:30], 7, 0.3)
    usual.sample(TEXT[:11], 8, 0.3)
    usual.encode(TEXT[:5])
    other = Tokenizer.from_bytes(usual.to_bytes())
    other.sample(TEXT[:3], 2**40 + 5, 0.9)
    sentencepiece.set_random_generator_seed(99)
    assert usual.sample(TEXT[:30], 7, 0.3) == expected == other.sample(TEXT[:30], 7, 0.3)
    one_by_one = [usual.sample([text], 7, 0.3)[0] for text in TEXT[:30]]
    assert one_by_one == [other.sample([text], 7, 0.3)[0] for text in TEXT[:30]]


def test_samples_do_not_depend_on_the_thread(usual):
    jobs = list(range(24))
    expected = [usual.sample(TEXT[job : job + 20], job, 0.3) for job in jobs]
    found = [None] * len(jobs)

    def work(start):
        for job in jobs[start::3]:
            found[job] = usual.sample(TEXT[job : job + 20], job, 0.3)

    threads = [threading.Thread(target=work, args=(start,)) for start in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected


def test_texts_of_pieces_leave_out_what_stands_for_none():
    """Control pieces, the unknown one, bytes, and what the one who trained the model has defined."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT), model_writer=model, vocab_size=400, byte_fallback=True, minloglevel=2,
        user_defined_symbols=["<sep>"], control_symbols=["<tag>"], hard_vocab_limit=False,
    )  # fmt: skip
    tokenizer = Tokenizer.from_bytes(model.getvalue())
    pieces, texts = tokenizer.pieces(range(tokenizer.vocab_size)), tokenizer.texts()
    left_out = {piece for piece, text in zip(pieces, texts, strict=True) if not text}
    assert left_out == {"<unk>", "<s>", "</s>", "<sep>", "<tag>", *(f"<0x{i:02X}>" for i in range(256))}
    assert all(text in ("", piece) for piece, text in zip(pieces, texts, strict=True))


def test_nothing_is_printed(capfd):
    train()
    assert capfd.readouterr() == ("", "")
