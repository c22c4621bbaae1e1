"""What a server does with a request, without HTTP: keys, sizes, the form of answers."""

from __future__ import annotations

import pytest
from fastapi import HTTPException, Request
from pydantic import ValidationError

from seq2seq.config import ServingConfig
from seq2seq.serving.catalog import Catalog
from seq2seq.serving.service import ClassifyRequest, Service, TranslateRequest

NOBODY = Catalog({("en", "fr"): None}, {})  # nothing here gets as far as a model


@pytest.fixture
def service():
    service = Service(NOBODY, ServingConfig(max_characters=10, queue_size=3), "kéy")
    yield service
    service.batcher.close()


def request(authorization: bytes = b"", query: bytes = b"") -> Request:
    return Request({"type": "http", "headers": [(b"authorization", authorization)], "query_string": query})


@pytest.mark.parametrize(
    ("given", "header", "query", "right"),
    [
        ("kéy", b"", b"", True),
        (None, "Bearer kéy".encode(), b"", True),
        (None, "bearer kéy".encode(), b"", True),
        (None, b"", b"api_key=k%C3%A9y", True),
        (None, "Basic kéy".encode(), b"", False),
        ("wrong", "Bearer kéy".encode(), b"", False),  # what stands nearest to the text counts
        ("kéy\ud800", b"", b"", False),
        (None, b"", b"", False),
        ("", b"Bearer", b"api_key=", False),
    ],
)
def test_a_key_may_come_in_three_places(service, given, header, query, right):
    if right:
        service.authorize(request(header, query), given)
        return
    with pytest.raises(HTTPException) as caught:
        service.authorize(request(header, query), given)
    assert caught.value.status_code == 403


def test_without_a_key_all_are_let_in():
    service = Service(NOBODY, ServingConfig(), None)
    service.authorize(request(), "anything")
    service.batcher.close()


def test_sizes(service):
    service.check_size(["x" * 5, "y" * 5], 3)
    for texts, lines in ((["x" * 6, "y" * 5], 1), (["x"], 4)):
        with pytest.raises(HTTPException) as caught:
            service.check_size(texts, lines)
        assert caught.value.status_code == 413


def test_values_of_forms_are_strings():
    asked = TranslateRequest(q="a", target="fr", alternatives="3", details="true")
    assert (asked.alternatives, asked.details, asked.source) == (3, True, "auto")
    assert ClassifyRequest(q="a", top_k="2").top_k == 2
    for wrong in ({"alternatives": "-1"}, {"alternatives": "many"}, {"details": "perhaps"}):
        with pytest.raises(ValidationError):
            TranslateRequest(q="a", target="fr", **wrong)
