"""When a job is due. A slot is a moment of its crontab, so every scheduler finds the same ones, whenever it started."""

from datetime import datetime, timedelta

from apscheduler.triggers.cron import CronTrigger

BACK = [timedelta(minutes=1), timedelta(hours=1), timedelta(days=1), timedelta(days=31), timedelta(days=366)]
FIELDS = ("second", "minute", "hour", "day", "month", "day_of_week")


def read_crontab(text: str, timezone: str) -> CronTrigger:
    """Five fields as in crontab(5), or six with the seconds first: `*/10 * * * * *`."""
    parts = text.split()
    if len(parts) == 5:
        parts.insert(0, "0")
    if len(parts) != 6:
        raise SystemExit(f"a schedule has five or six fields, not {len(parts)}: {text!r}")
    try:
        return CronTrigger(timezone=timezone, **dict(zip(FIELDS, map(named_days, FIELDS, parts), strict=True)))
    except (ValueError, LookupError) as error:
        raise SystemExit(f"cannot read the schedule {text!r} in time zone {timezone!r}: {error}") from error


def named_days(field: str, part: str) -> str:
    """crontab counts Sunday as 0 or 7, APScheduler Monday as 0: names mean the same day to both."""
    if field != "day_of_week" or not part.replace(",", "").replace("-", "").isdigit():
        return part
    names = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")
    return "".join(names[int(letter)] if letter.isdigit() else letter for letter in part)


def next_slot(trigger: CronTrigger, after: datetime) -> datetime:
    """The first slot later than `after`."""
    slot: datetime | None = trigger.get_next_fire_time(None, after + timedelta(microseconds=1))
    assert slot is not None, "a crontab without an end always has a next time"
    return slot


def latest_slot(trigger: CronTrigger, now: datetime) -> datetime | None:
    """The last slot that is not later than `now`; None when there was none within a year."""
    for back in BACK:
        slot: datetime | None = trigger.get_next_fire_time(None, now - back)
        if slot is None or slot > now:
            continue
        while (following := next_slot(trigger, slot)) <= now:
            slot = following
        return slot
    return None
