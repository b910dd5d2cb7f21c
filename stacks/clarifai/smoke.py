#!/usr/bin/env python3
"""The smoke flow of ClarifAI: uses the running stack from outside, as its user would, and says what it saw.

    python3 smoke.py [--vault DIR] [--core-port N] [--scheduler-port N] [--neo4j-http-port N] [--neo4j-bolt-port N]
                     [--postgres-port N] [--soon SECONDS] [--production]

Ports and credentials come from the environment, then from `.env` beside this file, then from `.env.example`.
It writes notes named `smoke-….md` into the vault and removes them. Standard library only.
Exit 0: all well; 1: it says what failed.
"""

import argparse
import base64
import http.client
import json
import os
import re
import secrets
import socket
import struct
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

HERE = Path(__file__).resolve().parent
soon = 3.0  # seconds in which a saved file must be searchable (--soon)
GRAPH = 15.0  # the graph follows the text; on a fresh Neo4j, or a busy machine, a little later
STARTED = time.monotonic()


class Failed(Exception):
    pass


def say(text: str) -> None:
    print(f"{time.monotonic() - STARTED:6.2f}s  {text}", flush=True)


def fail(text: str) -> NoReturn:
    raise Failed(text)


# What the stack was told: .env, and the environment over it.


def read_env(path: Path) -> dict[str, str]:
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        if pair := re.match(r"\s*(?:export\s+)?([A-Za-z_]\w*)=(.*)$", line):
            value = pair[2].strip()
            found[pair[1]] = value[1:-1] if value[:1] in ("'", '"') and value[-1:] == value[:1] else value
    return found


def settings() -> dict[str, str]:
    return {**read_env(HERE / ".env.example"), **read_env(HERE / ".env"), **os.environ}


# Asking over HTTP.


class Api:
    def __init__(self, name: str, address: str, headers: dict[str, str] | None = None) -> None:
        self.name, self.address, self.headers = name, address, headers or {}

    def ask(self, path: str, body: Any = None, method: str | None = None) -> tuple[int, Any]:
        """Status and decoded answer; a connection that fails is status 0."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Accept": "application/json", **self.headers}
        request = urllib.request.Request(self.address + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                status, text = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode()
        except (OSError, http.client.HTTPException) as error:
            return 0, str(error)
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text

    def get(self, path: str) -> Any:
        status, answer = self.ask(path)
        return answer if status == 200 else fail(f"{self.name}: GET {path} gave {status}: {answer}")


def until(what: str, look: Callable[[], Any], within: float | None = None) -> tuple[Any, float]:
    """Asks again and again until the answer is something; gives it and the seconds it took."""
    begun = time.monotonic()
    within = within or soon
    while True:
        if found := look():
            return found, time.monotonic() - begun
        if time.monotonic() - begun > within:
            fail(f"{what}: not within {within:g} s")
        time.sleep(0.05)


# The flow.


class Smoke:
    def __init__(self, options: argparse.Namespace, values: dict[str, str]) -> None:
        token = {"Authorization": f"Bearer {values['CORE_TOKEN']}"}
        self.core = Api("core", f"http://{options.host}:{options.core_port}")
        self.scheduler = Api("scheduler", f"http://{options.host}:{options.scheduler_port}", token)
        login = base64.b64encode(values["NEO4J_AUTH"].replace("/", ":", 1).encode()).decode()
        self.neo4j = Api(
            "neo4j", f"http://{options.host}:{options.neo4j_http_port}", {"Authorization": f"Basic {login}"}
        )
        self.options, self.vault = options, options.vault
        # A word of its own in every run: what it finds it wrote itself.
        self.mark = "zq" + secrets.token_hex(4)
        self.concept = f"Smoke {self.mark.capitalize()}"
        self.note = f"smoke-{self.mark}.md"
        self.renamed = f"smoke-{self.mark}-renamed.md"
        self.bad = f"smoke-{self.mark}-bad.md"

    def run(self) -> None:
        try:
            self.everything_answers()
            self.note_is_found()
            self.one_paragraph_is_edited()
            self.file_is_renamed()
            self.bad_file_is_reported()
            self.jobs_run()
            self.file_is_deleted()
        finally:
            for name in (self.note, self.renamed, self.bad):
                (self.vault / name).unlink(missing_ok=True)

    def everything_answers(self) -> None:
        for api in (self.core, self.scheduler):
            ready, took = until(f"{api.name} is ready", lambda api=api: self.ready(api), within=self.options.wait)
            say(f"{api.name} is ready: {', '.join(f'{k} {v}' for k, v in ready['checks'].items())} ({took:.2f} s)")
            if api.ask("/health")[0] != 200:
                fail(f"{api.name}: /health does not answer 200")
            metrics = api.get("/metrics")
            say(f"{api.name} /metrics: {sum(line[:1] not in ('#', '') for line in metrics.splitlines())} values")
        if self.options.production:
            return
        found = self.neo4j.get("/")
        say(f"Neo4j {found.get('neo4j_version')} answers on HTTP port {self.options.neo4j_http_port}")
        say(f"Neo4j speaks Bolt {self.bolt_version()} on port {self.options.neo4j_bolt_port}")
        say(f"Postgres on port {self.options.postgres_port} asks for {self.postgres_greeting()}")

    def ready(self, api: Api) -> Any:
        status, answer = api.ask("/ready")
        return answer if status == 200 else None

    def bolt_version(self) -> str:
        """The handshake of the Bolt protocol: magic, four versions we would speak, the one the server chose."""
        with socket.create_connection((self.options.host, self.options.neo4j_bolt_port), timeout=5) as connection:
            connection.sendall(b"\x60\x60\xb0\x17" + struct.pack(">4I", 0x00080805, 0x00020404, 0, 0))
            answer = connection.recv(4)
        return f"{answer[3]}.{answer[2]}" if len(answer) == 4 and any(answer) else fail("Neo4j: no Bolt handshake")

    def postgres_greeting(self) -> str:
        """A startup message of protocol 3.0; the server answers with the kind of authentication it wants."""
        body = struct.pack(">I", 196608) + b"user\0clarifai\0database\0clarifai\0\0"
        with socket.create_connection((self.options.host, self.options.postgres_port), timeout=5) as connection:
            connection.sendall(struct.pack(">I", len(body) + 4) + body)
            answer = connection.recv(64)
        if answer[:1] != b"R":
            fail(f"Postgres: no authentication request, but {answer!r}")
        kind = struct.unpack(">I", answer[5:9])[0]
        return {10: "a password (SCRAM-SHA-256)", 5: "a password (MD5)", 0: "no password"}.get(kind, f"method {kind}")

    def write(self, name: str, content: str | bytes) -> None:
        raw = content.encode() if isinstance(content, str) else content
        (self.vault / name).write_bytes(raw)
        (self.vault / name).chmod(0o644)

    def find(self, q: str, path: str) -> Any:
        status, answer = self.core.ask(f"/search?q={urllib.parse.quote(q)}")
        hits = answer["hits"] if status == 200 else []
        return next((hit for hit in hits if hit["note"]["path"] == path), None)

    def text(self, second: str) -> str:
        return (
            f"# Smoke of {self.mark}\n\n"
            f"The [[{self.concept}]] keeps lighthouse keepers awake near Lisbon.\n\n{second}\n\n"
            f"- A third paragraph of {self.mark} stays as it is.\n"
        )

    def note_is_found(self) -> None:
        self.write(self.note, self.text(f"Every **Foghorn {self.mark}** is heard on Mondays."))
        hit, took = until("a saved note is found", lambda: self.find(f"lighthouse keepers {self.mark}", self.note))
        say(f"{self.note} saved; search finds its block {took:.2f} s later, score {hit['score']}")
        if "lighthouse" not in hit["block"]["text"] or self.concept not in hit["concepts"]:
            fail(f"search: the wrong block or concepts: {hit}")
        say(f"its concepts: {', '.join(hit['concepts'])}")
        concept, took = until("its concept is in the graph", self.show_concept, within=GRAPH)
        if [claim["note"] for claim in concept["claims"]] != [self.note]:
            fail(f"concept: not linked to the one claim: {concept}")
        claim, related = concept["claims"][0]["text"], len(concept["related"])
        say(f"concept {self.concept!r}: {claim!r}, related to {related} more ({took:.2f} s)")

    def show_concept(self) -> Any:
        status, answer = self.core.ask(f"/concepts/{urllib.parse.quote(self.concept)}")
        return answer if status == 200 else None

    def show(self, path: str) -> Any:
        return self.core.get("/notes/" + path)

    def one_paragraph_is_edited(self) -> None:
        before = self.show(self.note)
        embedded = self.embedded()
        self.write(self.note, self.text(f"Every **Foghorn {self.mark}** is heard on Tuesdays."))
        _, took = until("an edit is found", lambda: "Tuesdays" in json.dumps(self.show(self.note)))
        after = self.show(self.note)
        revised = [b["text"] for a, b in zip(before["blocks"], after["blocks"], strict=True) if a != b]
        if [b["id"] for b in before["blocks"]] != [b["id"] for b in after["blocks"]]:
            fail("edit: a block lost its identity")
        if len(revised) != 1 or self.embedded() - embedded != 1:
            fail(f"edit: {len(revised)} blocks changed, {self.embedded() - embedded} embedded, not one")
        many = len(after["blocks"])
        say(f"one paragraph edited: 1 of {many} blocks embedded again, all identities kept ({took:.2f} s)")

    def embedded(self) -> int:
        found = re.search(r'^clarifai_blocks_embedded_total\{cause="written"\} (\S+)', self.core.get("/metrics"), re.M)
        return int(float(found[1])) if found else 0

    def file_is_renamed(self) -> None:
        before = self.show(self.note)
        (self.vault / self.note).rename(self.vault / self.renamed)
        _, took = until("a renamed note is found", lambda: self.core.ask("/notes/" + self.renamed)[0] == 200)
        after = self.show(self.renamed)
        if (after["id"], after["blocks"]) != (before["id"], before["blocks"]):
            fail("rename: identities changed")
        if self.core.ask("/notes/" + self.note)[0] != 404:
            fail("rename: the old path is still there")
        say(f"renamed to {self.renamed}: same note, same blocks, nothing embedded ({took:.2f} s)")

    def bad_file_is_reported(self) -> None:
        self.write(self.bad, b"# Bad\n\nThis is Latin-1: caf\xe9.\n")
        problem, took = until("a bad file is reported", lambda: self.problem(self.bad))
        say(f"{self.bad} is reported: {problem!r} ({took:.2f} s)")
        if not self.find(f"lighthouse keepers {self.mark}", self.renamed):
            fail("bad file: the good ones are not found any more")
        self.write(self.bad, f"# Good again\n\nThe [[{self.concept}]] is written in whole now.\n")
        until("a mended file is found", lambda: self.find(f"Good again {self.mark}", self.bad))
        if self.problem(self.bad):
            fail("bad file: mended, and still reported")
        (self.vault / self.bad).unlink()
        until("a deleted file is gone", lambda: self.core.ask("/notes/" + self.bad)[0] == 404)
        say("the others went on; mended it was read, and the report was gone")

    def problem(self, path: str) -> str | None:
        return next((row["reason"] for row in self.core.get("/problems") if row["path"] == path), None)

    def jobs_run(self) -> None:
        for name in ("merge-concepts", "daily-summary"):
            status, answer = self.scheduler.ask(f"/jobs/{name}/run", method="POST")
            if status != 200 or answer["outcome"] != "done":
                fail(f"job {name}: {status} {answer}")
            say(f"job {name}, asked for: {answer['detail']}")
            if name == "daily-summary":
                note = answer["detail"]["note"]
                if self.renamed.removesuffix(".md") not in (self.vault / note).read_text(encoding="utf-8"):
                    fail(f"daily summary: {note} in the vault does not name today's note")
                until("the summary is found by search", lambda note=note: self.find("Summary of the day", note))
        job, _ = until("a job runs by its schedule", self.scheduled_run, within=25)
        last = job["last_run"]
        say(f"job {job['name']} ({job['schedule']}): last run {last['slot']} {last['outcome']}, next {job['next_run']}")

    def scheduled_run(self) -> Any:
        jobs = {job["name"]: job for job in self.scheduler.get("/jobs")["jobs"]}
        if missing := [name for name, job in jobs.items() if not job["next_run"]]:
            fail(f"jobs without a next run: {missing}")
        job = jobs["re-embed"]
        last = job["last_run"]
        return job if last and last["cause"] == "schedule" and last["outcome"] == "done" else None

    def file_is_deleted(self) -> None:
        (self.vault / self.renamed).unlink()
        _, took = until("a deleted note is gone", lambda: self.core.ask("/notes/" + self.renamed)[0] == 404)
        if self.find(self.mark, self.renamed):
            fail("delete: search still finds the note")
        until("its concept is gone", lambda: not self.show_concept(), within=GRAPH)
        say(f"deleted: note, blocks, claims and its concept are gone ({took:.2f} s)")
        if not self.options.production:
            left = self.cypher(
                "MATCH (n) WHERE (n:Note AND n.path CONTAINS $mark) OR (n:Claim AND n.text CONTAINS $mark)"
                " OR (n:Concept AND n.key CONTAINS $mark) RETURN count(n)"
            )
            if left != 0:
                fail(f"delete: Neo4j still holds {left} nodes of the note")
            say("asked itself, Neo4j has none of its nodes left")

    def cypher(self, query: str) -> Any:
        body = {"statements": [{"statement": query, "parameters": {"mark": self.mark}}]}
        status, answer = self.neo4j.ask("/db/neo4j/tx/commit", body)
        if status != 200 or answer["errors"]:
            fail(f"Neo4j: {status} {answer}")
        return answer["results"][0]["data"][0]["row"][0]


def main() -> int:
    global soon
    values = settings()
    options = argparse.ArgumentParser(description="The smoke flow of ClarifAI.")
    options.add_argument("--host", default="127.0.0.1")
    options.add_argument("--vault", type=Path, default=HERE / values["VAULT_DIR"], help="the folder with the notes")
    for name in ("core", "scheduler", "neo4j-http", "neo4j-bolt", "postgres"):
        default = int(values[f"{name.replace('-', '_').upper()}_PORT"])
        options.add_argument(f"--{name}-port", type=int, default=default)
    options.add_argument("--wait", type=float, default=60, help="seconds to wait for the stack to be ready")
    options.add_argument("--production", action="store_true", help="the databases are not published: do not ask them")
    options.add_argument("--soon", type=float, default=soon, help="seconds a change may take; more on a busy machine")
    chosen = options.parse_args()
    soon = chosen.soon
    try:
        Smoke(chosen, values).run()
    except Failed as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    say("all well")
    return 0


if __name__ == "__main__":
    sys.exit(main())
