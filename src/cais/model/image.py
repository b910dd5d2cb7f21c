"""An image as Cais has it: read-only layers and a configuration. Cards, Dockerfiles and (later) registries
all give this one type, so the engine never asks where a root file system came from.
"""

from typing import NamedTuple

REAL, NEAR, COMPATIBLE, STAND_IN = "real", "near", "compatible", "stand-in"
FIDELITY_ORDER = (REAL, NEAR, COMPATIBLE, STAND_IN)


class Healthcheck(NamedTuple):
    """Docker's HEALTHCHECK. `test` is `("CMD", …)`, `("CMD-SHELL", text)` or `("NONE",)`; times in seconds.

    None means "not said": the engine fills in Docker's default (interval 30, timeout 30, start_period 0,
    start_interval 5, retries 3; Dockerfile reference, HEALTHCHECK).
    """

    test: tuple[str, ...]
    interval: float | None = None
    timeout: float | None = None
    start_period: float | None = None
    start_interval: float | None = None
    retries: int | None = None


class ImageConfig(NamedTuple):
    """The `config` object of an OCI image (image-spec v1.1, config.md), in Python's words."""

    env: tuple[tuple[str, str], ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    working_dir: str = "/"
    user: str = ""
    volumes: tuple[str, ...] = ()
    exposed_ports: tuple[str, ...] = ()  # "5432/tcp"
    stop_signal: str = "SIGTERM"
    healthcheck: Healthcheck | None = None
    shell: tuple[str, ...] = ("/bin/sh", "-c")
    labels: tuple[tuple[str, str], ...] = ()
    on_build: tuple[str, ...] = ()


class Image(NamedTuple):
    """Layers (top first: what overlayfs calls lowerdir order) and configuration.

    `layers` are absolute paths of directories nobody writes to any more. `digest` names the content: same
    inputs, same digest; it enters the config hash of a service. `fidelity` and `differs` are what `up` says.
    """

    layers: tuple[str, ...]
    config: ImageConfig
    digest: str
    fidelity: str = REAL
    differs: tuple[str, ...] = ()  # sentences: "python 3.11.2 stands for 3.12"
    origin: str = ""  # "card postgres", "build ./core", for people
