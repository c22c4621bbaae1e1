"""A server in a thread of the test's own process, and requests to it with nothing but the standard library."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any, NamedTuple

from seq2seq.config import ServingConfig
from seq2seq.serving.catalog import Catalog
from seq2seq.serving.server import create_app, listen, make_server


class Answer(NamedTuple):
    status: int
    body: Any
    headers: Any


class Client:
    """Sends requests to one server."""

    def __init__(self, url: str) -> None:
        self.url = url

    def send(self, path: str, data: bytes | None, **headers: str) -> Answer:
        request = urllib.request.Request(
            f"{self.url}/{path}", data, {k.replace("_", "-"): v for k, v in headers.items()}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return Answer(answer.status, answer.read(), answer.headers)
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.read(), error.headers)

    def get(self, path: str) -> Any:
        return json.loads(self.send(path, None).body)

    def post(self, path: str, **values: Any) -> Answer:
        answer = self.send(path, json.dumps(values).encode(), content_type="application/json")
        return answer._replace(body=json.loads(answer.body))


@contextlib.contextmanager
def running(models: Catalog, config: ServingConfig | None = None, api_key: str | None = None) -> Iterator[Client]:
    """A server on a free port of this machine."""
    config = config or ServingConfig()
    with listen("127.0.0.1", 0) as listening:
        server = make_server(create_app(models, config, api_key), config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            yield Client(f"http://127.0.0.1:{listening.getsockname()[1]}")
        finally:
            server.should_exit = True
            thread.join(30)
