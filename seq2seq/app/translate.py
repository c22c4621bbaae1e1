"""`seq2seq translate`: what it takes, and what it does with it. Heavy imports stay inside the functions."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from seq2seq.app.models import Models, load_translator
from seq2seq.app.shards import Shard, begin, check_size, is_folder, missing_shards, summary
from seq2seq.app.streams import DeviceArguments, json_line, output_file, progress, text_lines
from seq2seq.config import SearchConfig
from seq2seq.errors import ConfigError

if TYPE_CHECKING:
    from seq2seq.inference.alignments import WordAttention
    from seq2seq.inference.translator import Translation, Translator


@dataclass(frozen=True)
class TranslateArguments:
    """Arguments of `seq2seq translate`."""

    sentences: Annotated[Positional[tuple[str, ...]], arg(metavar="SENTENCE ...", help_behavior_hint="")] = ()
    """Sentences to translate; without them, and without --input, standard input is read."""
    model: Models = ()
    """Model directory; given several times, the models translate together (they must share a tokenizer)."""
    input: str | None = None
    """Text to translate, one sentence a line; may be a .gz file."""
    output: str | None = None
    """File to write, complete or not at all, or a folder (FOLDER/) of many; standard output without it."""
    shard_lines: int = 10_000
    """Lines of each file of a folder. What is there already is not made again; torchrun's processes deal the rest."""
    format: Literal["text", "jsonl"] = "text"
    """text: one translation a line, or line<TAB>rank<TAB>score<TAB>text where --n-best > 1; jsonl: an object a line."""
    attention: str | None = None
    """Picture of the attention, .html (all lines), .png or .svg (the first 12): target words by source words."""
    alignments: Literal["none", "pharaoh"] = "none"
    """pharaoh: instead of the text `0-0 1-2` a line, source word-target word; in jsonl beside it, with the words."""
    flush: bool = False
    """Translate and write each line as soon as it has been read: slower, for use in a pipe that waits for answers."""
    encoding_errors: Literal["strict", "replace"] = "strict"
    """Invalid UTF-8: `strict` stops and names the line, `replace` puts U+FFFD in its place."""
    search: SearchConfig = field(default_factory=SearchConfig)
    run: DeviceArguments = field(default_factory=lambda: DeviceArguments(precision="auto"))


def translate(arguments: TranslateArguments, command: list[str]) -> None:
    """Translates sentences, a file or standard input: as many lines out as in, or n_best for each.

    Raises:
        UserError: No model, no such file, text that is no UTF-8, options that contradict each other.
    """
    if arguments.sentences and arguments.input is not None:
        raise ConfigError("translate got sentences and --input; give one of them")
    if is_folder(arguments.output):
        _translate_shards(arguments)
        return
    from seq2seq.training.distributed import place

    if place()[1] > 1:
        raise ConfigError("several processes write a folder, not one file; give --output FOLDER/ (with the slash)")
    with contextlib.ExitStack() as stack:
        draw = None
        if arguments.attention is not None:
            from seq2seq.app.heatmap import attention_picture

            draw = stack.enter_context(attention_picture(arguments.attention))
        write = stack.enter_context(output_file(arguments.output))
        translator = load_translator(arguments.model, arguments.run, "translate")
        with_attention = draw is not None or arguments.alignments != "none"
        if with_attention:
            _check_attention(translator, arguments)
        lines, waiting = text_lines(arguments.sentences, arguments.input, arguments.encoding_errors)
        # the lines are needed twice where the output repeats them, and no more than a window of them is kept
        lines, again = itertools.tee(lines) if arguments.format == "jsonl" else (lines, itertools.repeat(""))
        flush = arguments.flush or waiting
        options = {**dataclasses.asdict(arguments.search), "with_attention": with_attention}
        stream = translator.translate_stream
        found = stream(lines, window=1, **options) if flush else stream(lines, **options)
        rows = zip(again, found)  # noqa: B905 (as long as the translations)
        for number, (source, best) in enumerate(progress(rows, arguments.output), 1):
            write.write(_line(number, source, best, arguments))
            if draw is not None:
                draw(_words(best[0]))
            if flush:
                write.flush()


def _translate_shards(arguments: TranslateArguments) -> None:
    """A file into a folder of files; of several processes each makes its own."""
    from seq2seq.training.distributed import place

    if arguments.input in (None, "-") or arguments.attention is not None:
        raise ConfigError("--output FOLDER/ takes its text from --input FILE, and draws no --attention")
    check_size(arguments.shard_lines)
    translator = load_translator(arguments.model, arguments.run, "translate")
    if arguments.alignments != "none":
        _check_attention(translator, arguments)
    folder, text = Path(str(arguments.output)), Path(str(arguments.input))
    lines, _ = text_lines((), arguments.input, arguments.encoding_errors)
    begin(folder, shards_origin(arguments, [text]))
    made, (rank, processes) = 0, place()
    for shard in missing_shards(lines, folder, arguments.shard_lines, shard_ending(arguments), (rank, processes)):
        write_shard(translator, shard, arguments)
        made += 1
    who = f"process {rank} of {processes}: " if processes > 1 else ""
    sys.stderr.write(f"{who}{summary(made, arguments.shard_lines, folder)}")


def shard_ending(arguments: TranslateArguments) -> str:
    """Of the files of a folder."""
    return ".jsonl" if arguments.format == "jsonl" else ".txt"


def write_shard(translator: Translator, shard: Shard, arguments: TranslateArguments) -> None:
    """Translates a shard and writes its file, which appears when it is whole.

    Raises:
        ConfigError: It cannot be written.
    """
    options = {**dataclasses.asdict(arguments.search), "with_attention": arguments.alignments != "none"}
    rows = zip(shard.lines, translator.translate_stream(shard.lines, first=shard.first, **options), strict=True)
    with output_file(str(shard.path)) as write:
        for number, (source, best) in enumerate(progress(rows, str(shard.path), len(shard.lines)), shard.first + 1):
            write.write(_line(number, source, best, arguments))


def shards_origin(arguments: TranslateArguments, files: Sequence[Path]) -> dict[str, Any]:
    """What the files of a folder follow from: text, models, options."""
    from seq2seq.checkpoint import WEIGHTS
    from seq2seq.tensors import file_digest

    texts = [{"name": file.name, "bytes": file.stat().st_size, "modified": file.stat().st_mtime_ns} for file in files]
    return {
        "input": texts[0] if len(texts) == 1 else texts,
        "models": [file_digest(Path(model) / WEIGHTS) for model in arguments.model],
        "precision": arguments.run.precision,
        "format": arguments.format,
        "alignments": arguments.alignments,
        "shard_lines": arguments.shard_lines,
        **dataclasses.asdict(arguments.search),
    }


def _check_attention(translator: Translator, arguments: TranslateArguments) -> None:
    if not any(model.config.attention == "bahdanau" for model in translator.models):
        wanted = "--attention" if arguments.attention is not None else "--alignments"
        raise ConfigError(
            f"{wanted}: {arguments.model[0]} was trained with --attention none, so it has no weights to show; give a "
            "model with attention"
        )


def _words(translation: Translation) -> WordAttention:
    from seq2seq.inference.alignments import word_attention

    weights = translation.attention
    return word_attention(translation.pieces, translation.source_pieces, [[1.0]] if weights is None else weights)


def _line(number: int, source: str, best: list[Translation], arguments: TranslateArguments) -> str:
    """What is written for one input line."""
    from seq2seq.inference.alignments import links, pharaoh

    align = arguments.alignments == "pharaoh"
    if arguments.format == "jsonl":
        shown: list[dict[str, Any]] = []
        for t in best:
            shown.append({"text": t.text, "score": t.score, "log_prob": t.log_prob})
            if align:
                words = _words(t)
                shown[-1] |= {"source_words": words.source, "words": words.target, "alignment": pharaoh(links(words))}
        return json_line({"line": number, "source": source, "translations": shown})
    texts = [pharaoh(links(_words(t))) if align else t.text for t in best]
    if arguments.search.n_best == 1:
        return f"{texts[0]}\n"
    rows = enumerate(zip(texts, best, strict=True), 1)
    return "".join(f"{number}\t{rank}\t{t.score:.6f}\t{text}\n" for rank, (text, t) in rows)
