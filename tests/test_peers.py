"""The parts of the comparison with other toolkits that need none of them."""

from __future__ import annotations

import functools
import importlib
import math
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
import yaml
from conftest import ROOT

BENCH = ROOT / "scripts" / "bench"

JOEYNMT_LOG = """\
2026-11-21 15:43:08,940 - INFO - joeynmt.training - EPOCH 1
2026-11-21 15:43:14,255 - INFO - joeynmt.training - Epoch   1, Step:        4, Batch Loss:     7.063899, \
Batch Acc: 0.084767, Tokens per Sec:      735, Lr: 0.001000
2026-11-21 15:43:16,255 - INFO - joeynmt.training - Epoch   1, Step:        8, Batch Loss:     5.755430, \
Batch Acc: 0.066856, Tokens per Sec:      800, Lr: 0.001000
2026-11-21 15:43:22,255 - INFO - joeynmt.training - Epoch   1, Step:       12, Batch Loss:     5.700224, \
Batch Acc: 0.067601, Tokens per Sec:      600, Lr: 0.001000
"""

MARIAN_LOG = """\
[2026-11-21 16:01:59] Ep. 1 : Up. 4 : Sen. 64 : Cost 8.9869 * 9,053 @ 1,053 after 9,053 : Time 2.21s : 477.54 words/s
[2026-11-21 16:02:00] Ep. 1 : Up. 8 : Sen. 64 : Cost 8.9849 * 4,000 @ 1,053 after 13,053 : Time 4.00s : 1000.00 words/s
[2026-11-21 16:02:01] Ep. 1 : Up. 12 : Sen. 64 : Cost 8.9849 * 2,000 after 15,053 : Time 1.00s : 2000.00 words/s
"""

MARIAN_512 = {  # its matrices at state 512, as its model file names them
    **{
        "encoder_bi_W": (256, 1024),
        "encoder_bi_U": (512, 1024),
        "encoder_bi_Wx": (256, 512),
        "encoder_bi_Ux": (512, 512),
    },
    **{"encoder_bi_r_W": (256, 1024), "encoder_bi_r_U": (512, 1024)},
    **{"encoder_bi_r_Wx": (256, 512), "encoder_bi_r_Ux": (512, 512)},
    **{"decoder_cell1_W": (256, 1024), "decoder_cell1_U": (512, 1024)},
    **{"decoder_cell1_Wx": (256, 512), "decoder_cell1_Ux": (512, 512)},
    **{"decoder_cell2_W": (1024, 1024), "decoder_cell2_U": (512, 1024)},
    **{"decoder_cell2_Wx": (1024, 512), "decoder_cell2_Ux": (512, 512)},
    **{"decoder_W_comb_att": (512, 1024), "decoder_Wc_att": (1024, 1024)},
    **{
        "decoder_ff_logit_l1_W0": (512, 256),
        "decoder_ff_logit_l1_W1": (256, 256),
        "decoder_ff_logit_l1_W2": (1024, 256),
    },
    **{"Wemb": (8000, 256)},
}


@pytest.fixture
def load(monkeypatch):
    """Imports a module of the benchmarks by name."""
    monkeypatch.syspath_prepend(str(BENCH))
    monkeypatch.syspath_prepend(str(BENCH / "toolkits"))
    return importlib.import_module


@pytest.fixture
def place(load, tmp_path):
    return load("toolkits.workplace").Workplace(tmp_path / "data", tmp_path / "work", "en", "de", 2, 600)


def test_joeynmt_rates_are_weighted_by_time_and_the_first_is_left_out(load):
    tokens = 2 * 800 + 6 * 600
    assert load("toolkits.peer_joeynmt").JoeyNMT().tokens_per_second(JOEYNMT_LOG) == pytest.approx(tokens / 8)


def test_marian_counts_are_divided_once_and_the_first_is_left_out(load):
    assert load("toolkits.peer_marian").Marian(512).tokens_per_second(MARIAN_LOG) == pytest.approx(6000 / 5)


@pytest.mark.parametrize("read", ["JoeyNMT", "Marian", "object"])
def test_output_without_figures_is_shown(load, read):
    readers = {
        "JoeyNMT": load("toolkits.peer_joeynmt").JoeyNMT().tokens_per_second,
        "Marian": load("toolkits.peer_marian").Marian(512).tokens_per_second,
        "object": load("toolkits.workplace").last_object,
    }
    with pytest.raises(SystemExit, match=r"no figures in what came:\nSegmentation fault"):
        load("toolkits.workplace").figure(readers[read], "Segmentation fault")


def test_ours_reads_the_benchmark_of_training(load):
    ours = load("toolkits.ours").Ours("auto", trains=True, decodes=True)
    output = 'corpus: 3 pairs\n{"tokens_per_second": 4708, "precision": "bfloat16"}\n'
    assert (ours.tokens_per_second(output), ours.precision_used(output)) == (4708, "bfloat16")


def test_the_type_of_products_of_a_peer_is_known(load):
    assert load("toolkits.peer_joeynmt").JoeyNMT().precision_used("") == "float32"
    assert load("toolkits.peer_ctranslate2").CTranslate2("int8").precision_used("") == "int8"


def test_products_of_ours_are_those_of_the_benchmark_of_training(load):
    sizes = {"embedding_size": 256, "encoder_size": 256, "decoder_size": 512, "attention_size": 512}
    model = load("seq2seq.config").ModelConfig(**sizes)
    counted = load("toolkits.workplace").megaflop(
        load("toolkits.ours").Ours("auto", trains=1, decodes=1).multiplications()
    )
    assert counted == pytest.approx(load("training").products_a_token(model, 8000) / 1e6)


def test_products_of_joeynmt_are_its_parameters_less_those_that_multiply_nothing(load):
    reported = 10_214_912  # by JoeyNMT itself, at these sizes
    embedding, bridge = 8000 * 256, 512 * 512 + 512
    biases = 2 * 2 * 3 * 256 + 2 * 3 * 512 + 512
    energy = 512
    counted = load("toolkits.peer_joeynmt").JoeyNMT().multiplications()
    assert counted == reported - embedding - bridge - biases - energy


def test_products_of_marian_are_the_sizes_of_its_matrices(load):
    assert load("toolkits.peer_marian").Marian(512).multiplications() == sum(
        math.prod(size) for size in MARIAN_512.values()
    )


def test_the_smaller_marian_costs_as_much_as_ours(load):
    ours = load("toolkits.ours").Ours("auto", trains=True, decodes=True).multiplications()
    assert load("toolkits.peer_marian").Marian(320).multiplications() == pytest.approx(ours, rel=0.03)


def test_only_the_argument_that_pytorch_lacks_is_removed(load):
    source = 'kwargs = {\n    "eps": 0.0,\n    "verbose": False,\n    "factor": 0.1,\n}\n'
    patched = load("toolkits.peer_joeynmt").without_verbose(source)
    kwargs: dict = {}
    exec(patched, kwargs)
    assert kwargs["kwargs"] == {"eps": 0.0, "factor": 0.1}


def test_joeynmt_numbers_special_pieces_first(load):
    pieces = ["<pad>", "<unk>", "<s>", "</s>", "<0x00>", "\u2581a"]
    assert load("toolkits.peer_joeynmt").own_order(pieces) == ["<unk>", "<pad>", "<s>", "</s>", "<0x00>", "\u2581a"]


def test_joeynmt_recipe_has_the_sizes_and_survives_yaml(load, place, tmp_path):
    make = load("toolkits.peer_joeynmt").configuration
    recipe = make(place, tmp_path / "model", tmp_path / "vocabulary", updates=20, logged=4, seed=3)
    recipe = yaml.safe_load(yaml.safe_dump(recipe))
    model, training = recipe["model"], recipe["training"]
    assert model["encoder"]["embeddings"]["embedding_dim"] == model["decoder"]["embeddings"]["embedding_dim"] == 256
    assert (model["encoder"]["hidden_size"], model["encoder"]["bidirectional"]) == (256, True)
    assert (model["decoder"]["hidden_size"], model["decoder"]["attention"]) == (512, "bahdanau")
    assert (training["batch_size"], training["batch_type"], training["label_smoothing"]) == (64, "sentence", 0.1)
    assert recipe["data"]["train"] == str(tmp_path / "data" / "train")
    assert (recipe["data"]["src"]["lang"], recipe["data"]["trg"]["lang"]) == ("en", "de")


def test_programs_take_turns(load):
    programs = [SimpleNamespace(name="a"), SimpleNamespace(name="b")]
    order = []

    def measure(program, round_):
        order.append((program.name, round_))
        return len(order)

    found = load("peers").in_turns(programs, 2, measure)
    assert order == [("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    assert found == {"a": [1, 3], "b": [2, 4]}


def test_rows_of_training_have_medians_and_ratios(load):
    programs = [SimpleNamespace(name=name, multiplications=lambda: 10**6) for name in ("ours, auto", "peer")]
    speeds = {"ours, auto": [900, 100, 1000], "peer": [100, 90, 500]}
    results = {
        name: [{"tokens_per_second": speed, "precision": "bfloat16"} for speed in values]
        for name, values in speeds.items()
    }
    rows = load("peers").training_rows(programs, results)
    assert rows[0] == {
        **{"program": "ours, auto", "precision": "bfloat16", "megaflop_per_token": 6.0},
        **{"tokens_per_second": 900, "slowest": 100, "fastest": 1000},
    }
    assert (rows[1]["tokens_per_second"], rows[1]["ours, auto / this"]) == (100, 9.0)


def test_rows_of_decoding_have_medians_and_ratios(load):
    def result(speed):
        row = {"sentences_per_second": speed, "p50_ms": speed / 10, "p99_ms": speed / 5}
        greedy = {**row, "sentences_per_second": 3 * speed}
        return {"beam_1": greedy, "beam_5": row, "mean_length": 12.5, "bleu": 30.1, "precision": "int8"}

    programs = [SimpleNamespace(name=name) for name in ("ours, float32", "peer")]
    results = {"ours, float32": [result(400), result(100), result(500)], "peer": [result(50), result(40), result(90)]}
    ours, peer = load("peers").decoding_rows(programs, results)
    assert (ours["beam_5_sentences_per_second"], ours["beam_1_sentences_per_second"]) == (400, 1200)
    assert (ours["beam_5_p50_ms"], ours["beam_5_p99_ms"], ours["mean_length"], ours["bleu"]) == (40.0, 80.0, 12.5, 30.1)
    assert peer["ours, float32 / this, beam 5"] == peer["ours, float32 / this, beam 1"] == 8.0


def test_a_table_has_the_columns_of_all_rows(load):
    table = load("peers").table([{"program": "a", "tokens_per_second": 5}, {"program": "b", "ratio": 2.5}])
    assert table == "| program | tokens per second | ratio |\n| --- | --- | --- |\n| a | 5 |  |\n| b |  | 2.5 |\n"


def test_pins_come_from_the_constraints(load):
    module = load("toolkits.workplace")
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert module.pin("torch", constraints) == f"torch=={torch.__version__.partition('+')[0]}"
    with pytest.raises(ValueError, match="joeynmt"):
        module.pin("joeynmt", constraints)
    kept = module.without("a==1\na-b==2 ; python_version < '3.11'\nb==3\n", ["a", "b"])
    assert kept == "a-b==2 ; python_version < '3.11'\n"


def test_a_step_is_done_once_for_each_key(load, tmp_path):
    once, done = load("toolkits.workplace").once, []
    for key in ([1, "a"], [1, "a"], [2, "a"], [2, "a"], [1, "a"]):
        once(tmp_path / "step", key, functools.partial(done.append, key))
    assert done == [[1, "a"], [2, "a"], [1, "a"]]


def test_a_step_that_failed_is_done_again(load, tmp_path):
    once, done = load("toolkits.workplace").once, []
    with pytest.raises(ZeroDivisionError):
        once(tmp_path / "step", 1, lambda: 1 / 0)
    once(tmp_path / "step", 1, lambda: done.append(1))
    assert done == [1]


def test_a_command_that_fails_tells_its_last_lines(load):
    with pytest.raises(SystemExit, match="status 3:\nno such peer"):
        load("toolkits.workplace").run([sys.executable, "-c", "print('no such peer'); raise SystemExit(3)"], 1)


def test_commands_that_are_measured_come_after_the_words_given(load, place):
    place = load("dataclasses").replace(place, before=(sys.executable, "-c", "import sys; print(sys.argv[1:])"))
    assert place.measured(["train", "--now"]) == "['train', '--now']\n"


def test_the_last_object_of_an_output_is_found(load):
    assert load("toolkits.workplace").last_object('{"a": 1}\nprogress {\n{"a": 2}\nbye\n') == {"a": 2}


def test_timing_translates_everything_with_each_beam(load, tmp_path):
    (tmp_path / "in").write_text("one\ntwo\nthree\n", encoding="utf-8")
    calls = []

    def translate(lines, beam):
        calls.append((len(lines), beam))
        return [f"{line} {beam}" for line in lines]

    wanted = {"input": tmp_path / "in", "output": tmp_path / "out", "sentences": 2, "beams": [1, 5], "singles": 1}
    result = load("timing").measure(translate, wanted)
    assert calls == [*[(2, 1)] * 4, (1, 1), *[(2, 5)] * 4, (1, 5)]  # warm-up and three passes, then one alone
    assert (tmp_path / "out").read_text(encoding="utf-8") == "one 5\ntwo 5\n"
    assert set(result) == {"beam_1", "beam_5"}
    assert all(row["sentences_per_second"] > 0 and 0 <= row["p50_ms"] <= row["p99_ms"] for row in result.values())


def test_timing_of_a_slow_program_is_cut_short(load, tmp_path, monkeypatch):
    (tmp_path / "in").write_text("one\ntwo\n", encoding="utf-8")
    clock = iter([0.0, 12.0])  # of one pass
    monkeypatch.setattr(load("timing").time, "perf_counter", lambda: next(clock))
    wanted = {"input": tmp_path / "in", "output": tmp_path / "out", "sentences": 9, "beams": [5], "singles": 0}
    result = load("timing").measure(lambda lines, beam: lines, wanted)
    assert result == {"beam_5": {"sentences_per_second": 2 / 12}}


def test_timing_refuses_translations_that_are_missing(load, tmp_path):
    (tmp_path / "in").write_text("one\ntwo\n", encoding="utf-8")
    wanted = {"input": tmp_path / "in", "output": tmp_path / "out", "sentences": 9, "beams": [1], "singles": 0}
    with pytest.raises(RuntimeError, match="1 translations of 2 lines"):
        load("timing").measure(lambda lines, beam: lines[:1], wanted)


def test_percentiles_are_values_that_occurred(load):
    values = [float(value) for value in range(100, 0, -1)]
    assert load("timing").percentile(values, 0.5) == 50
    assert load("timing").percentile(values, 0.99) == 99
    assert load("timing").percentile([7.0], 0.99) == 7.0


@pytest.mark.filterwarnings("ignore:enable_nested_tensor:UserWarning")
def test_the_transformer_sees_neither_padding_nor_the_future(load):
    module = load("transformer")
    torch.manual_seed(1)
    model = module.Transformer(50).eval()
    specials = {"source_eos": 3, "target_bos": 2, "target_eos": 3, "source_pad": 0, "target_pad": 0}
    collate = load("seq2seq.text.batching").collate
    pairs = [[5, 6, 7], [8]], [[9, 10, 11, 12], [13, 14]]
    with torch.no_grad():
        both, alone = model(collate(*pairs, **specials)), model(collate([[8]], [[13, 14]], **specials))
        other = model(collate([[8]], [[13, 20]], **specials))
    torch.testing.assert_close(both[1, :3], alone[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(other[0, :2], alone[0, :2])
    assert not torch.allclose(other[0, 2], alone[0, 2])


def test_help_needs_no_peer():
    done = subprocess.run([sys.executable, BENCH / "peers.py", "--help"], capture_output=True, text=True, check=True)
    assert "--work" in done.stdout
