"""`ps`, `ls`, `logs`, `port`, `images` of a project whose supervisor has gone: all they know is in files."""

import json
import time
from pathlib import Path

import msgspec
import pytest

from cais.cli.main import main
from cais.cli.ps import fields
from cais.cli.running import Instance, View
from cais.engine.native.names import short_id
from cais.paths import project_home, state_home
from cais.sandbox.api import Attachment, Mount, Net, PortSpec, Process, Root
from cais.supervise.api import InstanceSpec, InstanceState, Log
from cais.supervise.daemon import prepare_home
from cais.supervise.logwriter import LogWriter
from cais.supervise.records import ERR, OUT, log_path
from cais.supervise.state import Kept, State, write_state


def spec(service: str, number: int = 1, **more: object) -> InstanceSpec:
    base = InstanceSpec(
        id=f"shop-{service}-{number}",
        service=service,
        number=number,
        config_hash="h",
        root=Root(
            layers=("/l",),
            upper="/u",
            mounts=(Mount(kind="volume", target="/data", source="/s/volumes/shop_data"),),
        ),
        process=Process(argv=("docker-entrypoint.sh", "serve", "--all-of-it"), env={"POSTGRES_PASSWORD": "s3cret"}),
        net=Net(attachments=(Attachment(network="shop_default"),)),
        ports=(PortSpec(target=80, host_port=8080), PortSpec(target=443, host_ip="127.0.0.1", host_port=8443)),
        labels={"com.docker.compose.project": "shop"},
        image="registry.test:5000/team/api:2",
    )
    return msgspec.structs.replace(base, **more)


def state(one: InstanceSpec, phase: str, **more: object) -> InstanceState:
    base = InstanceState(id=one.id, service=one.service, number=one.number, phase="created", created=time.time() - 300)
    return msgspec.structs.replace(base, phase=phase, **more)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that ended without a word while `api` ran and after `migrate` had ended by itself."""
    monkeypatch.setenv("CAIS_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("COMPOSE_PROJECT_NAME", raising=False)
    monkeypatch.chdir(tmp_path)
    home = prepare_home("shop")
    api, migrate = spec("api"), spec("migrate")
    write_state(
        home,
        State(
            project="shop",
            pid=999_999,
            instances=(
                Kept(spec=api, state=state(api, "running", pid=7, started=time.time() - 200, health="healthy")),
                Kept(spec=migrate, state=state(migrate, "exited", exit_code=3, started=1.0, finished=time.time() - 99)),
            ),
            config_files=("/srv/shop/compose.yaml",),
        ),
    )
    for one, lines in ((api, [b"hello", b"bye"]), (migrate, [b"migrating"])):
        writer = LogWriter(log_path(home, one.id), Log())
        for line in lines:
            writer.feed(OUT, line + b"\n")
        writer.feed(ERR, b"oops\n")
        writer.close()
    return home


def out(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    code = main(["-p", "shop", *argv])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return captured.out


def test_ps_says_that_the_supervisor_is_gone_and_ends_well(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-p", "shop", "ps"]) == 0
    captured = capsys.readouterr()
    assert captured.out.split() == ["NAME", "IMAGE", "COMMAND", "SERVICE", "CREATED", "STATUS", "PORTS"]
    assert "supervisor gone, last seen" in captured.err


def test_ps_all_shows_what_the_kernel_ended_with_it(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head, api, migrate = out(capsys, "ps", "-a").splitlines()
    assert head.split() == ["NAME", "IMAGE", "COMMAND", "SERVICE", "CREATED", "STATUS", "PORTS"]
    assert api.startswith('shop-api-1       registry.test:5000/team/api:2   "docker-entrypoint.s…"   api ')
    assert "5 minutes ago" in api
    assert "Exited (137)" in api
    assert "(with its supervisor)" in api
    assert "Exited (3) About a minute ago" in migrate


def test_ps_json_is_one_object_a_line_with_composes_fields(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [json.loads(line) for line in out(capsys, "ps", "-a", "--format", "json").splitlines()]
    assert [row["Name"] for row in rows] == ["shop-api-1", "shop-migrate-1"]
    names = (
        "Command CreatedAt ExitCode Health ID Image Labels LocalVolumes Mounts Name Names Networks Ports Project "
        "Publishers RunningFor Service Size State Status"
    )
    assert list(rows[0]) == names.split()
    assert rows[1]["ExitCode"] == 3
    assert rows[1]["State"] == "exited"
    assert "s3cret" not in json.dumps(rows)


def test_a_running_instance_is_shown_with_its_health_and_ports() -> None:
    one = spec("api")
    running = Instance(one, state(one, "running", started=time.time() - 130, health="starting"))
    row = fields(View("shop", (running,), pid=1), running)
    assert row["Status"] == "Up 2 minutes (health: starting)"
    assert row["Ports"] == "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp, 127.0.0.1:8443->443/tcp"
    assert row["Publishers"][0] == {"URL": "0.0.0.0", "TargetPort": 80, "PublishedPort": 8080, "Protocol": "tcp"}
    assert row["Networks"] == "shop_default"
    assert row["LocalVolumes"] == "1"


def test_what_waits_says_for_what() -> None:
    one = spec("api")
    waiting = Instance(one, state(one, "waiting", waits_for="postgres to be healthy"))
    row = fields(View("shop", (waiting,), pid=1), waiting)
    assert (row["State"], row["Status"]) == ("created", "Created (waiting for postgres to be healthy)")


@pytest.mark.parametrize(
    ("argv", "lines"),
    [
        (["--services"], []),
        (["-a", "--services"], ["api", "migrate"]),
        (["--status", "exited", "--services"], ["api", "migrate"]),
        (["--filter", "status=running", "--services"], []),
        (["-a", "migrate", "--format", "{{.Service}}={{.ExitCode}}"], ["migrate=3"]),
    ],
)
def test_ps_filters(shop: Path, capsys: pytest.CaptureFixture[str], argv: list[str], lines: list[str]) -> None:
    assert out(capsys, "ps", *argv).splitlines() == lines


def test_ps_quiet_prints_ids_that_stay(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = out(capsys, "ps", "-aq").split()
    assert [len(one) for one in ids] == [64, 64]
    assert ids == out(capsys, "ps", "-a", "--quiet").split()
    short = json.loads(out(capsys, "ps", "-a", "api", "--format", "json"))["ID"]
    assert ids[0].startswith(short)


@pytest.mark.parametrize(
    ("argv", "code"),
    [(["ps", "nope"], 1), (["logs", "nope"], 1), (["ps", "--status", "happy"], 2), (["ps", "--filter", "x"], 2)],
)
def test_names_that_do_not_exist_are_errors(
    shop: Path, capsys: pytest.CaptureFixture[str], argv: list[str], code: int
) -> None:
    assert main(["-p", "shop", *argv]) == code
    assert capsys.readouterr().err.startswith("error: ")


def test_ls_shows_only_what_runs_unless_asked(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(out(capsys, "ls", "--format", "json")) == []
    assert json.loads(out(capsys, "ls", "-a", "--format", "json")) == [
        {"Name": "shop", "Status": "exited(2)", "ConfigFiles": "/srv/shop/compose.yaml", "SupervisorPid": 0}
    ]
    assert out(capsys, "ls", "-a").splitlines()[1].split() == ["shop", "exited(2)", "/srv/shop/compose.yaml"]
    assert out(capsys, "ls") == "NAME                STATUS              CONFIG FILES\n"
    assert out(capsys, "ls", "-aq") == "shop\n"
    assert out(capsys, "ls", "-aq", "--filter", "name=^x") == ""


def test_logs_are_there_when_nothing_runs(shop: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["-p", "shop", "logs", "--no-color", "api"]) == 0
    assert capfdbinary.readouterr().out == b"api-1  | hello\napi-1  | bye\napi-1  | oops\n"
    assert main(["-p", "shop", "logs", "--tail", "1"]) == 0
    assert capfdbinary.readouterr().out == b"api-1      | oops\nmigrate-1  | oops\n"
    assert main(["-p", "shop", "logs", "--no-log-prefix", "-n", "2", "api"]) == 0
    assert capfdbinary.readouterr().out == b"bye\noops\n"
    assert main(["-p", "shop", "logs", "--since", "1h", "--until", "30m"]) == 0
    assert capfdbinary.readouterr().out == b""


def test_logs_follow_ends_when_nothing_can_come(shop: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["-p", "shop", "logs", "-f", "--no-log-prefix", "migrate"]) == 0
    assert capfdbinary.readouterr().out == b"migrating\noops\n"


def test_images_names_what_roots_were_made_from(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(out(capsys, "images", "--format", "json"))
    assert {(row["Repository"], row["Tag"], row["Fidelity"]) for row in rows} == {
        ("registry.test:5000/team/api", "2", "real")
    }


def test_port_and_exec_of_what_does_not_run_say_so(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["port", "api", "80"], ["exec", "api", "true"]):
        assert main(["-p", "shop", *argv]) == 1
        err = capsys.readouterr().err
        assert 'service "api" is not running: it is exited' in err
        assert "cais up -d api" in err


def test_a_project_that_never_was_is_empty_not_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CAIS_STATE", str(tmp_path))
    assert out(capsys, "ps").startswith("NAME ")
    assert out(capsys, "logs") == ""
    assert json.loads(out(capsys, "ls", "-a", "--format", "json")) == []
    assert not project_home("shop").exists()


@pytest.mark.parametrize("home", ["", "not/absolute"])
def test_an_empty_home_is_as_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch, home: str) -> None:
    for name in ("CAIS_STATE", "XDG_STATE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    unset = state_home()
    monkeypatch.setenv("HOME", home)
    assert state_home() == unset
    assert unset.is_absolute()


def test_the_id_begins_with_the_host_name(capsys: pytest.CaptureFixture[str], shop: Path) -> None:
    assert out(capsys, "ps", "-a", "-q", "api").startswith(short_id("shop", "shop-api-1"))


@pytest.mark.parametrize(
    "argv", [["up", "-d", "x"], ["down", "x"], ["build", "x"], ["config", "x"], ["run", "x"], ["logs", "x"]]
)
def test_every_command_says_the_same_of_an_unknown_service(
    shop: Path, capsys: pytest.CaptureFixture[str], argv: list[str]
) -> None:
    Path("compose.yaml").write_text("name: shop\nservices: {api: {image: 'debian:bookworm-slim'}}\n")
    assert main(argv) == 1
    said = capsys.readouterr().err
    assert "no such service: x" in said and "api" in said
