"""Pushing to the hub and reading from it, against a server here that speaks the part of its interface needed."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from test_classifier import SMALL, TEXTS, toy

from seq2seq import Classifier, Translator
from seq2seq.app.cli import main
from seq2seq.errors import ConfigError, ModelDirectoryError
from seq2seq.inference.hub import push_to_hub

TOKEN = "hf_test"
SHA = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Repositories in memory."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.log: list[str] = []


class Handler(BaseHTTPRequestHandler):
    """Creates, commits, lists and gives files."""

    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        self.server.log.append(f"{self.command} {self.path}")

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        headers = {
            "content-length": str(len(body)),
            "content-type": "application/json",
            "x-repo-commit": SHA,
            **headers,
        }
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def json(self, value: object, status: int = 200, **headers: str) -> None:
        self.answer(status, json.dumps(value).encode(), **headers)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/api/validate-yaml":
            self.json({"errors": [], "warnings": []})
        elif self.headers["authorization"] != f"Bearer {TOKEN}":
            self.json({"error": "wrong token"}, 401)
        elif self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
            self.server.repositories.setdefault(name, {})
            self.server.private[name] = bool(asked.get("private")) or asked.get("visibility") == "private"
            self.json({"url": f"http://127.0.0.1:{self.server.server_port}/{name}", "name": name})
        elif "/preupload/" in self.path:
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]
            ]
            self.json({"files": files})
        elif "/commit/" in self.path:
            name = self.path.removeprefix("/api/models/").split("/commit/")[0]
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.server.repositories[name][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            url = f"http://127.0.0.1:{self.server.server_port}/{name}/commit/{SHA}"
            self.json({"success": True, "commitOid": SHA, "commitUrl": url})
        else:
            self.json({"error": "unknown"}, 404)

    def do_GET(self) -> None:
        path = self.path.split("?")[0].strip("/")
        for name, files in self.server.repositories.items():
            if path in (f"api/models/{name}/revision/main", f"api/models/{name}"):
                self.json({"id": name, "sha": SHA, "siblings": [{"rfilename": file} for file in files]})
                return
            if path.startswith(f"api/models/{name}/tree/"):
                self.json([{"type": "file", "path": f, "size": len(c), "oid": SHA} for f, c in files.items()])
                return
            for start in (f"{name}/resolve/main/", f"{name}/resolve/{SHA}/"):
                content = files.get(path.removeprefix(start)) if path.startswith(start) else None
                if content is not None:
                    self.answer(
                        200, content, etag=f'"{hashlib.sha256(content).hexdigest()}"', content_type="text/plain"
                    )
                    return
        self.json({"error": "not found"}, 404, x_error_code="RepoNotFound")

    do_HEAD = do_GET


@pytest.fixture
def hub():
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever)
        thread.start()
        yield hub
        hub.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def there(hub, monkeypatch, tmp_path):
    """The library's hub is this one; it reads its settings when it is imported, which other tests have made it do."""
    from huggingface_hub import constants

    address = f"http://127.0.0.1:{hub.server_port}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    for name, value in (("ENDPOINT", address), ("HF_HUB_OFFLINE", False), ("HF_HUB_CACHE", str(tmp_path / "cache"))):
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.chdir(tmp_path)


def test_there_and_back(hub, tiny_model, tmp_path):
    assert (tiny_model / "training_state").is_dir() and (tiny_model / "metrics.jsonl").is_file()  # stay here
    here = Translator.from_pretrained(tiny_model, precision="float32")
    assert here.push_to_hub("me/model") == f"http://127.0.0.1:{hub.server_port}/me/model/commit/{SHA}"
    there = Translator.from_pretrained("me/model", precision="float32")
    assert there.translate("A dog.", beam_size=2) == here.translate("A dog.", beam_size=2)
    assert there.directory.is_relative_to(tmp_path / "cache")
    with pytest.raises(ModelDirectoryError, match="me/other is neither a directory here nor a model"):
        Translator.from_pretrained("me/other")

    files = hub.repositories["me/model"]
    assert set(files) == {"README.md", "config.json", "metrics.json", "model.safetensors", "tokenizer.model"}
    assert files["model.safetensors"] == (tiny_model / "model.safetensors").read_bytes()
    assert hub.private == {"me/model": True}
    card = files["README.md"].decode()
    assert 'Translator.from_pretrained("me/model")' in card and "--model tiny" not in card


def test_a_classifier_too(hub, tmp_path):
    given = ["--data", str(toy(tmp_path / "data")), "--output", str(tmp_path / "animals"), *SMALL, "--max-epochs", "1"]
    assert main(["train-classifier", *given]) == 0
    here = Classifier.from_pretrained(tmp_path / "animals")
    here.push_to_hub("me/animals")
    assert Classifier.from_pretrained("me/animals").predict(TEXTS) == here.predict(TEXTS)
    card = hub.repositories["me/animals"]["README.md"].decode()
    assert "4 labels: bird, cat, dog, none" in card and 'Classifier.from_pretrained("me/animals")' in card


def test_a_card_that_somebody_edited_goes_as_it_is(hub, tiny_model, tmp_path):
    copy = shutil.copytree(tiny_model, tmp_path / "copy")
    (copy / "README.md").write_text("My own words.\n")
    push_to_hub(copy, "me/mine", private=False, token=TOKEN)
    assert hub.repositories["me/mine"]["README.md"] == b"My own words.\n" and hub.private == {"me/mine": False}
    (copy / "README.md").unlink()
    push_to_hub(copy, "me/mine", token=TOKEN)
    assert "# me/mine: en → fr" in hub.repositories["me/mine"]["README.md"].decode()


def test_refusals(hub, tiny_model):
    with pytest.raises(ConfigError, match="that from_pretrained has read from one directory"):
        Translator.from_pretrained([tiny_model, tiny_model]).push_to_hub("me/model")
    with pytest.raises(ConfigError, match=r"cannot put the model onto the hub as me/model \(.*401.*hf auth login"):
        push_to_hub(tiny_model, "me/model", token="hf_wrong")
    with pytest.raises(ConfigError, match="cannot put the model onto the hub as no good name"):
        push_to_hub(tiny_model, "no good name", token=TOKEN)
    assert hub.repositories == {}
