"""Redis and Valkey as their images promise: arguments, mounted configuration, data, user, clients."""

import pytest

BOTH = pytest.mark.parametrize(
    "image, program",
    [("redis:7", "redis"), ("redis:8", "redis"), ("valkey/valkey:8", "valkey"), ("valkey/valkey:9", "valkey")],
)


def compose(project, image, program, service="", *, password="", more=""):
    auth = f'"-a", "{password}", ' if password else ""
    ping = f'["CMD", "{program}-cli", {auth}"ping"]'
    project.compose(
        f"""
services:
  cache:
    image: {image}
    healthcheck: {{test: {ping}, interval: 100ms, retries: 100}}
    {service}
{more}
"""
    )


def cli(project, program, *words, password=""):
    auth = ["--no-auth-warning", "-a", password] if password else []
    # By the service's name: what another service does, so protected mode would refuse it.
    return project.exec("cache", f"{program}-cli", "-h", "cache", *auth, *words).stdout.strip()


@BOTH
def test_others_reach_it_without_a_password_and_it_is_not_root(project, image, program):
    compose(project, image, program)
    project.up()
    assert cli(project, program, "set", "a", "1") == "OK"
    version = image.partition(":")[2]
    assert f"{program}_version:{version}." in cli(project, program, "info", "server")
    assert project.exec("cache", "pwd").stdout.strip() == "/data"
    uids = project.exec("cache", "sh", "-c", "stat -c %U /data; grep Uid /proc/1/status").stdout
    assert "root" not in uids or "0\t0\t0\t0" in uids  # in a map of one uid, root and redis are the same to who looks


@BOTH
def test_a_password_and_append_only_as_arguments_and_data_survives_down(project, image, program):
    compose(
        project,
        image,
        program,
        f"command: {program}-server --requirepass hush --appendonly yes\n    volumes: ['data:/data']",
        password="hush",
        more="volumes: {data: {}}",
    )
    project.up()
    assert "NOAUTH" in cli(project, program, "get", "a")
    assert cli(project, program, "set", "a", "kept", password="hush") == "OK"
    project.run("down")
    project.up()
    assert cli(project, program, "get", "a", password="hush") == "kept"
    assert cli(project, program, "config", "get", "appendonly", password="hush").split() == ["appendonly", "yes"]


@BOTH
@pytest.mark.parametrize(
    "command", ["/etc/mine.conf --maxmemory 7mb", "{}-server /etc/mine.conf --maxmemory 7mb", "--maxmemory 7mb"]
)
def test_a_mounted_configuration_and_options_alone(project, image, program, command):
    project.write("mine.conf", "appendonly yes\n")
    compose(
        project,
        image,
        program,
        f"command: {command.format(program)}\n    volumes: ['./mine.conf:/etc/mine.conf:ro']",
    )
    project.up()
    assert cli(project, program, "config", "get", "maxmemory").split()[1] == "7340032"
    said = "yes" if "mine.conf" in command else "no"
    assert cli(project, program, "config", "get", "appendonly").split()[1] == said


def test_a_shell_that_starts_the_server_itself(project):
    compose(
        project,
        "redis:7-alpine",
        "redis",
        "environment: {REDIS_PASSWORD: hush}\n    command: sh -c 'redis-server --requirepass \"$$REDIS_PASSWORD\"'",
        password="hush",
    )
    project.up()
    assert cli(project, "redis", "ping", password="hush") == "PONG"


def test_a_protected_mode_that_is_asked_for_holds(project):
    compose(project, "redis:7", "redis", "command: --protected-mode yes")
    project.up()
    assert "DENIED" in cli(project, "redis", "ping")


def test_it_saves_and_ends_with_zero_on_stop(project):
    compose(project, "redis:7", "redis", "volumes: ['data:/data']", more="volumes: {data: {}}")
    project.up()
    cli(project, "redis", "set", "a", "saved")
    project.run("stop", "cache")
    assert next(iter(project.ps().values()))["ExitCode"] == 0
    project.run("start", "cache")
    project.up()
    assert cli(project, "redis", "get", "a") == "saved"


def test_redis_stack_is_refused_with_a_way_out(project):
    compose(project, "redis/redis-stack:latest", "redis")
    done = project.run("up", "-d", check=False)
    assert done.returncode == 1
    assert "Redis Stack modules" in done.stderr and "redis:8" in done.stderr
