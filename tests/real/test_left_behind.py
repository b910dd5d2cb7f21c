"""What `down` and a recreation leave on disk: nothing that nobody asked for."""

import os
import subprocess
from pathlib import Path

import pytest

BOX = "image: 'debian:bookworm-slim', init: true"


def projects(project) -> list[Path]:
    folder = Path(project.env["CAIS_STATE"], "projects")
    return sorted(folder.rglob("*")) if folder.exists() else []


def test_an_anonymous_volume_that_the_new_configuration_has_no_more_goes_with_the_recreation(project):
    text = "services: {{a: {{{box}, command: [sleep, '1000'], volumes: [{volumes}]}}}}\n"
    project.compose(text.format(box=BOX, volumes="/kept, /dropped"))
    project.up()
    project.exec("a", "sh", "-c", "echo here > /kept/it; echo here > /dropped/it")
    project.compose(text.format(box=BOX, volumes="/kept"))
    project.up()
    assert project.exec("a", "cat", "/kept/it").stdout == "here\n"
    assert len([path for path in projects(project) if path.name == "it"]) == 1
    project.compose(text.format(box=BOX, volumes=""))
    project.up()
    project.run("down", "--timeout", "0")
    assert projects(project) == []


def test_a_volume_with_closed_folders_goes_whole(project):
    """Seen where an ordinary user runs this: root opens everything anyway (tests/test_trees.py for both)."""
    closing = "mkdir -p /data/x/y; touch /data/x/y/f; chmod 000 /data/x/y /data/x; sleep 1000"
    project.compose(
        f"services: {{a: {{{BOX}, command: [sh, -c, '{closing}'], volumes: ['data:/data']}}}}\nvolumes: {{data: }}\n"
    )
    project.up()
    project.run("down", "-v", "--timeout", "0")
    assert list(Path(project.env["CAIS_STATE"], "volumes").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="a mount needs root")
def test_what_cannot_be_removed_is_an_error_that_names_it(project):
    project.compose(
        f"services: {{a: {{{BOX}, command: [sleep, '1000'], volumes: ['data:/data', '/own']}}}}\nvolumes: {{data: }}\n"
    )
    project.up()
    project.exec("a", "mkdir", "/data/busy", "/own/busy")
    state = Path(project.env["CAIS_STATE"])
    own, named = sorted(state.rglob("busy"), key=lambda path: "anonymous" not in path.parts)
    for place in (own, named):
        subprocess.run(["mount", "-t", "tmpfs", "none", str(place)], check=True)
    try:
        first = project.run("down", "-v", "--timeout", "0", check=False)
        subprocess.run(["umount", str(own)], check=True)
        second = project.run("down", "-v", "--timeout", "0", check=False)
    finally:
        subprocess.run(["umount", "-q", "-l", str(own)], check=False)
        subprocess.run(["umount", "-q", "-l", str(named)], check=False)
    assert first.returncode == 1 and str(own) in first.stderr
    assert second.returncode == 1 and str(named) in second.stderr
    project.run("down", "-v", "--timeout", "0")
    assert not named.exists()
