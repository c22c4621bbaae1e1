"""`seq2seq serve`: models behind an HTTP interface and a page."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import UseAppendAction, arg

from seq2seq.app.streams import DeviceArguments
from seq2seq.config import SearchConfig, ServingConfig
from seq2seq.errors import ConfigError

API_KEY = "SEQ2SEQ_API_KEY"


@dataclass(frozen=True)
class ServeArguments:
    """Arguments of `seq2seq serve`."""

    model: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="DIR")] = ()
    """Model directory, translator or classifier; several times: each direction, each classifier has its own."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets every machine in that can reach this one."""
    port: int = 8000
    """Port to listen on; 0 takes a free one."""
    api_key_file: str | None = None
    """File that holds a key which requests must carry; or set SEQ2SEQ_API_KEY."""
    access_log: bool = False
    """Write a line for each request to standard output."""
    serving: ServingConfig = field(default_factory=ServingConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    run: DeviceArguments = field(default_factory=lambda: DeviceArguments(precision="auto"))


def serve(arguments: ServeArguments, command: list[str]) -> None:
    """Serves until SIGINT or SIGTERM; requests that have begun are answered first.

    Raises:
        UserError: No such model, an address that cannot be listened on, a limit or key that makes no sense, no FastAPI.
    """
    _check(arguments)
    api_key = _api_key(arguments)
    try:
        from seq2seq.serving.server import create_app, listen, make_server
    except ModuleNotFoundError as error:
        if error.name not in ("fastapi", "uvicorn"):
            raise
        raise ConfigError("serve needs packages: pip install 'seq2seq[serve]'") from None
    from seq2seq.serving.catalog import Catalog

    with listen(arguments.host, arguments.port) as listening:  # before the models, which take longer
        run = arguments.run
        models = Catalog.load(
            arguments.model, arguments.search, device=run.device, threads=run.threads, precision=run.precision
        )
        server = make_server(
            create_app(models, arguments.serving, api_key), arguments.serving, access_log=arguments.access_log
        )
        host, port = listening.getsockname()[:2]
        known = [f"{source} → {target}" for source, target in models.translators] + list(models.classifiers)
        shown = f"[{host}]" if ":" in host else host
        sys.stdout.write(f"{', '.join(known)}: http://{shown}:{port} (Ctrl-C ends)\n")
        sys.stdout.flush()
        # the server stops at a signal and then raises it once more, for whoever handled it before
        before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            server.run(sockets=[listening])
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _check(arguments: ServeArguments) -> None:
    if not arguments.model:
        raise ConfigError("serve needs --model DIR, a directory that a training has written")
    limits = arguments.serving
    for name, least in (("batch_size", 1), ("queue_size", 1), ("max_characters", 1), ("timeout", 0.1)):
        value = getattr(limits, name)
        if not least <= value < float("inf"):
            raise ConfigError(f"--{name.replace('_', '-')} is {value:g}, expected {least:g} or more")


def _api_key(arguments: ServeArguments) -> str | None:
    """The key that requests must carry, if one is set.

    Raises:
        ConfigError: The file cannot be read or holds none.
    """
    if arguments.api_key_file is None:
        return os.environ.get(API_KEY) or None
    try:
        key = Path(arguments.api_key_file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--api-key-file {arguments.api_key_file} cannot be read ({error})") from None
    if not key:
        raise ConfigError(f"--api-key-file {arguments.api_key_file} is empty; write a key into it")
    return key
