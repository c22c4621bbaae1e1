"""What a server does for each kind of request, and the forms of requests and answers."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import HTTPException, Request
from pydantic import BaseModel, Field

from seq2seq.config import ServingConfig
from seq2seq.serving.batcher import Batcher, Closed, QueueFull, Task
from seq2seq.serving.catalog import Catalog, Classify, ScorePairs, Translate, details

MOST_ALTERNATIVES = 10

Texts = Annotated[str | list[str], Field(description="One text, or a list of them; what comes back has the same form.")]


class Keyed(BaseModel):
    """What all requests may carry."""

    api_key: str | None = Field(None, description="Or as `Authorization: Bearer KEY`, where the server asks for one.")


class TranslateRequest(Keyed):
    """What to translate: line by line, line breaks stay."""

    q: Texts
    source: str = Field("auto", description="Language code; `auto` where only one source is known for the target.")
    target: str
    format: Literal["text"] = "text"
    alternatives: int = Field(0, ge=0, le=MOST_ALTERNATIVES, description="Further translations of each text.")
    details: bool = Field(False, description="Also words, attention and confidence, line by line.")


class ScoreRequest(Keyed):
    """Pairs whose probability is asked for."""

    q: Texts
    translation: Texts
    source: str = "auto"
    target: str


class ClassifyRequest(Keyed):
    """What to classify."""

    q: Texts
    model: str | None = Field(None, description="Name of the classifier; may be left out where there is one.")
    top_k: int = Field(1, ge=1, description="Labels a text; 1 gives all likely ones where a text may have several.")


class Problem(BaseModel):
    """What is wrong."""

    error: str


class Score(BaseModel):
    """log p(translation | text), natural logarithm, the end of the sentence counted."""

    log_prob: float
    tokens: int


class Label(BaseModel):
    """A label and its probability."""

    label: str
    probability: float


class Translated(BaseModel):
    """Translations in the form of `q`; what was not asked for is left out."""

    translatedText: str | list[str]
    detectedLanguage: dict[str, Any] | None = None
    alternatives: list[str] | list[list[str]] | None = None
    details: list[dict[str, Any]] | list[list[dict[str, Any]]] | None = None


class Scored(BaseModel):
    """Scores in the form of `q`."""

    scores: Score | list[Score]


class Classified(BaseModel):
    """Labels, likeliest first: a list of them, or for a list of texts a list each."""

    labels: list[Label] | list[list[Label]]


class Service:
    """What the requests share: models, queue, limits."""

    def __init__(self, models: Catalog, config: ServingConfig, api_key: str | None) -> None:
        self.models, self.config, self.api_key = models, config, api_key
        self.batcher = Batcher(batch_size=config.batch_size, queue_size=config.queue_size)

    def authorize(self, request: Request, given: str | None) -> None:
        """Refuses a request without the key, in a time that does not tell how much of it is right.

        Raises:
            HTTPException: 403.
        """
        if self.api_key is None:
            return
        kind, _, bearer = request.headers.get("authorization", "").partition(" ")
        sent = (given or request.query_params.get("api_key") or "").encode("utf-8", "replace")
        if not sent and kind.lower() == "bearer":
            sent = bearer.encode("latin-1")  # as headers are decoded
        if not hmac.compare_digest(sent, self.api_key.encode()):
            raise HTTPException(403, "this server asks for an API key: send api_key, or Authorization: Bearer KEY")

    def check_size(self, texts: Sequence[str], lines: int) -> None:
        """Refuses what could never be done.

        Raises:
            HTTPException: 413.
        """
        characters, most = sum(map(len, texts)), self.config.max_characters
        if characters > most:
            raise HTTPException(413, f"{characters:,} characters, at most {most:,} are taken; send parts")
        if lines > self.config.queue_size:
            raise HTTPException(413, f"{lines:,} lines, at most {self.config.queue_size:,} are taken; send parts")

    async def ask(self, request: Request, task: Task, items: Sequence[Any]) -> list[Any]:
        """Results of a task for items. They are forgotten when the time is up, or the client goes.

        Raises:
            HTTPException: 429 when the queue is full, 503 when the time is up or the server is stopping.
        """
        try:
            futures = self.batcher.submit(task, items)
        except QueueFull:
            raise HTTPException(429, "too many requests wait; try again", {"Retry-After": "1"}) from None
        except Closed:
            raise HTTPException(503, "the server is stopping") from None
        results = asyncio.gather(*map(asyncio.wrap_future, futures))
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait((results, gone), timeout=self.config.timeout, return_when=asyncio.FIRST_COMPLETED)
            if results.done():
                return results.result()
            if gone.done():
                raise HTTPException(499, "the client has gone")
            raise HTTPException(503, f"not done within {self.config.timeout:g} seconds; send less, or try again")
        finally:
            gone.cancel()
            results.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await results

    async def translate(self, request: Request, body: TranslateRequest) -> dict[str, Any]:
        """Translations of texts, line by line."""
        source, translator = self.models.translator(body.source, body.target)
        texts = [body.q] if isinstance(body.q, str) else body.q
        split = [text.split("\n") for text in texts]
        lines = [line for part in split for line in part if line.strip()]
        self.check_size(texts, len(lines))
        task = Translate(translator, self.models.search, 1 + body.alternatives, body.details)
        found = iter(await self.ask(request, task, lines))
        answers = [[next(found) if line.strip() else [] for line in part] for part in split]

        def text(answer: list[list[Any]], rank: int) -> str:
            return "\n".join(best[min(rank, len(best) - 1)].text if best else "" for best in answer)

        def form(values: list[Any]) -> Any:
            return values[0] if isinstance(body.q, str) else values

        result: dict[str, Any] = {"translatedText": form([text(answer, 0) for answer in answers])}
        if body.source.strip().lower() == "auto":
            detected = {"confidence": 100.0, "language": source}
            result["detectedLanguage"] = detected
        if body.alternatives:
            ranks = [range(1, max((len(best) for best in answer), default=0)) for answer in answers]
            rest = zip(answers, ranks, strict=True)
            result["alternatives"] = form([[text(answer, rank) for rank in known] for answer, known in rest])
        if body.details:
            result["details"] = form([[details(best) for best in answer] for answer in answers])
        return result

    async def score(self, request: Request, body: ScoreRequest) -> dict[str, Any]:
        """Scores of pairs."""
        _, translator = self.models.translator(body.source, body.target)
        sources = [body.q] if isinstance(body.q, str) else body.q
        targets = [body.translation] if isinstance(body.translation, str) else body.translation
        if type(body.q) is not type(body.translation) or len(sources) != len(targets):
            raise HTTPException(400, "give q and translation alike: two texts, or two lists of the same length")
        self.check_size([*sources, *targets], len(sources))
        found = await self.ask(request, ScorePairs(translator), list(zip(sources, targets, strict=True)))
        scores = [{"log_prob": score.log_prob, "tokens": score.tokens} for score in found]
        return {"scores": scores[0] if isinstance(body.q, str) else scores}

    async def classify(self, request: Request, body: ClassifyRequest) -> dict[str, Any]:
        """Labels of texts."""
        classifier = self.models.classifier(body.model)
        texts = [body.q] if isinstance(body.q, str) else body.q
        self.check_size(texts, len(texts))
        found = await self.ask(request, Classify(classifier, min(body.top_k, len(classifier.labels))), texts)
        labels = [[prediction._asdict() for prediction in best] for best in found]
        return {"labels": labels[0] if isinstance(body.q, str) else labels}

    def describe(self) -> dict[str, Any]:
        """What there is, for the page."""
        return {
            "translators": [{"source": s, "target": t} for s, t in self.models.translators],
            "classifiers": [{"name": n, "labels": len(c.labels)} for n, c in self.models.classifiers.items()],
            "max_characters": self.config.max_characters,
            "api_key": self.api_key is not None,
        }


async def _disconnected(request: Request) -> None:
    """Returns when the client has gone; the body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
