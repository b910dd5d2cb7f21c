"""Two commands at once bring up one project: both end well."""

import subprocess

from cais.sandbox import ports
from cais.sandbox.api import PortSpec


def test_neither_of_two_ups_fails_on_the_port_that_the_other_publishes(project, free_port):
    project.compose(
        f"""
    services:
      one: {{image: "debian:bookworm-slim", command: [sleep, "1000"], init: true, ports: ["{free_port}:80"]}}
    """
    )
    for _ in range(8):
        both = [project.popen("up", "-d", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(2)]
        said = [one.communicate(timeout=60)[1] for one in both]
        assert [one.returncode for one in both] == [0, 0], said
        project.run("down", "--timeout", "0")


def test_a_port_that_the_project_s_own_supervisor_holds_is_known_as_its_own(project, free_port, tmp_path):
    """Whatever the states said when they were asked, before the other `up` came that far."""
    project.compose(
        f"""
    services:
      one: {{image: "debian:bookworm-slim", command: [sleep, "1000"], init: true, ports: ["{free_port}:80"]}}
    """
    )
    project.up()
    home = f"{project.env['CAIS_STATE']}/projects/{project.folder.name}"
    port = PortSpec(target=80, host_port=free_port)
    assert ports.held_by(port, home)
    assert not ports.held_by(port, f"{tmp_path}/state/projects/another")
    project.run("down", "--timeout", "0")
    assert not ports.held_by(port, home)


def test_asking_whether_a_port_is_free_keeps_nobody_from_taking_it(free_port):
    port = PortSpec(target=80, host_ip="127.0.0.1", host_port=free_port)
    asked, _ = ports.listen(port, backlog=0)
    taken, _ = ports.listen(port)
    for one in (*asked, *taken):
        one.close()
