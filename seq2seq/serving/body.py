"""Bodies of requests, before anything looks at them: bounded in size and time, forms turned into JSON."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import parse_qsl

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FORM = b"application/x-www-form-urlencoded"


class BodyGuard:
    """An ASGI middleware that reads a POST's whole body, or answers itself.

    LibreTranslate's clients send forms or JSON; what is behind this sees JSON alone.
    """

    def __init__(self, app: ASGIApp, most_bytes: int, seconds: float) -> None:
        """Stands before an application.

        Args:
            app: What gets the requests.
            most_bytes: A longer body is answered with status 413.
            seconds: A body that takes longer to come is answered with status 408.
        """
        self.app, self.most_bytes, self.seconds = app, most_bytes, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
        problem = None
        body: bytes | None = b""
        if kind not in (FORM, b"application/json"):
            problem = 415, "send application/json or a form (application/x-www-form-urlencoded)"
        else:
            try:
                body = await asyncio.wait_for(self._read(receive, headers), self.seconds)
            except asyncio.TimeoutError:  # another class than TimeoutError until Python 3.11
                problem = 408, f"the request did not come within {self.seconds:g} seconds"
            if body is None:
                problem = 413, f"the request is longer than {self.most_bytes:,} bytes"
        if problem is not None:
            # the rest of the body is not read: the connection cannot be used again
            response = JSONResponse({"error": problem[1]}, problem[0], {"connection": "close"})
            await response(scope, receive, send)
            return
        assert body is not None
        if kind == FORM:
            body = _form_to_json(body)
            others = [(name, value) for name, value in scope["headers"] if name != b"content-type"]
            scope = {**scope, "headers": [*others, (b"content-type", b"application/json")]}
        await self.app(scope, _replay(body, receive), send)

    async def _read(self, receive: Receive, headers: dict[bytes, bytes]) -> bytes | None:
        """The body, or None where it is too long."""
        announced = headers.get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > self.most_bytes:
            return None
        parts, size = [], 0
        while True:
            message = await receive()
            part = message.get("body", b"")
            parts.append(part)
            size += len(part)
            if size > self.most_bytes:
                return None
            if message["type"] == "http.disconnect" or not message.get("more_body", False):
                return b"".join(parts)


def _form_to_json(body: bytes) -> bytes:
    """A form's fields; one that occurs several times becomes a list."""
    fields: dict[str, str | list[str]] = {}
    for name, value in parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True):
        before = fields.get(name)
        if before is None:
            fields[name] = value
        else:
            fields[name] = [*before, value] if isinstance(before, list) else [before, value]
    return json.dumps(fields).encode()


def _replay(body: bytes, receive: Receive) -> Receive:
    """Gives the body once, and then whatever comes, which is word of a client that has gone."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
