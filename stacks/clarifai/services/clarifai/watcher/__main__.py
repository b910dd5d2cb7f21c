"""`python -m clarifai.watcher`: what happens in the vault folder happens in clarifai-core.

Events come from the kernel (watchdog: inotify). They may be missed: the watcher was down, the queue overflowed, the
folder is a mount that sends none. So the whole vault is compared with what core knows at the start and every
VAULT_RESCAN_SECONDS, and that comparison alone would be enough.
"""

import logging
import os
import signal
import threading
import time
from pathlib import Path

from prometheus_client import Counter, Gauge
from watchdog.events import DirMovedEvent, FileMovedEvent, FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from clarifai import coreclient, jsonlog
from clarifai.coreclient import Core, CoreAway, CoreRefused, note_path
from clarifai.environment import number, setting
from clarifai.notes.markdown import LARGEST
from clarifai.statuspage import Answer, Request, ready_answer, serve
from clarifai.watcher.agenda import Agenda
from clarifai.watcher.vault import Digests, Unreadable, compare, is_note, read, shown

log = logging.getLogger("clarifai.watcher")

EVENTS = Counter("clarifai_vault_events_total", "Events of the vault folder that concern notes")
SENT = Counter("clarifai_vault_sent_total", "Requests core accepted", ["what"])
REFUSED = Counter("clarifai_vault_refused_total", "Files core or the watcher could not read as notes")
PENDING = Gauge("clarifai_vault_pending", "Paths that wait to be looked at")


class Events(FileSystemEventHandler):
    """watchdog calls this in its own thread; everything goes to the agenda."""

    def __init__(self, vault: Path, agenda: Agenda, rescan: threading.Event) -> None:
        self.vault, self.agenda, self.rescan = str(vault), agenda, rescan

    def relative(self, path: bytes | str) -> str:
        return os.path.relpath(os.fsdecode(path), self.vault)

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type in ("opened", "closed_no_write"):
            return
        if event.is_directory:
            # What lies in a folder that came, went or moved is found by comparing.
            if event.event_type != "modified":
                self.rescan.set()
                if not isinstance(event, DirMovedEvent):
                    return
            return
        old = self.relative(event.src_path)
        new = self.relative(event.dest_path) if isinstance(event, FileMovedEvent) else old
        if is_note(old) or is_note(new):
            EVENTS.inc()
        if old != new and is_note(old) and is_note(new):
            self.agenda.move(old, new)
            return
        for path in {old, new}:
            if is_note(path):
                self.agenda.look_at(path)


class Watcher:
    def __init__(self, vault: Path, core: Core, rescan_every: float) -> None:
        self.vault, self.core, self.rescan_every = vault, core, rescan_every
        self.agenda = Agenda()
        self.digests = Digests(vault, LARGEST)
        self.rescan = threading.Event()
        self.stopping = threading.Event()
        self.refused: dict[str, str | None] = {}  # path -> what it held when it was refused: said once, not every time
        self.trouble: str | None = "the first comparison with core is not done"

    def run(self) -> None:
        observer = Observer()
        observer.schedule(Events(self.vault, self.agenda, self.rescan), str(self.vault), recursive=True)
        observer.start()
        log.info("watching", extra={"vault": str(self.vault)})
        compared = float("-inf")
        while not self.stopping.is_set():
            if self.rescan.is_set() or time.monotonic() - compared > self.rescan_every:
                self.rescan.clear()
                if self.reconcile():
                    compared = time.monotonic()
                else:
                    self.stopping.wait(0.25)
            self.work()
            PENDING.set(len(self.agenda))
            self.agenda.wait(0.25)
        observer.stop()
        log.info("stopped", extra={"pending": len(self.agenda)})

    def reconcile(self) -> bool:
        """Compares the whole vault with what core knows. False when one of them does not answer."""
        try:
            here = self.digests.all()
            known = self.core.call("GET", "/notes")
            solved = [row["path"] for row in self.core.call("GET", "/problems") if row["path"] not in here]
            changes = compare(here, known)
            for old, new in changes.moved:
                self.core.call("POST", "/moves", {"old": old, "new": new})
        except (OSError, CoreAway, CoreRefused) as error:
            if self.trouble != str(error):
                log.info("waiting", extra={"reason": str(error)})
            self.trouble = str(error)
            return False
        for path in (*changes.changed, *changes.deleted, *solved):
            if path not in self.refused or self.refused[path] != here.get(path, "gone"):
                self.agenda.look_at(path)
        if any(changes):
            log.info("compared", extra={"notes": len(here), **{k: len(v) for k, v in changes._asdict().items()}})
        self.trouble = None
        return True

    def work(self) -> None:
        while (move := self.agenda.next_move()) and not self.stopping.is_set():
            try:
                moved = self.core.call("POST", "/moves", {"old": move[0], "new": move[1]})
                log.info("moved", extra={"path": shown(move[1]), "was": shown(move[0]), "known": moved["moved"]})
                SENT.labels("move").inc()
            except (CoreRefused, UnicodeEncodeError) as error:
                log.warning("move refused", extra={"path": shown(move[1]), "reason": str(error)})
                self.rescan.set()
            except CoreAway as error:
                # Nothing overtakes a rename: sent first, the new path would become a new note.
                log.info("core is away", extra={"path": shown(move[1]), "reason": str(error)})
                self.trouble = str(error)
                self.rescan.set()
                return
            self.agenda.move_done()
        for path in self.agenda.take():
            if self.stopping.is_set():
                return
            self.send(path)

    def send(self, path: str) -> None:
        """Core gets what the file holds now, or that it is gone."""
        try:
            name = note_path(path)
        except UnicodeEncodeError:
            self.report(path, "its name is not UTF-8")
            return
        try:
            raw = read(self.vault, path, LARGEST)
            if raw is None:
                answer = self.core.call("DELETE", name)
                if answer["deleted"]:
                    log.info("deleted", extra={"path": path})
                    SENT.labels("delete").inc()
            else:
                answer = self.core.call("PUT", name, raw)
                if answer["changed"]:
                    log.info("sent", extra={"path": path, **answer})
                    SENT.labels("put").inc()
            self.agenda.done(path)
            self.refused.pop(path, None)
        except Unreadable as error:
            self.report(path, str(error))
        except CoreRefused as error:
            REFUSED.inc()
            log.warning("file refused", extra={"path": path, "reason": str(error)})
            self.refused[path] = self.digests.of(path)
            self.agenda.done(path)
        except CoreAway as error:
            log.info("core is away", extra={"path": path, "reason": str(error)})
            self.agenda.again(path)

    def report(self, path: str, reason: str) -> None:
        REFUSED.inc()
        log.warning("file refused", extra={"path": shown(path), "reason": reason})
        try:
            self.core.call("PUT", "/problems", {"path": shown(path), "reason": reason})
            self.refused[path] = self.digests.of(path)
            self.agenda.done(path)
        except (CoreAway, CoreRefused):
            self.agenda.again(path)

    def ready(self, _: Request) -> Answer:
        return ready_answer({"vault": self.trouble, "core": self.core.state()})

    def status(self, _: Request) -> Answer:
        return Answer(200, {"vault": str(self.vault), "pending": len(self.agenda), "trouble": self.trouble})


def main() -> None:
    jsonlog.set_up("vault-watcher", setting("LOG_LEVEL", "INFO"))
    vault = Path(setting("VAULT_PATH", "/vault"))
    watcher = Watcher(vault, coreclient.from_environment(), number("VAULT_RESCAN_SECONDS", 30))
    for wanted in (signal.SIGTERM, signal.SIGINT):
        signal.signal(wanted, lambda *_: watcher.stopping.set())
    serve(int(number("PORT", 8002)), {"/ready": watcher.ready, "/status": watcher.status})
    watcher.run()


if __name__ == "__main__":
    main()
