from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from clarifai.scheduler import summary
from clarifai.scheduler.prepare_vault import prepare
from clarifai.scheduler.slots import latest_slot, next_slot, read_crontab

NOON = datetime(2026, 3, 1, 12, 0, 5, tzinfo=UTC)  # a Sunday


@pytest.mark.parametrize(
    ("crontab", "latest", "following"),
    [
        ("*/10 * * * * *", "2026-03-01T12:00:00", "2026-03-01T12:00:10"),
        ("*/5 * * * *", "2026-03-01T12:00:00", "2026-03-01T12:05:00"),
        ("55 23 * * *", "2026-02-28T23:55:00", "2026-03-01T23:55:00"),
        ("0 6 * * 0", "2026-03-01T06:00:00", "2026-03-08T06:00:00"),
        ("0 6 * * 1-5", "2026-02-27T06:00:00", "2026-03-02T06:00:00"),
        ("0 0 1 1 *", "2026-01-01T00:00:00", "2027-01-01T00:00:00"),
    ],
)
def test_slots_are_moments_of_the_crontab(crontab: str, latest: str, following: str) -> None:
    trigger = read_crontab(crontab, "UTC")
    found = latest_slot(trigger, NOON)
    assert found is not None
    assert found.isoformat() == f"{latest}+00:00"
    assert next_slot(trigger, NOON).isoformat() == f"{following}+00:00"


def test_the_next_slot_is_never_the_one_that_is() -> None:
    trigger = read_crontab("* * * * * *", "UTC")
    slot = next_slot(trigger, NOON)
    assert next_slot(trigger, slot) - slot == timedelta(seconds=1)


def test_schedulers_started_at_different_moments_find_the_same_slots() -> None:
    trigger = read_crontab("*/10 * * * * *", "America/Sao_Paulo")
    assert len({next_slot(trigger, NOON + timedelta(milliseconds=part)) for part in range(0, 4990, 310)}) == 1


@pytest.mark.parametrize("crontab", ["* * *", "61 * * * *", "a b c d e"])
def test_a_schedule_nobody_can_read_is_refused(crontab: str) -> None:
    with pytest.raises(SystemExit, match="schedule"):
        read_crontab(crontab, "UTC")


def digest(**given: object) -> dict[str, object]:
    return {"notes": [], "concepts": [], "problems": [], **given}


def test_the_summary_names_notes_concepts_and_trouble() -> None:
    text = summary.render(
        "2026-03-01",
        digest(
            notes=[{"path": "a/b.md", "title": "B", "new": True, "blocks": 2, "claims": 1}],
            concepts=[{"name": "Vault", "claims": 3}],
            problems=[{"path": "bad.md", "reason": "line 1: not UTF-8"}],
        ),
    )
    assert text.startswith("---\ntitle: Summary of 2026-03-01\ngenerated: true\n---\n")
    for line in (
        "1 note written, 1 claim in them.",
        "- [[a/b|B]]: new, 1 claim",
        "- Vault: 3 claims",
        "- bad.md: line 1: not UTF-8",
    ):
        assert line in text.splitlines()


def test_a_summary_is_written_whole_and_once(tmp_path: Path) -> None:
    assert summary.write(tmp_path, "2026-03-01", "text\n")
    assert not summary.write(tmp_path, "2026-03-01", "text\n")
    assert summary.write(tmp_path, "2026-03-01", "other\n")
    assert [path.name for path in (tmp_path / "daily").iterdir()] == ["2026-03-01.md"]
    assert (tmp_path / "daily/2026-03-01.md").read_text() == "other\n"


def test_preparing_the_vault_twice_changes_nothing(tmp_path: Path) -> None:
    prepare(tmp_path, 10001)
    (tmp_path / "daily/kept.md").write_text("x")
    prepare(tmp_path, 10001)
    assert (tmp_path / "daily/kept.md").read_text() == "x"
