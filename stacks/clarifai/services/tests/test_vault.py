import os
from pathlib import Path

import pytest

from clarifai.watcher.agenda import BACKOFF, PATIENCE, QUIET, Agenda
from clarifai.watcher.vault import Digests, Unreadable, compare, is_note, read, shown, walk


@pytest.mark.parametrize(
    ("path", "note"),
    [
        ("a.md", True),
        ("dir/a.md", True),
        ("a.txt", False),
        (".a.md", False),
        (".obsidian/a.md", False),
        ("a.md~", False),
    ],
)
def test_which_files_are_notes(path: str, note: bool) -> None:
    assert is_note(path) is note


def test_walking_finds_every_note_and_an_absent_vault_is_not_an_empty_one(tmp_path: Path) -> None:
    for name in ("b.md", "sub/a.md", ".git/x.md", "c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert list(walk(tmp_path)) == ["b.md", "sub/a.md"]
    with pytest.raises(OSError):
        list(walk(tmp_path / "gone"))


def test_a_link_a_folder_and_a_pipe_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "link.md").symlink_to("/etc/hostname")
    (tmp_path / "folder.md").mkdir()
    os.mkfifo(tmp_path / "pipe.md")
    for name in ("link.md", "folder.md", "pipe.md"):
        with pytest.raises(Unreadable):
            read(tmp_path, name, 100)
    assert read(tmp_path, "none.md", 100) is None


def test_reading_stops_one_byte_after_the_largest_note(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_bytes(b"x" * 50)
    assert read(tmp_path, "a.md", 10) == b"x" * 11


def test_a_name_that_is_no_text_can_be_shown() -> None:
    assert shown(os.fsdecode(b"caf\xe9.md")) == "caf\\xe9.md"


def test_the_same_content_under_a_new_name_is_a_rename() -> None:
    changes = compare({"new.md": "1", "kept.md": "2"}, {"old.md": "1", "kept.md": "2"})
    assert changes == ((), (("old.md", "new.md"),), ())


def test_a_copy_is_no_rename() -> None:
    assert compare({"a.md": "1", "copy.md": "1"}, {"a.md": "1"}) == (("copy.md",), (), ())


def test_one_vanished_file_is_renamed_once() -> None:
    changes = compare({"x.md": "1", "y.md": "1"}, {"old.md": "1"})
    assert changes == (("y.md",), (("old.md", "x.md"),), ())


def test_what_cannot_be_read_is_looked_at_and_nothing_of_it_is_deleted() -> None:
    assert compare({"a.md": None}, {"a.md": "1", "b.md": "2"}) == (("a.md",), (), ("b.md",))


def test_a_digest_follows_the_file(tmp_path: Path) -> None:
    digests = Digests(tmp_path, 1000)
    (tmp_path / "a.md").write_text("one")
    first = digests.all()
    (tmp_path / "a.md").write_text("two!")
    assert first.keys() == digests.all().keys()
    assert first != digests.all()


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_file_is_looked_at_once_when_it_is_quiet() -> None:
    clock = Clock()
    agenda = Agenda(clock)
    agenda.look_at("a.md")
    clock.now += QUIET / 2
    agenda.look_at("a.md")
    assert agenda.take() == []
    clock.now += QUIET
    assert agenda.take() == ["a.md"]
    assert agenda.take() == []


def test_a_file_that_never_rests_is_looked_at_nevertheless() -> None:
    clock = Clock()
    agenda = Agenda(clock)
    taken = []
    for _ in range(40):
        agenda.look_at("a.md")
        clock.now += QUIET / 2
        taken += agenda.take()
    assert len(taken) >= 2
    assert QUIET < PATIENCE


def test_what_failed_comes_back_later_each_time_and_an_event_brings_it_sooner() -> None:
    clock = Clock()
    agenda = Agenda(clock)
    for pause in (*BACKOFF, BACKOFF[-1]):
        agenda.again("a.md")
        clock.now += pause - 0.01
        assert agenda.take() == []
        clock.now += 0.02
        assert agenda.take() == ["a.md"]
    agenda.again("a.md")
    agenda.look_at("a.md")
    clock.now += QUIET + 0.01
    assert agenda.take() == ["a.md"]


def test_moves_keep_their_order() -> None:
    agenda = Agenda(Clock())
    agenda.move("a.md", "b.md")
    agenda.move("b.md", "c.md")
    assert agenda.next_move() == ("a.md", "b.md")
    agenda.move_done()
    assert agenda.next_move() == ("b.md", "c.md")
