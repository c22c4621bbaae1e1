"""The command `seq2seq`: finds the subcommand, turns flags into dataclasses, turns errors into messages.

Nothing heavy is imported here: torch and the rest come with the command that needs them, when it runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from seq2seq import __version__
from seq2seq.errors import UserError, nearest

if TYPE_CHECKING:
    from tyro.constructors import ConstructorRegistry

T = TypeVar("T")

_HELP = """\
Example:
  seq2seq train --data data/demo --source en --target fr --output runs/demo
  seq2seq translate --model runs/demo "The blue scarf is too long for Marie."

Commands:
{commands}

  seq2seq COMMAND --help      its common options; --help-all: every option
  --version; --traceback      show the version; where in the code an error arose
"""


class Command(NamedTuple):
    """One subcommand, as help shows it; what it takes and does stands under its name in `app/commands.py`."""

    summary: str
    example: str


COMMANDS = {
    "train": Command(
        "Train a translation model and write a model directory.",
        "seq2seq train --data data/demo --source en --target fr --output runs/demo",
    ),
    "train-classifier": Command(
        "Train a text classifier, from scratch or from a translator.",
        "seq2seq train-classifier --data trec --output runs/trec",
    ),
    "distill": Command(
        "Train several translators, and one that learns from them all.",
        "seq2seq distill --data mycorpus --source en --target de --output runs/best",
    ),
    "translate": Command(
        "Translate sentences, a file or standard input.",
        'seq2seq translate --model runs/demo "The blue scarf is too long for Marie."\n'
        "  seq2seq translate --model runs/demo --input new.en --output new.fr",
    ),
    "classify": Command(
        "Give the labels of texts, a file or standard input.",
        'seq2seq classify --model runs/trec "Who wrote Hamlet?"\n'
        "  seq2seq classify --model runs/trec --input new.txt --output new.tsv",
    ),
    "evaluate": Command(
        "Measure a translator (BLEU, chrF, TER) or a classifier (F1).",
        "seq2seq evaluate --model runs/demo --data data/demo --split test\n"
        "  seq2seq evaluate --hypotheses mine.fr --references test.fr --against theirs.fr",
    ),
    "filter": Command(
        "Leave out of a corpus what is not worth training on; say why.",
        "seq2seq filter --data raw --source en --target de --output clean",
    ),
    "diversify": Command(
        "Add to a corpus what models of both directions make of it.",
        "seq2seq diversify --data raw --source en --target de --forward m --output more",
    ),
    "score": Command(
        "Give log p(target | source) of sentence pairs, line by line.",
        "seq2seq score --model runs/demo --source-file test.en --target-file test.fr\n"
        "  seq2seq score --model runs/demo --phrase-table table.gz --output scored.gz",
    ),
    "embed": Command(
        "Write the vectors that an encoder makes of sentences or phrases.",
        "seq2seq embed --model runs/demo --input phrases.en --output phrases.npy",
    ),
    "plot": Command(
        "Draw how trainings went, or vectors in two dimensions.",
        "seq2seq plot runs/demo runs/other --output runs.png\n"
        "  seq2seq plot --vectors phrases.npy --labels phrases.en --output phrases.png",
    ),
    "doctor": Command(
        "Check this installation: versions, bfloat16, GPU, disk, a step.",
        "seq2seq doctor --output runs",
    ),
    "export": Command(
        "Write a translator as ONNX graphs, for use without PyTorch.",
        "seq2seq export --model runs/demo --onnx runs/onnx",
    ),
    "completion": Command(
        "Write a script for Tab completion in bash, zsh or fish.",
        "seq2seq completion bash",
    ),
    "serve": Command(
        "Serve models: LibreTranslate's interface, and a page for people.",
        "seq2seq serve --model runs/demo --model runs/trec --port 8000",
    ),
}


def _option(name: str, arguments: Sequence[str]) -> str | None:
    """The value of one option, before the real parser (which needs it for its defaults) has seen the arguments."""
    found = None
    for position, argument in enumerate(arguments):
        if argument == "--":
            break
        if argument == name and position + 1 < len(arguments):
            found = arguments[position + 1]
        elif argument.startswith(f"{name}="):
            found = argument[len(name) + 1 :]
    return found


def registry() -> ConstructorRegistry:
    """Rules for tyro that name what was expected in our words, and keep its placeholders short."""
    from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

    rules = ConstructorRegistry()

    def number(kind: type[int] | type[float], expected: str) -> None:
        def convert(words: list[str]) -> float:
            try:
                return kind(words[0])
            except ValueError:
                raise ValueError(f"expected {expected}, got {words[0]!r}") from None

        @rules.primitive_rule
        def rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
            if info.type is not kind:
                return None
            return PrimitiveConstructorSpec(
                nargs=1,
                metavar="NUMBER" if kind is float else "N",
                instance_from_str=convert,
                is_instance=lambda value: isinstance(value, kind),
                str_from_instance=lambda value: [f"{value:g}" if kind is float else str(value)],
            )

    number(int, "a whole number")
    number(float, "a number")

    @rules.primitive_rule
    def optional_text(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
        if info.type != str | None:
            return None
        return PrimitiveConstructorSpec(
            nargs=1,
            metavar="FILE",
            instance_from_str=lambda words: None if words[0] == "none" else words[0],  # so that flags can undo a recipe
            is_instance=lambda value: value is None or isinstance(value, str),
            str_from_instance=lambda value: ["none" if value is None else value],
        )

    return rules


def _parse(defaults: T, name: str, arguments: Sequence[str]) -> T:
    """Arguments over defaults; a wrong argument or a wish for help ends the program here (exit codes 2 and 0)."""
    import tyro

    if _take_flag("--help", arguments)[0] or _take_flag("-h", arguments)[0]:
        from seq2seq.app.help import short_help

        sys.stdout.write(short_help(name, *COMMANDS[name], defaults))
        raise SystemExit(0)
    everything, arguments = _take_flag("--help-all", arguments)
    if everything:
        sys.stdout.write(f"Example:\n  {COMMANDS[name].example}\n\n")
        arguments = ["--help"]
    return tyro.cli(
        type(defaults),
        prog=f"seq2seq {name}",
        description=COMMANDS[name].summary,
        args=arguments,
        default=defaults,
        config=(tyro.conf.OmitArgPrefixes,),
        registry=registry(),
    )


def parse_command(name: str, arguments: Sequence[str]) -> Any:
    """The arguments dataclass of a command, from the words after its name.

    Raises:
        ConfigError: The recipe that --config names cannot be read, or holds an unknown option or a wrong value.
        SystemExit: After --help (code 0) or a wrong argument (code 2).
    """
    from seq2seq.app import commands
    from seq2seq.config import from_flat, read_yaml

    command = commands.COMMANDS[name]
    recipe = _option("--config", arguments)
    if command.recipe is None or not recipe:
        return _parse(command.arguments(), name, arguments)
    options: Any = from_flat(command.recipe, read_yaml(recipe), where=recipe)
    return _parse(command.arguments(**vars(options), config=recipe), name, arguments)


def _dispatch(arguments: list[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        lines = "\n".join(f"  {name:<17} {command.summary}" for name, command in COMMANDS.items())
        sys.stdout.write(_HELP.format(commands=lines))
        return
    name, *rest = arguments
    if name == "--version":
        sys.stdout.write(f"seq2seq {__version__}\n")
        return
    if name not in COMMANDS:
        known = ", ".join(COMMANDS)
        raise UserError(f"unknown command {name!r}{nearest(name, COMMANDS)} (commands: {known}; seq2seq --help)")
    parsed = parse_command(name, rest)
    from seq2seq.app import commands

    commands.COMMANDS[name].run(parsed, ["seq2seq", name, *rest])


def _leave_pipe() -> None:
    """The reader of our output has gone (`| head`): let the interpreter's last flush go nowhere, in silence."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())


def _use_utf8() -> None:
    """Text that we write is UTF-8, whatever the locale says."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace" if stream is sys.stderr else "strict")


def _take_flag(flag: str, arguments: Sequence[str]) -> tuple[bool, list[str]]:
    """Whether the flag stands before `--`, and the arguments without it."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = [argument for argument in arguments[:end] if argument != flag]
    return len(options) < end, [*options, *arguments[end:]]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Arguments after the program's name; those of the process when None.

    Returns:
        Exit code: 0; 2 for a mistake in what was given; 130 after Ctrl-C; 141 when the reader of the output has gone.

    Raises:
        SystemExit: From the argument parser: 0 after --help, 2 for a wrong argument.
    """
    wanted, arguments = _take_flag("--traceback", list(sys.argv[1:] if argv is None else argv))
    traceback = wanted or os.environ.get("SEQ2SEQ_TRACEBACK", "0") not in ("", "0")
    _use_utf8()
    problem: Any
    try:
        _dispatch(arguments)
        if sys.stdout is not None:  # closed by whoever started us
            sys.stdout.flush()
        return 0
    except BrokenPipeError:
        _leave_pipe()
        return 141
    except KeyboardInterrupt:
        if traceback:
            raise
        sys.stderr.write("\n")
        return 130
    except UserError as error:
        if traceback:
            raise
        problem = error
    except OSError as error:
        if traceback or error.filename is None:
            raise
        problem = f"{error.filename}: {error.strerror}"
    sys.stderr.write(f"seq2seq: error: {problem}\n")
    return 2
