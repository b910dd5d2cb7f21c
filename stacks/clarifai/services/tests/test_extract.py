import pytest

from clarifai.notes.extract import claims_of, concept_key, concepts_of
from clarifai.notes.markdown import Block


def claims(text: str, kind: str = "paragraph") -> list[tuple[str, tuple[str, ...]]]:
    return [tuple(claim) for claim in claims_of(Block(kind, "", text))]


@pytest.mark.parametrize(
    ("sentence", "concepts"),
    [
        ("We link to [[Graph Database|graphs]] and [[A#part]] here.", ("Graph Database",)),
        ("Tags such as #embedding and #área/sub work, #1 does not.", ("embedding", "área/sub")),
        ("It is **very important** and `pgvector` too.", ("pgvector", "very important")),
        ("The Bank of England met Maria Souza in Lisbon.", ("Bank of England", "Maria Souza", "Lisbon")),
        ("Neo4j holds it.", ("Neo4j",)),
        ("Whatever begins a sentence is grammar.", ()),
        ("O João Pereira mede o tempo.", ("João Pereira",)),
        ("The [[Vault]] is the vault and the [[vault]].", ("Vault",)),
    ],
)
def test_what_the_writer_marked_or_named_is_a_concept(sentence: str, concepts: tuple[str, ...]) -> None:
    assert concepts_of(sentence) == concepts


def test_a_claim_is_a_sentence_that_states_something_about_a_concept() -> None:
    text = "The [[Vault]] holds all notes. Does [[Neo4j]] hold them too? Nothing is named here at all. See [[X]]."
    assert claims(text) == [("The Vault holds all notes.", ("Vault",))]


def test_each_item_of_a_list_is_read_alone() -> None:
    text = "- the **first thing** is here\n- the **second thing**\n  goes on"
    assert [concepts for _, concepts in claims(text, "list")] == [("first thing",), ("second thing",)]


def test_an_abbreviation_ends_no_sentence() -> None:
    text = "We asked Dr. Helena Costa about it. She knew [[Graphs]] very well."
    assert [text for text, _ in claims(text)] == ["We asked Dr. Helena Costa about it.", "She knew Graphs very well."]


@pytest.mark.parametrize("kind", ["code", "heading"])
def test_code_and_headings_claim_nothing(kind: str) -> None:
    assert claims("The [[Vault]] holds all notes.", kind) == []


def test_one_name_has_one_key_however_it_is_written() -> None:
    assert (
        len({concept_key(text) for text in ("Graph Database", "graph-database", "GRAPH  DATABASE", "graph_database")})
        == 1
    )
