"""The server as programs meet it, over HTTP: answers, what is refused, many at once, the end."""

from __future__ import annotations

import http.client
import itertools
import json
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from libretranslatepy import LibreTranslateAPI
from models import TEXT, small_tokenizer, write_model
from servers import running

from seq2seq import Translator
from seq2seq.config import SearchConfig, ServingConfig
from seq2seq.errors import ConfigError
from seq2seq.inference.classifier import Prediction
from seq2seq.serving.catalog import Catalog
from seq2seq.serving.server import listen

SEARCH = SearchConfig(beam_size=3, max_length=8)
OPTIONS = {"beam_size": 3, "max_length": 8}
LINES = [
    " ".join(part) for n in (1, 2, 3, 4) for part in itertools.permutations(["the cat", "runs", "red .", "two"], n)
]


class Animals:
    """A classifier that knows its labels by their names."""

    labels = ("cat", "dog", "none")

    def predict_stream(self, texts, *, top_k):
        for text in texts:
            best = next((label for label in self.labels if label in text), "none")
            order = sorted(self.labels, key=lambda label: label != best)
            yield [Prediction(label, 1.0 if label == best else 0.0) for label in order[:top_k]]


@pytest.fixture(scope="module")
def translator(tmp_path_factory) -> Translator:
    tokenizer = small_tokenizer()
    path = write_model(tmp_path_factory.mktemp("models") / "a", tokenizer, 0)
    return Translator.from_pretrained(path, device="cpu", precision="float32")


@pytest.fixture(scope="module")
def models(translator) -> Catalog:
    return Catalog({("en", "fr"): translator}, {"animals": Animals()}, SEARCH)


@pytest.fixture(scope="module")
def server(models):
    with running(models, ServingConfig(max_characters=300, queue_size=50)) as client:
        yield client


class Slow:
    """A translator whose work takes as long as the test wants."""

    def __init__(self) -> None:
        self.gate, self.begun, self.lines = threading.Event(), threading.Event(), []

    def translate_detailed(self, lines, **options):
        self.begun.set()
        self.lines += lines
        assert self.gate.wait(20)
        if "boom" in lines:
            raise RuntimeError("secret")
        return [
            [type("T", (), {"text": line.upper(), "attention": None, "log_prob": 0.0, "pieces": []})] for line in lines
        ]


@pytest.fixture
def slow():
    slow = Slow()
    yield slow
    slow.gate.set()


def test_the_client_of_libretranslate_translates(server, translator):
    client = LibreTranslateAPI(server.url)
    for text in TEXT:
        assert client.translate(text, "en", "fr") == translator.translate(text, **OPTIONS)
    assert client.languages() == [
        {"code": "en", "name": "English", "targets": ["fr"]},
        {"code": "fr", "name": "French", "targets": []},
    ]


def test_one_text_a_list_and_lines(server, translator):
    expected = translator.translate(TEXT, **OPTIONS)
    answer = server.post("translate", q=TEXT, source="en", target="fr")
    assert (answer.status, answer.body) == (200, {"translatedText": expected})
    answer = server.post("translate", q=f"{TEXT[0]}\n\n  \n{TEXT[1]}\n", target="fr")
    text = f"{expected[0]}\n\n\n{expected[1]}\n"
    assert answer.body == {"translatedText": text, "detectedLanguage": {"confidence": 100.0, "language": "en"}}
    for nothing in ("", " ", [], ["", ""]):
        form = "" if isinstance(nothing, str) else [""] * len(nothing)
        assert server.post("translate", q=nothing, source="en", target="fr").body == {"translatedText": form}


def test_alternatives_and_details(server, translator):
    best = translator.translate(TEXT, n_best=4, beam_size=4, max_length=8)
    answer = server.post("translate", q=TEXT, source="en", target="fr", alternatives=3, details=True).body
    assert [[text, *more] for text, more in zip(answer["translatedText"], answer["alternatives"], strict=True)] == best
    assert [[t["text"] for t in lines[0]["translations"]] for lines in answer["details"]] == best
    (_, one), (_, two) = translator.translate(TEXT[:2], n_best=2, **OPTIONS)
    both = server.post("translate", q="\n".join(TEXT[:2]), source="en", target="fr", alternatives=1).body
    assert both["alternatives"] == [f"{one}\n{two}"]


def test_scores_and_labels(server, translator):
    scores = translator.score(TEXT, TEXT[::-1])
    found = server.post("score", q=TEXT, translation=TEXT[::-1], target="fr").body["scores"]
    assert [(s["log_prob"], s["tokens"]) for s in found] == [(pytest.approx(s.log_prob), s.tokens) for s in scores]
    alone = server.post("score", q=TEXT[0], translation=TEXT[3], target="fr").body["scores"]
    assert alone == {"log_prob": pytest.approx(found[0]["log_prob"]), "tokens": found[0]["tokens"]}
    cat, dog = [{"label": name, "probability": 1.0} for name in ("cat", "dog")]
    assert server.post("classify", q="a cat").body == {"labels": [cat]}
    assert server.post("classify", q=["a dog", "a cat"], model="animals").body == {"labels": [[dog], [cat]]}
    assert len(server.post("classify", q="a cat", top_k=99).body["labels"]) == 3


@pytest.mark.parametrize(
    ("path", "values", "status", "message"),
    [
        (
            "translate",
            {"q": "a", "source": "xx", "target": "fr"},
            400,
            "no model translates xx → fr; there are: en → fr",
        ),
        ("translate", {"q": "a"}, 400, "target: Field required"),
        ("translate", {"q": 3, "target": "fr"}, 400, "q"),
        ("translate", {"q": "a", "target": "fr", "format": "html"}, 400, "format: Input should be 'text'"),
        ("translate", {"q": "a", "target": "fr", "alternatives": 11}, 400, "alternatives"),
        ("translate", {"q": "a", "target": "\ud800"}, 400, "no model translates auto → \\ud800"),
        ("translate", {"q": "x" * 301, "target": "fr"}, 413, "301 characters, at most 300 are taken"),
        ("translate", {"q": ["x" * 200] * 2, "target": "fr"}, 413, "400 characters"),
        ("translate", {"q": ["x"] * 51, "target": "fr"}, 413, "51 lines, at most 50 are taken"),
        ("translate", {"q": "x\n" * 51, "target": "fr"}, 413, "51 lines"),
        ("translate", {"q": "x" * 20_000, "target": "fr"}, 413, "longer than 13,600 bytes"),
        ("score", {"q": ["a"], "translation": "b", "target": "fr"}, 400, "give q and translation alike"),
        ("score", {"q": ["a"], "translation": ["b", "c"], "target": "fr"}, 400, "give q and translation alike"),
        ("score", {"q": "a" * 200, "translation": "b" * 200, "target": "fr"}, 413, "400 characters"),
        ("classify", {"q": "a", "model": "animal"}, 400, "did you mean 'animals'?"),
        ("classify", {"q": "a", "top_k": 0}, 400, "top_k"),
        ("nothing", {}, 404, "Not Found"),
        ("languages", {}, 405, "Method Not Allowed"),
    ],
)
def test_what_is_refused(server, path, values, status, message):
    answer = server.post(path, **values)
    assert answer.status == status and message in answer.body["error"], answer


def test_bodies_that_cannot_be_read(server):
    for body in (b"{", b"\xff", b'"a"', b"[]", b"null", b""):
        answer = server.send("translate", body, content_type="application/json")
        assert answer.status == 400 and json.loads(answer.body)["error"], answer
    assert server.send("translate", b"q=a", content_type="text/plain").status == 415


def test_what_else_is_there(server):
    assert server.get("health") == {"status": "ok", "waiting": 0}
    assert server.get("models") == {
        "translators": [{"source": "en", "target": "fr"}], "classifiers": [{"name": "animals", "labels": 3}],
        "max_characters": 300, "api_key": False,
    }  # fmt: skip
    described = server.get("openapi.json")
    assert {"/translate", "/score", "/classify", "/languages", "/models", "/health"} == set(described["paths"])
    assert set(described["paths"]["/translate"]["post"]["responses"]) == {"200", "4XX", "503"}
    assert "swagger" in server.send("docs", None).body.decode()


def test_the_page_may_load_nothing_from_elsewhere(server):
    answer = server.send("", None)
    page, policy = answer.body.decode(), answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "connect-src 'self'" in policy and "unsafe" not in policy
    assert re.search(r"script-src 'sha256-[\w+/]{43}='", policy) and re.search(
        r"style-src 'sha256-[\w+/]{43}='", policy
    )
    outside = [address for address in re.findall(r"https?://[^\"'\s)]+", page) if "www.w3.org" not in address]
    assert outside == [] and "@import" not in page and not re.search(r"(src|href)=\"(?!data:|docs\")", page)


def test_64_clients_at_once_get_their_own_answers(server, translator):
    expected = dict(zip(LINES, translator.translate(LINES, **OPTIONS), strict=True))
    assert len(set(expected.values())) > 20  # a mix-up would be seen

    def client(n):
        connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)
        wrong = []
        for line in LINES[n % 7 :: 7]:
            body = json.dumps({"q": line, "source": "en", "target": "fr"})
            for pause in range(100):
                connection.request("POST", "/translate", body, {"content-type": "application/json"})
                answer = connection.getresponse()
                found = json.loads(answer.read())
                if answer.status != 429:
                    break
                time.sleep(0.01 * (1 + pause))
            if found.get("translatedText") != expected[line]:
                wrong.append((line, found))
        connection.close()
        return wrong

    with ThreadPoolExecutor(64) as pool:
        assert [wrong for found in pool.map(client, range(64)) for wrong in found] == []


def test_a_full_queue_says_429_and_the_others_are_answered(slow):
    models = Catalog({("en", "fr"): slow}, {})
    with running(models, ServingConfig(queue_size=3, batch_size=2)) as client, ThreadPoolExecutor(8) as pool:
        ask = lambda q: client.post("translate", q=q, source="en", target="fr")  # noqa: E731
        first = pool.submit(ask, "a")
        assert slow.begun.wait(10)
        waiting = pool.submit(ask, ["b", "c", "d"])
        while client.get("health")["waiting"] < 3:
            time.sleep(0.01)
        refused = ask("e")
        assert refused.status == 429 and refused.headers["retry-after"] == "1" and "try again" in refused.body["error"]
        slow.gate.set()
        assert first.result(10).body == {"translatedText": "A"}
        assert waiting.result(10).body == {"translatedText": ["B", "C", "D"]}
        assert ask("e").body == {"translatedText": "E"}
    assert "e" in slow.lines


def test_a_request_has_its_time(slow):
    with running(Catalog({("en", "fr"): slow}, {}), ServingConfig(timeout=0.6)) as client:
        answers = [client.post("translate", q=q, source="en", target="fr") for q in ("a", "b")]
        assert [answer.status for answer in answers] == [503, 503]
        assert "not done within 0.6 seconds" in answers[0].body["error"]
        slow.gate.set()
        assert client.post("translate", q="c", source="en", target="fr").body == {"translatedText": "C"}
    assert slow.lines == ["a", "c"]  # b was given up before its turn came


def test_a_client_that_has_gone_is_not_worked_for(slow):
    with running(Catalog({("en", "fr"): slow}, {})) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "translate", q="a", source="en", target="fr")
        assert slow.begun.wait(10)
        connection = http.client.HTTPConnection(client.url.removeprefix("http://"))
        body = json.dumps({"q": "b", "target": "fr"})
        connection.request("POST", "/translate", body, {"content-type": "application/json"})
        while client.get("health")["waiting"] < 1:
            time.sleep(0.01)
        connection.close()
        while client.get("health")["waiting"]:
            time.sleep(0.01)
        slow.gate.set()
        assert first.result(10).status == 200
        assert client.post("translate", q="c", source="en", target="fr").status == 200
    assert slow.lines == ["a", "c"]


def test_a_failure_is_told_to_its_sender_alone_without_details(slow, caplog):
    slow.gate.set()
    with running(Catalog({("en", "fr"): slow}, {})) as client:
        answer = client.post("translate", q="boom", source="en", target="fr")
        assert answer.status == 500 and "its log says why" in answer.body["error"] and "secret" not in str(answer.body)
        assert client.post("translate", q="a", source="en", target="fr").status == 200


def test_requests_begun_are_answered_when_the_server_stops(slow):
    with ThreadPoolExecutor(4) as pool:
        with running(Catalog({("en", "fr"): slow}, {}), ServingConfig(batch_size=1)) as client:
            found = [pool.submit(client.post, "translate", q=q, source="en", target="fr") for q in "abc"]
            while client.get("health")["waiting"] < 2:
                time.sleep(0.01)
            threading.Timer(0.3, slow.gate.set).start()
        assert sorted(answer.result(10).body["translatedText"] for answer in found) == ["A", "B", "C"]
    with pytest.raises(OSError):
        client.get("health")


def test_a_key_is_asked_for(models):
    with running(models, api_key="open sésame") as client:
        asked = {"q": "the cat", "source": "en", "target": "fr"}
        for key in (None, "", "open", "open sésame ", "x" * 99):
            for path, values in (
                ("translate", asked),
                ("score", {**asked, "translation": "a"}),
                ("classify", {"q": "a"}),
            ):
                answer = client.post(path, **values, **({} if key is None else {"api_key": key}))
                assert answer.status == 403 and "API key" in answer.body["error"]
        assert client.post("translate", **asked, api_key="open sésame").status == 200
        assert LibreTranslateAPI(client.url, "open sésame").translate("the cat", "en", "fr")
        body = json.dumps(asked).encode()
        given = {"content_type": "application/json"}
        key = "open sésame".encode().decode("latin-1")
        assert client.send("translate", body, **given, authorization=f"Bearer {key}").status == 200
        assert client.send("translate", body, **given, authorization="Bearer open").status == 403
        assert client.get("models")["api_key"] is True


def test_addresses_that_cannot_be_listened_on():
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            ConfigError, match=rf"cannot listen on 127\.0\.0\.1, port {port} \(.*\); give another --port"
        ):
            listen("127.0.0.1", port)
    with pytest.raises(ConfigError, match=r"cannot listen on no\.such\.host\.invalid"):
        listen("no.such.host.invalid", 0)
    for port in (70000, -1):
        with pytest.raises(ConfigError, match=f"--port is {port}, expected 0 to 65535"):
            listen("127.0.0.1", port)
    if socket.has_ipv6:
        try:
            listen("::1", 0).close()
        except ConfigError:
            pytest.skip("IPv6 is switched off here")


def test_answers_do_not_wait_to_be_acknowledged():
    """An answer is written in two parts, of which the second must not wait for word of the first."""
    with listen("127.0.0.1", 0) as listening:
        with socket.create_connection(listening.getsockname()):
            accepted, _ = listening.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
