import random

from clarifai.notes.identity import match_blocks


def test_untouched_blocks_stay_wherever_they_move() -> None:
    assert match_blocks(["a", "b", "c"], ["c", "a", "b"]) == [2, 0, 1]


def test_an_edited_paragraph_is_the_same_block() -> None:
    old = ["# title", "the quick brown fox jumps over the dog", "last one"]
    new = ["# title", "the quick brown fox jumps over the cat", "last one"]
    assert match_blocks(old, new) == [0, 1, 2]


def test_a_rewritten_paragraph_is_a_new_block() -> None:
    assert match_blocks(["one two three four"], ["five six seven eight"]) == [None]


def test_an_inserted_block_takes_nobodys_identity() -> None:
    assert match_blocks(
        ["alpha beta gamma", "delta epsilon"], ["new words here", "alpha beta gamma", "delta epsilon"]
    ) == [
        None,
        0,
        1,
    ]


def test_equal_blocks_are_paired_in_order() -> None:
    assert match_blocks(["same", "same", "other"], ["same", "other", "same"]) == [0, 2, 1]


def test_the_likeliest_pair_is_made_first() -> None:
    old = ["red green blue yellow", "red green blue black"]
    new = ["red green blue black white"]
    assert match_blocks(old, new) == [1]


def test_no_block_is_given_twice_and_kept_text_is_always_found() -> None:
    chance = random.Random(4)
    words = [f"word{number}" for number in range(12)]
    for _ in range(300):
        old = [" ".join(chance.choices(words, k=chance.randint(1, 6))) for _ in range(chance.randint(0, 7))]
        new = chance.sample(old, chance.randint(0, len(old)))
        new += [" ".join(chance.choices(words, k=chance.randint(1, 6))) for _ in range(chance.randint(0, 3))]
        chance.shuffle(new)
        found = match_blocks(old, new)
        given = [index for index in found if index is not None]
        assert len(found) == len(new)
        assert len(given) == len(set(given))
        for text in set(old) & set(new):
            places = [position for position, other in enumerate(new) if other == text]
            exact = sum(found[place] is not None and old[found[place]] == text for place in places)  # type: ignore[index]
            assert exact == min(len(places), old.count(text))
