"""Text -> Stack. `pipeline.py` lists the stages in order; one file per stage."""

from collections.abc import Mapping, Sequence

from cais.model.api import Stack


def load(
    paths: Sequence[str] = (),
    *,
    env: Mapping[str, str] | None = None,
    project_directory: str | None = None,
    project_name: str | None = None,
    profiles: Sequence[str] = (),
    env_files: Sequence[str] = (),
    services: Sequence[str] | None = None,
    consistency: bool = True,
) -> Stack:
    """Load one project as `docker compose` would; raises `Faults` with every fault found.

    `paths` empty: look the files up as Compose does. `env` None: this process's environment. `services`: activate
    these even when a profile hides them.
    """
    raise NotImplementedError
