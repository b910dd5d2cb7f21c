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
from cais.paths import cache_folder, cache_home

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


def images_for(
    requests: Sequence[Request], progress: Progress | None = None, later: list[Job] | None = None
) -> list[Image]:
    """The images of several references; what they lack is fetched side by side, each thing once.

    `progress(name, done, total)` is called from several threads, in bytes. `later` gets the steps that may run when
    nothing else does. Raises CaisError.
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
    images = [_image(w, progress) for w in wanted]
    if later is not None:
        for want in wanted:
            later += [job for job in _jobs(want, background=True) if not _settled(job)]
    return images


def foreseen(request: Request) -> Image:
    """The image as it is or will be: nothing is fetched or made, so its layers may not be there. The digest is the
    one it will have, because everything is called by what it is made of."""
    want = _want(request)
    named = _name(want)
    home = cache_home()
    userlands, programs = home / "userlands", home / "programs"
    layers = (home / "images" / named.top, userlands / named.userland, *(programs / n for n in named.below))
    recipe = want.recipe
    return Image(
        tuple(map(str, layers)), recipe.config, named.digest, recipe.fidelity, recipe.differs, f"card {want.card}"
    )


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


class Job(NamedTuple):
    """One finishing step and what it stands on, as `cais.catalog.finish` takes it."""

    name: str  # of the tree it makes
    step: Finish
    layers: tuple[str, ...]

    def text(self) -> str:
        import json

        job = {"name": self.name, "argv": self.step.argv, "outputs": self.step.outputs, "layers": self.layers}
        return json.dumps(job)


class _Names(NamedTuple):
    """What an image is made of, by name. Steps of the background are not in it: an image is the same one with and
    without them, so no service is made anew because one has ended."""

    userland: str
    below: tuple[str, ...]  # what finishing steps make, then programs
    top: str
    digest: str


def _name(want: _Wanted) -> _Names:
    recipe = want.recipe
    userland = names.userland_name(recipe.suite)
    finished = [
        _step_name(program, step, userland)
        for one, program in zip(recipe.programs, want.programs, strict=True)
        for step in one.finish
        if not step.background
    ]
    below = (*reversed(finished), *want.programs)
    parts = (LAYOUT, recipe.files, recipe.links, recipe.users, [userland, *below], os.geteuid() == 0)
    top = f"{want.card}-{names.key_of(*parts)}"
    digest = "sha256:" + names.key_of(top, recipe.config, 0) + names.key_of(top, recipe.config, 1)
    return _Names(userland, below, top, digest)


def _step_name(program: str, step: Finish, userland: str) -> str:
    return f"{program}+{step.name}-{names.key_of(step.version, step.argv, step.outputs, userland)}"


def _image(want: _Wanted, progress: Progress | None) -> Image:
    """Everything it needs has been fetched; carry out what is left."""
    recipe, named = want.recipe, _name(want)
    for job in _jobs(want, background=False):
        if names.ready_program(job.name) is None:
            if progress is not None:
                progress(f"{job.name.partition('+')[0].rpartition('-')[0]}: {job.step.name}", 0, 0)
            run_step(job)
    userland = names.ready_userland(recipe.suite)
    below = [path for path in map(names.ready_program, named.below) if path is not None]
    layers = [str(path) for path in (userland, *_own_folders(below), *below) if path is not None]
    top = _top(named.top, recipe, layers)
    extra = [names.ready_program(job.name) for job in _jobs(want, background=True)]
    # Under all that is there without them: they add, and hide nothing.
    layers = [str(top), *layers, *(str(path) for path in extra if path is not None)]
    return Image(tuple(layers), recipe.config, named.digest, recipe.fidelity, recipe.differs, f"card {want.card}")


# Finishing steps: run in the sandbox, their outputs kept as a layer of their own.


def _jobs(want: _Wanted, *, background: bool) -> list[Job]:
    """The steps of an image whose programs are there. One stands on what the steps before it made."""
    userland = names.userland_name(want.recipe.suite)
    programs = [str(path) for name in want.programs if (path := names.ready_program(name)) is not None]
    stands = [str(cache_folder("userlands") / userland), *programs]
    jobs: list[Job] = []
    for one, program in zip(want.recipe.programs, want.programs, strict=True):
        for step in one.finish:
            name = _step_name(program, step, userland)
            if step.background == background:
                jobs.append(Job(name, step, tuple(stands)))
            if not step.background:
                stands.insert(1, str(names.ready_program(name) or cache_folder("programs") / name))
    return jobs


def _settled(job: Job) -> bool:
    """Made, or tried in vain: then its log is there."""
    return names.ready_program(job.name) is not None or (cache_folder("logs") / f"{job.name}.log").exists()


_KEPT = frozenset(("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH"))


def run_step(job: Job) -> None:
    """Carry a step out, in a process of its own: the sandbox wants a main thread that has no other beside it."""
    import subprocess

    # Only what says where things are and how Python finds this package: the caller's secrets are no part of a cache.
    env = {k: v for k, v in os.environ.items() if k in _KEPT or k.startswith(("CAIS_", "PYTHON", "XDG_", "LC_"))}
    done = subprocess.run(
        [sys.executable, "-m", "cais.catalog.finish"],
        input=job.text(),
        text=True,
        capture_output=True,
        check=False,
        env=env,
    )
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
        raise CaisError(f"cannot finish {job.name.partition('+')[0]}: its step {job.step.name} failed\n{said}")


# The card's own layer.


def _own_folders(below: Sequence[Path]) -> list[Path]:
    """The folders of programs that another user's cache holds (`CAIS_PROGRAMS`), as folders of this one's.

    An ordinary user's namespace knows no other owner: nobody in it may write into such a folder, though every image
    of that program lets root do so (`pip install`, `apt-get install`). In a merged folder the upper layer's owner
    counts (overlayfs), so a layer of folders is enough.
    """
    me = os.geteuid()
    foreign = [path for path in below if me and path.stat().st_uid != me]
    if not foreign:
        return []
    from cais.fetch import store

    def make(root: Path) -> None:
        for tree in foreign:
            for folder, inner, _ in os.walk(tree):
                for name in inner:
                    path = os.path.join(folder, name)
                    own = root / os.path.relpath(path, tree)
                    if not os.path.islink(path) and not own.is_dir():
                        own.mkdir(mode=0o755)
                        own.chmod(os.stat(path).st_mode & 0o1777)

    name = f"folders-{names.key_of(*(path.name for path in foreign))}"
    return [store.tree("images", name, make, what="folders of shared programs")]


def _top(name: str, recipe: Recipe, below: list[str]) -> Path:
    final = cache_folder("images") / name
    if final.is_dir():
        return final
    from cais.catalog.layer import lay
    from cais.fetch import store

    return store.tree("images", name, lambda root: lay(root, recipe, below), what=name.rpartition("-")[0])
