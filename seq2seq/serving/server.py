"""The HTTP interface: LibreTranslate's, and beside it /classify, /score, /models, the page, and OpenAPI's description.

Every problem is answered as `{"error": "what is wrong"}`.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import socket
from collections.abc import AsyncIterator, Mapping
from importlib import resources
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException as AnyHTTPException

from seq2seq import __version__
from seq2seq.config import ServingConfig
from seq2seq.errors import ConfigError, UserError
from seq2seq.serving.body import BodyGuard
from seq2seq.serving.catalog import Catalog
from seq2seq.serving.service import (
    Classified,
    ClassifyRequest,
    Problem,
    Scored,
    ScoreRequest,
    Service,
    Translated,
    TranslateRequest,
)

BYTES_A_CHARACTER = 12
"""Most that one takes in a form or in JSON, where it is escaped."""

STOPPING_SECONDS = 5
"""Beyond a request's own time limit, for the answers to be sent when the server stops."""

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Problem, "description": "What was sent cannot be answered; 429: try again later."},
    503: {"model": Problem, "description": "Not done in time, or the server is stopping."},
}


def create_app(models: Catalog, config: ServingConfig | None = None, api_key: str | None = None) -> FastAPI:
    """The server as an ASGI application; its thread for the models ends with it.

    Args:
        models: In memory.
        config: Limits.
        api_key: Without it whoever reaches the server may use it.
    """
    config = config or ServingConfig()
    service = Service(models, config, api_key)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.batcher.close()

    app = FastAPI(title="seq2seq", version=__version__, lifespan=lifespan, description=__doc__.split("\n", 1)[0])
    most_bytes = BYTES_A_CHARACTER * config.max_characters + 10_000
    app.add_middleware(BodyGuard, most_bytes=most_bytes, seconds=config.timeout)
    _answer_problems(app)
    _add_routes(app, service)
    _add_page(app)
    return app


def _add_routes(app: FastAPI, service: Service) -> None:
    @app.post("/translate", responses=_PROBLEMS, response_model_exclude_none=True)
    async def translate(request: Request, body: TranslateRequest) -> Translated:
        """Translates texts, as LibreTranslate's clients ask for it."""
        service.authorize(request, body.api_key)
        return Translated(**await service.translate(request, body))

    @app.post("/score", responses=_PROBLEMS)
    async def score(request: Request, body: ScoreRequest) -> Scored:
        """Gives log p(translation | text) of pairs."""
        service.authorize(request, body.api_key)
        return Scored(**await service.score(request, body))

    @app.post("/classify", responses=_PROBLEMS)
    async def classify(request: Request, body: ClassifyRequest) -> Classified:
        """Gives the labels of texts."""
        service.authorize(request, body.api_key)
        return Classified(**await service.classify(request, body))

    @app.get("/languages")
    async def languages() -> list[dict[str, Any]]:
        """Lists languages with those that each can be translated into."""
        return service.models.languages()

    @app.get("/models")
    async def models() -> dict[str, Any]:
        """Lists translators and classifiers, and what the server asks of requests."""
        return service.describe()

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Says that the server is up, and how many lines wait."""
        return {"status": "ok", "waiting": service.batcher.waiting}


def _add_page(app: FastAPI) -> None:
    page = resources.files("seq2seq.serving").joinpath("page.html").read_text(encoding="utf-8")
    policy = "; ".join(
        ["default-src 'none'", "connect-src 'self'", "img-src data:", "base-uri 'none'", "form-action 'none'"]
        + [f"{kind}-src {_hashes(page, tag)}" for kind, tag in (("script", "script"), ("style", "style"))]
        + ["frame-ancestors 'none'"]
    )

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def show() -> HTMLResponse:
        return HTMLResponse(page, headers={"content-security-policy": policy, "cache-control": "no-cache"})


def _hashes(page: str, tag: str) -> str:
    """The page's own scripts or styles as a content security policy names them: nothing else may run."""
    found = re.findall(rf"<{tag}>(.*?)</{tag}>", page, flags=re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in found]
    return " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"


def _answer_problems(app: FastAPI) -> None:
    @app.exception_handler(AnyHTTPException)
    async def refused(_: Request, error: AnyHTTPException) -> JSONResponse:
        return _problem(error.status_code, str(error.detail), error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return _problem(400, "; ".join(_told(problem) for problem in error.errors()))

    @app.exception_handler(UserError)
    async def mistaken(_: Request, error: UserError) -> JSONResponse:
        return _problem(400, str(error))

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> JSONResponse:
        return _problem(500, "the server failed at this request; its log says why")


def _problem(status: int, text: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    # a request may have held half characters, and its error repeats them
    return JSONResponse({"error": text.encode("utf-8", "backslashreplace").decode()}, status, headers)


def _told(problem: dict[str, Any]) -> str:
    """One mistake in a request's body: where and what."""
    if problem["type"] == "json_invalid":
        return f"the body is no JSON ({problem.get('ctx', {}).get('error', 'it cannot be read')})"
    where = ".".join(str(part) for part in problem["loc"] if part != "body")
    return f"{where or 'the body'}: {problem['msg']}"


def listen(host: str, port: int) -> socket.socket:
    """A socket that connections can be made to.

    Args:
        host: Address or name of this machine.
        port: 0 takes a free one.

    Raises:
        ConfigError: The address is taken, not this machine's, or none.
    """
    if not 0 <= port < 65536:
        raise ConfigError(f"--port is {port}, expected 0 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"cannot listen on {host}, port {port} ({reason}); give another --port or --host") from None
    # connections inherit this; without it the body of an answer waits 40 ms for the client to acknowledge its head
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def make_server(app: FastAPI, config: ServingConfig, *, access_log: bool = False) -> uvicorn.Server:
    """A server for `run(sockets=[listen(...)])`; SIGINT and SIGTERM end it when all requests begun are answered."""
    settings = uvicorn.Config(
        app,
        log_level="info" if access_log else "warning",
        access_log=access_log,
        lifespan="on",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=int(config.timeout) + STOPPING_SECONDS,
    )
    return uvicorn.Server(settings)
