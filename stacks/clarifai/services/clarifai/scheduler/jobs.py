"""The three jobs. Each asks core to do the work, may be run again at any time, and says what it did."""

from collections.abc import Callable
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger

from clarifai.coreclient import Core
from clarifai.environment import setting
from clarifai.scheduler import summary
from clarifai.scheduler.slots import read_crontab


class Job(NamedTuple):
    name: str
    does: str
    crontab: str
    trigger: CronTrigger
    work: Callable[[datetime], dict[str, Any]]  # the slot -> what was done


def all_jobs(core: Core, vault: Path) -> list[Job]:
    timezone = setting("TZ", "UTC")
    zone = ZoneInfo(timezone)

    def re_embed(_: datetime) -> dict[str, Any]:
        return dict(core.call("POST", "/maintenance/re-embed"))

    def merge_concepts(_: datetime) -> dict[str, Any]:
        return dict(core.call("POST", "/maintenance/merge-concepts"))

    def summarise(slot: datetime) -> dict[str, Any]:
        return write_summary(core, vault, slot.astimezone(zone))

    return [
        Job(name, does, crontab, read_crontab(crontab, timezone), work)
        for name, does, crontab, work in (
            ("re-embed", "embeds blocks whose vector is missing or of another model",
             setting("REEMBED_CRON", "*/10 * * * * *"), re_embed),
            ("merge-concepts", "makes one concept of two spellings",
             setting("MERGE_CRON", "*/5 * * * *"), merge_concepts),
            ("daily-summary", "writes a note about the day into the vault",
             setting("SUMMARY_CRON", "55 23 * * *"), summarise),
        )
    ]  # fmt: skip


def write_summary(core: Core, vault: Path, slot: datetime) -> dict[str, Any]:
    """About the day the slot lies in, from its midnight to the next, in the stack's time zone."""
    since = datetime.combine(slot.date(), time(), slot.tzinfo)
    until = datetime.combine(slot.date() + timedelta(days=1), time(), slot.tzinfo)
    query = urlencode({"since": since.isoformat(), "until": until.isoformat()})
    day = slot.date().isoformat()
    text = summary.render(day, core.call("GET", f"/digest?{query}"))
    return {"note": f"{summary.FOLDER}/{day}.md", "written": summary.write(vault, day, text)}
