"""Text -> Stack. `pipeline.py` lists the stages in order; one file per stage."""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping, Sequence

from cais.load import pipeline
from cais.load.job import Options
from cais.model.stack import Stack


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
    resolve_environment: bool = True,
) -> Stack:
    """Load one project as `docker compose` would; raises `Faults` with every fault found.

    `paths` empty: look the files up as Compose does. `env` None: this process's environment. `services`: activate
    these even when a profile hides them, and leave out what they do not need. Without `resolve_environment` no
    `env_file` is read.
    """
    options = Options(
        paths=tuple(paths),
        project_directory=project_directory,
        project_name=project_name,
        profiles=tuple(profiles),
        env_files=tuple(env_files),
        services=tuple(services) if services is not None else None,
        consistency=consistency,
        resolve_environment=resolve_environment,
    )
    return load_with(options, env)


def load_with(options: Options, env: Mapping[str, str] | None = None) -> Stack:
    """The same with every option of `docker compose config`."""
    environment = dict(os.environ if env is None else env)
    collecting = gc.isenabled()
    gc.disable()  # a tree of a hundred thousand values has no cycles; collecting it over and over costs half the time
    try:
        loaded = pipeline.run(options, environment)
    finally:
        if collecting:
            gc.enable()
    job = loaded.job
    return Stack(
        name=loaded.name,
        working_dir=loaded.working_dir,
        files=loaded.files,
        canonical=loaded.tree,
        warnings=tuple(job.found),
        environment=job.environment,
        profiles=loaded.profiles,
        sources=job.sources,
        used=job.used,
        variable_at=job.variable_at,
        extended=frozenset(job.extended),
        all_profiles=loaded.all_profiles,
    )
