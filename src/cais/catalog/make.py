"""Recipe -> Image: what a card asks for, fetched side by side, unpacked, its own files laid over it.

Layers, top first: the card's files and users; the userland of its Debian suite; what finishing steps made; the
programs, first named on top. Everything is kept by the key of its inputs. When all is there, nothing is imported
that fetches: an image costs some milliseconds.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from cais.catalog import find, musl
from cais.catalog.api import Finish, ImageRef, Program, Recipe, Service
from cais.diag.api import CaisError
from cais.fetch import names
from cais.model.image import Image
from cais.paths import cache_home

LAYOUT = 3  # raise it when what this module lays out changes
Progress = Callable[[str, int, int], None]


class Request(NamedTuple):
    """One image that is wanted, by one or several services."""

    ref: ImageRef
    service: Service | None = None


class _Wanted(NamedTuple):
    """A request with its recipe, and the names of all that it needs."""

    card: str
    folder: Path
    recipe: Recipe
    programs: tuple[str, ...]


def image_for(ref: ImageRef, service: Service | None = None, progress: Progress | None = None) -> Image:
    """The image of one reference."""
    return images_for([Request(ref, service)], progress)[0]


def images_for(requests: Sequence[Request], progress: Progress | None = None) -> list[Image]:
    """The images of several references; what they lack is fetched side by side, each thing once.

    `progress(name, done, total)` is called from several threads, in bytes. Raises CaisError.
    """
    wanted = [_want(request) for request in requests]
    suites = dict.fromkeys(w.recipe.suite for w in wanted if names.ready_userland(w.recipe.suite) is None)
    programs = {
        name: (program, w.folder)
        for w in wanted
        for name, program in zip(w.programs, w.recipe.programs, strict=True)
        if names.ready_program(name) is None
    }
    if suites or programs:
        _fetch(suites, programs, progress)
    return [_image(w, progress) for w in wanted]


def missing(requests: Iterable[Request]) -> list[str]:
    """What would have to be fetched, in words: for `--dry-run` and `--no-build`. Empty: no network is needed."""
    found: dict[str, None] = {}
    for request in requests:
        want = _want(request)
        if names.ready_userland(want.recipe.suite) is None:
            found[f"Debian {want.recipe.suite}"] = None
        for name, program in zip(want.programs, want.recipe.programs, strict=True):
            if names.ready_program(name) is None:
                found[f"{program.name} {program.version}"] = None
    return list(found)


def taken(image: Image) -> dict[str, str]:
    """What Debian gave for the layers of an image, package -> version, out of the lock files beside them."""
    import json

    found: dict[str, str] = {}
    for layer in image.layers:
        try:
            found |= json.loads(Path(f"{layer}.lock.json").read_text())
        except (OSError, ValueError):
            continue
    return dict(sorted(found.items()))


def moved(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """Sentences about packages whose version is another than a project's lock file says: news, not faults."""
    return [f"{n} is now {now[n]} (it was {v})" for n, v in sorted(before.items()) if n in now and now[n] != v]


def _want(request: Request) -> _Wanted:
    module = find.card_for(request.ref)
    if module is None:
        find.find(request.ref.text, request.ref.span)  # raises, with the ways out
        raise AssertionError
    folder = Path(str(getattr(module, "__file__", ""))).parent
    recipe = module.recipe(request.ref, request.service)
    if musl.is_alpine(request.ref):
        recipe = musl.on_debian(recipe, request.ref)
    programs = tuple(names.program_name(p.name, p.version, p.sources, p.links, folder) for p in recipe.programs)
    return _Wanted(module.CARD.name, folder, recipe, programs)


def _fetch(suites: Iterable[str], programs: dict[str, tuple[Program, Path]], progress: Progress | None) -> None:
    """Everything that is not there, side by side. The first thing that fails is raised when the others have ended."""
    from concurrent.futures import ThreadPoolExecutor

    from cais.fetch.debian import index, userland
    from cais.fetch.http import Silent
    from cais.fetch.program import program

    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(userland.userland, suite, progress) for suite in suites]
        for one, folder in programs.values():
            futures.append(
                pool.submit(
                    program, one.name, one.version, one.sources, links=one.links, folder=folder, progress=progress
                )
            )
        errors = [e for f in futures if (e := f.exception()) is not None]
    index.forget()
    if errors:
        raise next((e for e in errors if not isinstance(e, Silent)), errors[0])


def _image(want: _Wanted, progress: Progress | None) -> Image:
    recipe = want.recipe
    userland = names.ready_userland(recipe.suite)
    programs = [names.ready_program(n) for n in want.programs]
    assert userland is not None
    below = [str(p) for p in programs if p is not None]
    finished: list[str] = []
    for program, name in zip(recipe.programs, want.programs, strict=True):
        for step in program.finish:
            layer = _finished(step, name, [str(userland), *finished, *below], userland.name, progress)
            if layer is not None:
                finished.insert(0, str(layer))
    above = [str(userland), *finished, *below]
    parts = (LAYOUT, recipe.files, recipe.links, recipe.users, [Path(layer).name for layer in above], os.geteuid() == 0)
    top = _top(f"{want.card}-{names.key_of(*parts)}", recipe, above)
    layers = (str(top), *above)
    digest = "sha256:" + names.key_of(top.name, recipe.config, 0) + names.key_of(top.name, recipe.config, 1)
    return Image(layers, recipe.config, digest, recipe.fidelity, recipe.differs, f"card {want.card}")


# Finishing steps: run in the sandbox, their outputs kept as a layer of their own.


def _finished(step: Finish, program: str, layers: list[str], userland: str, progress: Progress | None) -> Path | None:
    """The layer of a step; None for a background one that has not run yet."""
    name = f"{program}+{step.name}-{names.key_of(step.version, step.argv, step.outputs, userland)}"
    known = names.ready_program(name)
    if known is not None or step.background:
        return known
    if progress is not None:
        progress(f"{program.rpartition('-')[0]}: {step.name}", 0, 0)
    run_step(name, step, layers)
    return cache_home() / "programs" / name


def run_step(name: str, step: Finish, layers: Sequence[str]) -> None:
    """Carry a step out, in a process of its own: the sandbox wants a main thread that has no other beside it."""
    import json
    import subprocess

    job = {"name": name, "argv": step.argv, "outputs": step.outputs, "layers": list(layers)}
    done = subprocess.run(
        [sys.executable, "-m", "cais.catalog.finish"],
        input=json.dumps(job),
        text=True,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
        raise CaisError(f"cannot finish {name.partition('+')[0]}: its step {step.name} failed\n{said}")


def background(requests: Iterable[Request]) -> list[tuple[str, Finish, tuple[str, ...]]]:
    """Steps that may run later and have not: (name, step, layers), for `run_step` when the stack is up."""
    found = {}
    for request in requests:
        want = _want(request)
        userland = names.ready_userland(want.recipe.suite)
        programs = [names.ready_program(n) for n in want.programs]
        if userland is None or None in programs:
            continue
        layers = (str(userland), *map(str, programs))
        for program, tree in zip(want.recipe.programs, want.programs, strict=True):
            for step in program.finish:
                key = names.key_of(step.version, step.argv, step.outputs, userland.name)
                name = f"{tree}+{step.name}-{key}"
                if step.background and names.ready_program(name) is None:
                    found[name] = (name, step, layers)
    return list(found.values())


# The card's own layer.


def _top(name: str, recipe: Recipe, below: list[str]) -> Path:
    final = cache_home() / "images" / name
    if final.is_dir():
        return final
    from cais.catalog.layer import lay
    from cais.fetch import store

    return store.tree("images", name, lambda root: lay(root, recipe, below), what=name.rpartition("-")[0])
