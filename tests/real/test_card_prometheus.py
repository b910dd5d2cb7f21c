"""Prometheus as its image promises: its own configuration, a mounted one, arguments, data, user, clients."""

import json
import time

import pytest


def compose(project, service="", *, image="prom/prometheus:v2.53.0", more=""):
    project.compose(
        f"""
services:
  prom:
    image: {image}
    healthcheck: {{test: ["CMD", "wget", "-qO-", "http://127.0.0.1:9090/-/ready"], interval: 100ms, retries: 300}}
    {service}
{more}
"""
    )


def ask(project, path):
    return json.loads(project.exec("prom", "wget", "-qO-", f"http://127.0.0.1:9090/api/v1/{path}").stdout)["data"]


@pytest.mark.parametrize("image, major", [("prom/prometheus:v2.53.0", "2"), ("prom/prometheus:latest", "3")])
def test_it_watches_itself_from_the_image_s_configuration(project, image, major):
    compose(project, image=image)
    project.up()
    assert ask(project, "status/buildinfo")["version"].startswith(major)
    assert ask(project, "status/flags")["storage.tsdb.path"] == "/prometheus"
    assert "job_name: prometheus" in ask(project, "status/config")["yaml"]
    project.exec("prom", "promtool", "check", "config", "/etc/prometheus/prometheus.yml")
    project.run("stop", "prom")
    assert next(iter(project.ps().values()))["ExitCode"] == 0


def test_a_mounted_configuration_scrapes_by_service_name_and_data_survives(project):
    project.write(
        "prometheus.yml",
        "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n"
        "scrape_configs:\n  - {job_name: me, static_configs: [{targets: ['prom:9090']}]}\n",
    )
    compose(
        project,
        "volumes: ['./prometheus.yml:/etc/prometheus/prometheus.yml:ro', 'data:/prometheus']\n"
        "    command: ['--config.file=/etc/prometheus/prometheus.yml', '--storage.tsdb.path=/prometheus', "
        "'--storage.tsdb.retention.time=3d', '--web.enable-lifecycle']",
        more="volumes: {data: {}}",
    )
    project.up()
    deadline = time.monotonic() + 20
    while not (found := ask(project, "query?query=up")["result"]) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert found[0]["metric"]["instance"] == "prom:9090" and found[0]["value"][1] == "1"
    assert ask(project, "status/flags")["web.enable-lifecycle"] == "true"
    project.run("down")
    project.up()
    assert ask(project, "query?query=count(count_over_time(up[10m]))")["result"]


def test_a_bad_configuration_fails_the_start_and_is_shown(project):
    project.write("bad.yml", "scrape_configs: [{job: x}]\n")
    compose(project, "volumes: ['./bad.yml:/etc/prometheus/prometheus.yml:ro']")
    done = project.run("up", "-d", "--wait", check=False)
    assert done.returncode == 1 and "not found in type" in done.stdout + done.stderr


def test_a_command_without_a_data_path_keeps_data_where_upstream_does(project):
    compose(project, "command: ['--config.file=/etc/prometheus/prometheus.yml', '--storage.tsdb.retention.time=1d']")
    project.up()
    assert ask(project, "status/flags")["storage.tsdb.path"] == "data/"
    project.exec("prom", "test", "-d", "/prometheus/data/wal")
