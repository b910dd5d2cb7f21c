"""What the services share: settings, logs, the pages every one of them answers, the probe that asks for them."""

import json
import logging
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from clarifai.coreclient import Core, CoreAway, CoreRefused, note_path
from clarifai.databases import escaped
from clarifai.environment import setting
from clarifai.jsonlog import JsonFormatter
from clarifai.schema.__main__ import without_comments
from clarifai.statuspage import Answer, Request, ready_answer, serve

PACKAGE = Path(__file__).resolve().parents[1] / "clarifai"


def test_a_setting_comes_from_its_variable_then_its_file_then_its_default(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from the file\n")
    named = {"TOKEN_FILE": str(tmp_path / "secret")}
    assert setting("TOKEN", environ={"TOKEN": "given", **named}) == "given"
    assert setting("TOKEN", environ={"TOKEN": "", **named}) == "from the file"
    assert setting("TOKEN", "default", environ={}) == "default"
    with pytest.raises(SystemExit, match="TOKEN is not set"):
        setting("TOKEN", environ={})


def test_a_log_line_is_one_json_object_with_what_extra_holds() -> None:
    record = logging.makeLogRecord({"msg": "note %s", "args": ("stored",), "levelname": "INFO", "path": "a\nb.md"})
    text = JsonFormatter("core").format(record)
    line = json.loads(text)
    assert "\n" not in text
    assert (line["event"], line["level"], line["service"], line["path"]) == ("note stored", "info", "core", "a\nb.md")


def test_a_password_may_hold_quotes_and_backslashes() -> None:
    assert escaped("it's a \\") == "it\\'s a \\\\"


def test_the_path_of_a_note_survives_the_address() -> None:
    assert note_path("a b/ç?#%.md") == "/notes/a%20b/%C3%A7%3F%23%25.md"


def test_comments_leave_no_statement_behind() -> None:
    assert without_comments("// one; two\nCREATE x;\n").split(";")[0].strip() == "CREATE x"


@pytest.fixture
def page() -> int:
    def broken(_: Request) -> Answer:
        raise RuntimeError("on purpose")

    pages = {
        "/ready": lambda _: ready_answer({"postgres": None, "core": "refused"}),
        "/broken": broken,
        "/token": lambda request: Answer(200 if request.token == "secret" else 401, {"detail": "token"}),
    }
    server = serve(0, pages)
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def test_a_page_that_fails_is_a_500_and_the_next_one_answers(page: int) -> None:
    with pytest.raises(urllib.error.HTTPError) as failed:
        urllib.request.urlopen(f"http://127.0.0.1:{page}/broken")
    assert failed.value.code == 500
    assert json.load(urllib.request.urlopen(f"http://127.0.0.1:{page}/health")) == {"alive": True}


def test_metrics_are_prometheus_text(page: int) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{page}/metrics") as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        assert b"# TYPE" in answer.read()


def test_the_probe_ends_0_only_when_the_answer_is_200(page: int) -> None:
    def probe(port: int, path: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", "-S", str(PACKAGE / "healthcheck.py"), str(port), path]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)

    assert probe(page, "/health").returncode == 0
    not_ready = probe(page, "/ready")
    assert not_ready.returncode == 1
    assert json.loads(not_ready.stdout)["checks"] == {"postgres": "ok", "core": "refused"}
    assert probe(1, "/health").returncode == 1


def test_a_refusal_is_final_and_an_absence_is_not(page: int) -> None:
    assert Core("127.0.0.1", page, "secret").call("POST", "/token") == {"detail": "token"}
    with pytest.raises(CoreRefused):
        Core("127.0.0.1", page, "wrong").call("POST", "/token")
    with pytest.raises(CoreAway):
        Core("127.0.0.1", page, "secret").call("GET", "/broken")
    with pytest.raises(CoreAway):
        Core("127.0.0.1", 1, "secret").call("GET", "/notes")
