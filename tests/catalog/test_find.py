"""Image references and the cards that answer for them."""

import pytest

from cais.catalog import find
from cais.diag.api import CaisError
from cais.source.api import Span


@pytest.mark.parametrize(
    ("text", "registry", "name", "tag", "digest"),
    [
        ("postgres", "", "postgres", "latest", ""),
        ("postgres:16-alpine", "", "postgres", "16-alpine", ""),
        ("docker.io/library/redis:7", "", "redis", "7", ""),
        ("pgvector/pgvector:pg16", "", "pgvector/pgvector", "pg16", ""),
        ("localhost:5000/team/app", "localhost:5000", "team/app", "latest", ""),
        ("ghcr.io/astral-sh/uv:0.5", "ghcr.io", "astral-sh/uv", "0.5", ""),
        ("mirror.example/docker/library/python:3.13", "mirror.example", "python", "3.13", ""),
        ("neo4j@sha256:" + "a" * 64, "", "neo4j", "", "sha256:" + "a" * 64),
        ("neo4j:5@sha256:" + "a" * 64, "", "neo4j", "5", "sha256:" + "a" * 64),
    ],
)
def test_references_are_taken_apart(text: str, registry: str, name: str, tag: str, digest: str) -> None:
    assert find.parse(text)[:5] == (text, registry, name, tag, digest)


@pytest.mark.parametrize("text", ["", "Postgres:16", "a b", "postgres:", "postgres:16:17", "/x", "x@sha256:zz", "x/"])
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(CaisError, match="cannot read the image reference"):
        find.parse(text)


def test_an_unknown_image_is_named_with_service_place_and_ways_out() -> None:
    span = Span("compose.yaml", 4, 12)
    with pytest.raises(CaisError) as caught:
        find.find("grafana/grafana:11", span, service="dashboards")
    error = caught.value
    assert error.message == "cannot run service dashboards natively: no card knows the image grafana/grafana:11"
    assert error.span == span
    for way in ("build:", "x-cais", "Docker Compose"):
        assert way in error.hint


def test_a_slip_of_the_finger_is_seen() -> None:
    with pytest.raises(CaisError, match="did you mean python"):
        find.find("pyhton:3.13")


def test_another_teams_image_of_a_known_name_is_not_taken_for_it() -> None:
    assert find.card_for(find.parse("mycompany/python:3.13")) is None


def test_every_image_a_card_names_finds_that_card() -> None:
    for module in find.cards():
        for image in module.CARD.images:
            found = find.card_for(find.parse(image.replace("*", "x")))
            assert found is not None and found.CARD.name == module.CARD.name, image


def test_no_two_cards_have_one_name() -> None:
    names = [module.CARD.name for module in find.cards()]
    assert sorted(set(names)) == sorted(names)
