"""The base systems: debian, ubuntu, busybox."""

import in_image
import pytest

pytestmark = pytest.mark.real


@pytest.mark.parametrize(
    ("image", "codename"),
    [
        ("debian:bookworm-slim", "bookworm"),
        ("debian:13", "trixie"),
        ("debian:sid", "forky"),
        ("ubuntu:24.04", "bookworm"),
    ],
)
def test_a_base_system_is_the_release_its_tag_names(image: str, codename: str) -> None:
    said = in_image.run(image, "bash", "-c", ". /etc/os-release; echo ${VERSION_CODENAME}; apt-get --version | head -1")
    assert said.stdout.split()[:2] == [codename, "apt"]


def test_busybox_is_first_in_path() -> None:
    said = in_image.run(
        "busybox:1.36", "sh", "-c", "readlink -f /proc/$$/exe; echo hi | md5sum; which wget"
    ).stdout.split()
    assert said == ["/usr/bin/busybox", "764efa883dda1e11db47671c4a3bbd9e", "-", "/opt/busybox/bin/wget"]
