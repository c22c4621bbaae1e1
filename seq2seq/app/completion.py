"""`seq2seq completion`: a script that lets a shell complete commands, options and their values."""

from __future__ import annotations

import contextlib
import io
import sys
from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class CompletionArguments:
    """Arguments of `seq2seq completion`."""

    shell: Annotated[Positional[Literal["bash", "zsh", "fish"]], arg(help_behavior_hint="(bash)")] = "bash"
    """bash: source <(seq2seq completion bash); zsh: into a folder of fpath, as _seq2seq; fish: seq2seq.fish."""


def completion(arguments: CompletionArguments, command: list[str]) -> None:
    """Writes the script, which tyro makes from the arguments of all commands."""
    import tyro

    from seq2seq.app import cli, commands

    kinds: list[object] = [
        Annotated[part.arguments, tyro.conf.subcommand(name, description=cli.COMMANDS[name].summary)]
        for name, part in commands.COMMANDS.items()
    ]
    whole = kinds[0]
    for kind in kinds[1:]:
        whole = whole | kind  # type: ignore[operator]
    script = io.StringIO()
    with contextlib.redirect_stdout(script), contextlib.suppress(SystemExit):
        tyro.cli(
            whole,  # type: ignore[call-overload]
            prog="seq2seq",
            args=["--tyro-print-completion", arguments.shell],
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
            registry=cli.registry(),
        )
    # tyro completes files for options of type Path alone; ours are text, and most of them name files
    files = 'if [[ "$completions" == "__TYRO_COMPLETE_FILES__" ]]; then'
    sys.stdout.write(script.getvalue().replace(files, files.replace("[[", '[[ -z "$completions" ||')))
