"""Stack and images become instance specs: Docker's merge of image and service, Compose's mapping of attributes."""

import json
import textwrap
from pathlib import Path

import pytest

from cais.diag.api import CaisError
from cais.engine.native.mounts import Places
from cais.engine.native.specs import Options, desired
from cais.load.api import load
from cais.model.image import Healthcheck, Image, ImageConfig
from cais.supervise.api import Desired, Health, InstanceSpec, Restart

PLACES = Places(home=Path("/state/projects/p"), volumes=Path("/state/volumes"))
IMAGE = Image(
    layers=("/layers/top", "/layers/bottom"),
    config=ImageConfig(
        env=(("PATH", "/image/bin"), ("MODE", "image")),
        entrypoint=("/entry.sh",),
        cmd=("serve",),
        working_dir="/srv",
        user="web",
        stop_signal="SIGINT",
        volumes=("/data",),
        healthcheck=Healthcheck(("CMD", "check"), interval=7.0, retries=9),
    ),
    digest="sha256:1",
)


@pytest.fixture
def make(tmp_path):
    def desire(text: str, image: Image = IMAGE, **options) -> Desired:
        (tmp_path / "compose.yaml").write_text(textwrap.dedent(text))
        env = {"TOKEN": "from-environment", **options.pop("env", {})}
        stack = load([str(tmp_path / "compose.yaml")], env=env, project_name="p", **options.pop("load", {}))
        return desired(stack, dict.fromkeys(stack.services, image), PLACES, Options(**options))

    return desire


@pytest.fixture
def one(make):
    """The spec of service `api`, from the attributes of its mapping."""

    def spec(attributes: str, more: str = "", image: Image = IMAGE) -> InstanceSpec:
        service = textwrap.indent(textwrap.dedent(attributes).strip("\n"), "    ")
        more = textwrap.dedent(more) if more.startswith("\n") else more
        text = f"services:\n  api:\n    image: any\n{service}\n{more}"
        return next(s for s in make(text, image).instances if s.service == "api")

    return spec


@pytest.mark.parametrize(
    ("attributes", "argv"),
    [
        ("", ("/entry.sh", "serve")),
        ("command: [other, words]", ("/entry.sh", "other", "words")),
        ("command: 'one two'", ("/entry.sh", "one", "two")),
        ("entrypoint: [mine]", ("mine",)),
        ("entrypoint: mine\ncommand: [x]", ("mine", "x")),
        ("x-cais: {native: {command: [own, program]}}", ("own", "program")),
    ],
)
def test_entrypoint_and_command_merge_as_docker_merges_them(one, attributes, argv):
    assert one(attributes).process.argv == argv


def test_nothing_to_run_is_an_error_that_names_the_service(one):
    with pytest.raises(CaisError, match="api"):
        one("", image=Image(layers=(), config=ImageConfig(), digest="d"))


def test_environment_is_the_image_s_then_the_service_s_and_none_of_the_caller_s(one):
    env = one("environment: [MODE=service, TOKEN, NOWHERE]").process.env
    assert env["MODE"] == "service"
    assert env["TOKEN"] == "from-environment"
    assert env["PATH"] == "/image/bin"
    assert set(env) == {"PATH", "HOSTNAME", "MODE", "TOKEN"}


def test_the_host_name_is_a_short_id_that_stays_the_same(one):
    spec = one("")
    assert len(spec.net.hostname) == 12 and spec.process.env["HOSTNAME"] == spec.net.hostname
    assert one("command: [other]").net.hostname == spec.net.hostname
    assert one("hostname: web").net.hostname == "web"


def test_image_and_service_give_user_folder_and_stop_signal(one):
    plain = one("")
    assert (plain.process.user, plain.process.cwd, plain.stop_signal, plain.stop_grace) == ("web", "/srv", 2, 10.0)
    said = one("user: root\nworking_dir: /w\nstop_signal: SIGUSR1\nstop_grace_period: 1m30s")
    assert (said.process.user, said.process.cwd, said.stop_signal, said.stop_grace) == ("root", "/w", 10, 90.0)


def test_healthchecks_merge_field_by_field(one):
    assert one("").health == Health(argv=("check",), interval=7.0, retries=9)
    assert one("healthcheck: {interval: 1s}").health == Health(argv=("check",), interval=1.0, retries=9)
    shell = one('healthcheck: {test: "curl x", timeout: 3s}').health
    assert shell == Health(argv=("/bin/sh", "-c", "curl x"), interval=7.0, timeout=3.0, retries=9)
    assert one("healthcheck: {disable: true}").health is None
    assert one("healthcheck: {test: [NONE]}").health is None


@pytest.mark.parametrize(
    ("attributes", "policy"),
    [
        ("", Restart()),
        ("restart: always", Restart(policy="always")),
        ("restart: on-failure:4", Restart(policy="on-failure", max_retries=4)),
        (
            "restart: always\ndeploy: {restart_policy: {condition: on-failure, max_attempts: 2}}",
            Restart(policy="on-failure", max_retries=2),
        ),
        ("deploy: {restart_policy: {condition: any}}", Restart(policy="always")),
        ("deploy: {restart_policy: {condition: none}}", Restart()),
    ],
)
def test_restart_policies(one, attributes, policy):
    assert one(attributes).restart == policy


def test_mounts_lie_by_depth_and_image_volumes_become_anonymous_unless_covered(one, tmp_path):
    more = "volumes: {named: {}, theirs: {external: true}}"
    spec = one("volumes: [./src:/app/src:ro, named:/app, theirs:/x, /cache]\ntmpfs: ['/run:size=64m,mode=755']", more)
    seen = [(m.target, m.kind, m.source.replace(str(tmp_path), "."), m.read_only) for m in spec.root.mounts]
    assert [s[:2] for s in seen] == [
        ("/app", "volume"),
        ("/cache", "volume"),
        ("/data", "volume"),
        ("/run", "tmpfs"),
        ("/x", "volume"),
        ("/app/src", "bind"),
    ]
    by_target = {s[0]: s for s in seen}
    assert by_target["/app"][2] == "/state/volumes/p_named"
    assert by_target["/x"][2] == "/state/volumes/theirs"
    assert by_target["/app/src"][2:] == ("./src", True)
    assert sorted(spec.volumes) == sorted(by_target[t][2] for t in ("/cache", "/data"))
    run = next(m for m in spec.root.mounts if m.target == "/run")
    assert (run.size, run.mode) == (64 << 20, 0o755)
    covered = one("volumes: [named:/data]", more)
    assert covered.volumes == ()


def test_configs_and_secrets_are_files_where_and_how_they_are_asked_for(one, tmp_path):
    (tmp_path / "key").write_text("k")
    more = """
    secrets: {key: {file: ./key}, token: {environment: TOKEN}}
    configs: {app: {content: "a=1"}}
    """
    spec = one("secrets: [key, {source: token, target: t, uid: '5', mode: 0400}]\nconfigs: [app]", more)
    by_target = {m.target: m for m in spec.root.mounts}
    assert by_target["/run/secrets/key"].kind == "bind" and by_target["/run/secrets/key"].read_only
    token = by_target["/run/secrets/t"]
    assert (token.kind, token.content, token.uid, token.mode) == ("file", b"from-environment", 5, 0o400)
    assert (by_target["/app"].content, by_target["/app"].mode) == (b"a=1", 0o444)


def test_names_on_a_network_are_service_container_short_id_and_aliases(make):
    specs = make(
        """
        services:
          db: {image: any, networks: {back: {aliases: [store]}}}
          api: {image: any, networks: [back], links: ["db:database"]}
        networks: {back: {}}
        """
    ).instances
    names = specs[0].net.attachments[0].names if specs[0].service == "db" else specs[1].net.attachments[0].names
    assert {"db", "p-db-1", "database", "store"} <= set(names) and len(names) == 5


def test_network_modes(make):
    specs = {
        s.service: s
        for s in make(
            """
        services:
          a: {image: any, network_mode: none}
          b: {image: any, network_mode: host, ports: []}
          c: {image: any, network_mode: "service:a"}
        """
        ).instances
    }
    assert [specs[n].net.mode for n in "abc"] == ["none", "host", "instance:p-a-1"]
    assert [d.service for d in specs["c"].depends_on] == ["a"]


def test_replicas_are_numbered_and_share_a_range_of_ports(make):
    text = "services: {web: {image: any, ports: ['127.0.0.1:8000-8002:80'], deploy: {replicas: 2}}}"
    specs = make(text).instances
    assert [(s.id, s.ports[0].host_port) for s in specs] == [("p-web-1", 8000), ("p-web-2", 8001)]
    assert len(make(text, scales={"web": 3}).instances) == 3
    assert make(text, scales={"web": 0}).empty == ("web",)


@pytest.mark.parametrize("what", ["container_name: fixed", "ports: ['8080:80']"])
def test_what_is_unique_cannot_be_scaled(make, what):
    with pytest.raises(CaisError, match="web"):
        make(f"services:\n  web:\n    image: any\n    {what}\n", scales={"web": 2})


def test_the_config_hash_changes_with_what_runs_and_with_nothing_else(one):
    base = one("").config_hash
    assert one("").config_hash == base
    assert one("environment: {A: b}").config_hash != base
    assert one("command: [other]").config_hash != base
    assert one("", image=IMAGE._replace(digest="sha256:2")).config_hash != base
    assert one("", image=IMAGE._replace(layers=("/elsewhere",))).config_hash == base
    assert one("depends_on: [db]", "  db: {image: any}").config_hash == base


def test_limits_and_switches_arrive(one):
    spec = one(
        """
        init: true
        tty: true
        read_only: true
        shm_size: 1g
        ulimits: {nofile: {soft: 10, hard: 20}, nproc: 5}
        cap_add: [NET_ADMIN]
        cap_drop: [ALL]
        security_opt: ["no-new-privileges:true"]
        sysctls: {net.core.somaxconn: 1024}
        group_add: ["100"]
        extra_hosts: ["far:10.0.0.1"]
        """
    )
    process = spec.process
    assert (process.init, process.tty, spec.root.read_only, spec.root.shm_size) == (True, True, True, 1 << 30)
    assert process.ulimits == {"nofile": (10, 20), "nproc": (5, 5)}
    assert (process.cap_add, process.cap_drop, process.no_new_privileges) == (("NET_ADMIN",), ("ALL",), True)
    assert process.sysctls == {"net.core.somaxconn": "1024"} and process.group_add == ("100",)
    assert spec.net.extra_hosts == (("far", "10.0.0.1"),)
    assert process.env["TERM"] == "xterm"


@pytest.mark.parametrize(
    ("attributes", "limits"),
    [
        ("", (0, 0.0, 0)),
        ("mem_limit: 64m\ncpus: 1.5\npids_limit: 20", (64 << 20, 1.5, 20)),
        ("deploy: {resources: {limits: {memory: 1g, cpus: '0.5', pids: 9}}}", (1 << 30, 0.5, 9)),
        ("pids_limit: -1", (0, 0.0, 0)),
    ],
)
def test_limits_reach_the_process(one, attributes, limits):
    process = one(attributes).process
    assert (process.memory, process.cpus, process.pids) == limits


@pytest.mark.parametrize("name", ["../../home", "/home", "_work/..", ".hidden", "x" * 300])
def test_a_name_that_would_be_another_place_on_disk_is_refused_with_its_line(one, name):
    quoted = json.dumps(name)
    with pytest.raises(CaisError, match="as the name of a container") as container:
        one(f"container_name: {quoted}")
    with pytest.raises(CaisError, match="as the name of a volume") as volume:
        one("volumes: ['data:/data']", f"\nvolumes:\n  data:\n    name: {quoted}\n")
    assert container.value.diagnostics()[0].span and volume.value.diagnostics()[0].span


@pytest.mark.parametrize("option", ["mode=abc", "uid=web", "size=1x", "size="])
def test_a_tmpfs_option_that_is_no_number_is_an_error_with_its_line(one, option):
    with pytest.raises(CaisError, match="tmpfs option") as error:
        one(f"tmpfs: ['/run:{option}']")
    assert error.value.diagnostics()[0].span


def test_a_service_stands_where_its_name_does(make):
    found = make(
        """
        services:
          api:
            # why
            image: any
          "db": {image: any}
        """
    ).instances
    assert [spec.span.rpartition("/")[2] for spec in found] == ["compose.yaml:3:3", "compose.yaml:6:3"]
