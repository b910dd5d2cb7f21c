"""What the server cards answer for tags: pure, no network."""

import re
from pathlib import Path

import pytest

from cais.catalog import find
from cais.catalog.api import Service
from cais.diag.api import CaisError
from cais.fetch.api import MavenArchive, MavenJars, Wheel


def recipe(image, **environment):
    module, ref = find.find(image)
    return module.recipe(ref, Service(environment, ()))


@pytest.mark.parametrize(
    "image, version, fidelity",
    [
        ("postgres:16", "16.15", "real"),
        ("postgres:16.4-alpine3.20", "16.15", "near"),
        ("postgres", "18.6", "real"),
        ("postgres:13-bookworm", "13.23", "real"),
        ("pgvector/pgvector:pg17", "17.11", "real"),
        ("pgvector/pgvector:0.8.0-pg16", "16.15", "real"),
        ("pgvector/pgvector:pg14", "16.15", "near"),
        ("postgis/postgis:17-3.5", "17", "real"),
        ("postgis/postgis:16-3.4-alpine", "17", "near"),
    ],
)
def test_the_major_version_of_a_postgres_tag_counts(image, version, fidelity):
    found = recipe(image)
    assert (dict(found.config.env)["PG_VERSION"], found.fidelity) == (version, fidelity)


@pytest.mark.parametrize("major, data, volume", [
    (17, "/var/lib/postgresql/data", "/var/lib/postgresql/data"),
    (18, "/var/lib/postgresql/18/docker", "/var/lib/postgresql"),
])  # fmt: skip
def test_postgres_18_keeps_its_data_where_its_image_does(major, data, volume):
    config = recipe(f"postgres:{major}").config
    assert (dict(config.env)["PGDATA"], config.volumes) == (data, (volume,))


@pytest.mark.parametrize("image", [
    "postgres:9.6", "postgres:19", "redis:4", "redis/redis-stack", "valkey/valkey:10", "nginx:2.0",
    "prom/prometheus:v1.8", "neo4j:3.5", "neo4j:5-enterprise",
])  # fmt: skip
def test_what_no_source_has_is_an_error_with_a_way_out(image):
    with pytest.raises(CaisError, match=re.escape(image)) as caught:
        recipe(image)
    assert caught.value.hint


@pytest.mark.parametrize("image, line", [
    ("neo4j:5", "5.26.30"), ("neo4j:5.13.0", "5.26.30"), ("neo4j", "2026.08.1"), ("neo4j:4.4-community", "4.4.48"),
    ("neo4j:2025.10", "2026.08.1"),
])  # fmt: skip
def test_a_neo4j_tag_is_the_newest_release_of_its_line(image, line):
    assert dict(recipe(image).config.env)["NEO4J_VERSION"] == line


def test_neo4j_plugins_are_programs_and_one_that_is_nowhere_is_an_error():
    names = [p.name for p in recipe("neo4j:5", NEO4J_PLUGINS='["apoc", "graph-data-science"]').programs]
    assert names[:2] == ["neo4j-apoc", "neo4j-graph-data-science"]
    with pytest.raises(CaisError, match="plugin apoc"):
        recipe("neo4j:2026.08", NEO4J_PLUGINS='["apoc"]')


@pytest.mark.parametrize("image", ["postgres:18", "postgres:14", "neo4j:5", "neo4j:4.4", "neo4j"])
def test_what_is_fetched_is_pinned_by_version_and_hash(image):
    module, _ = find.find(image)
    for program in recipe(image).programs:
        for source in program.sources:
            match source:
                case Wheel() | MavenArchive():
                    assert len(source.sha256) == 64
                case MavenJars():
                    text = Path(module.__file__).with_name(source.lock).read_text()
                    assert text.count('"sha256"') == text.count('"path"') > 5


@pytest.mark.parametrize("image", ["postgres:16", "redis", "valkey/valkey:8", "nginx", "prom/prometheus", "neo4j"])
def test_a_program_that_differs_says_how(image):
    found = recipe(image)
    assert found.fidelity == "real" or found.differs
    assert found.config.entrypoint and found.config.exposed_ports
