"""Request bodies: forms become JSON; what is too long, too slow or of another kind never reaches the application."""

from __future__ import annotations

import asyncio
import json

import pytest

from seq2seq.serving.body import BodyGuard

FORM, JSON = "application/x-www-form-urlencoded", "application/json; charset=utf-8"


def send(parts, kind=JSON, method="POST", length=None, pause=0.0):
    """Status, answer and what the application behind the guard was given."""
    seen, sent = {}, []

    async def app(scope, receive, send):
        seen["scope"] = scope
        seen["body"] = (await receive())["body"]
        seen["after"] = (await receive())["type"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    messages = [{"type": "http.request", "body": part, "more_body": n < len(parts) - 1} for n, part in enumerate(parts)]
    messages.append({"type": "http.disconnect"})

    async def receive():
        if messages[0].get("more_body"):
            await asyncio.sleep(pause)
        return messages.pop(0)

    async def reply(message):
        sent.append(message)

    headers = [(b"content-type", kind.encode()), (b"x-other", b"1")]
    headers += [(b"content-length", str(length).encode())] if length is not None else []
    scope = {"type": "http", "method": method, "path": "/", "headers": headers}
    asyncio.run(BodyGuard(app, most_bytes=100, seconds=0.2)(scope, receive, reply))
    return sent[0]["status"], json.loads(sent[1]["body"]), seen


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (b"q=a+b&source=en", {"q": "a b", "source": "en"}),
        (b"q=one&q=two&q=three", {"q": ["one", "two", "three"]}),
        ("q=é%0A&empty=".encode(), {"q": "é\n", "empty": ""}),
        (b"", {}),
    ],
)
def test_a_form_becomes_json(form, expected):
    status, _, seen = send([form[:3], form[3:]], FORM)
    assert status == 200 and json.loads(seen["body"]) == expected
    kinds = [value for name, value in seen["scope"]["headers"] if name == b"content-type"]
    assert kinds == [b"application/json"]
    assert (b"x-other", b"1") in seen["scope"]["headers"]


def test_json_passes_in_one_piece_and_then_the_connection_is_heard():
    status, _, seen = send([b'{"q":', b' "a"}'])
    assert (status, seen["body"], seen["after"]) == (200, b'{"q": "a"}', "http.disconnect")


def test_what_is_too_long_is_not_read_to_its_end():
    for parts, length in (([b"x" * 60] * 50, None), ([b"x"], 101)):
        status, answer, seen = send(parts, length=length)
        assert (status, answer, seen) == (413, {"error": "the request is longer than 100 bytes"}, {})
    assert send([b"x" * 50, b"x" * 50])[0] == 200


def test_what_is_too_slow_is_given_up():
    status, answer, seen = send([b"x"] * 10, pause=0.1)
    assert status == 408 and "within 0.2 seconds" in answer["error"] and not seen


def test_other_kinds_are_refused():
    status, answer, seen = send([b"x"], "text/plain")
    assert status == 415 and "application/json" in answer["error"] and not seen


def test_other_methods_and_protocols_pass_untouched():
    assert send([b"x" * 200], "text/plain", method="GET")[2]["body"] == b"x" * 200
