"""Builds without RUN: no sandbox, no network, a base made of files."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cais.build.api import BuildEvent, BuildRequest
from cais.build.builder import build
from cais.build.view import View
from cais.model.image import Image, ImageConfig
from cais.source.api import Span


class Kitchen:
    """A context to write into, a base image `base`, and the build of a Dockerfile's text."""

    def __init__(self, folder: Path) -> None:
        self.context = folder / "context"
        self.context.mkdir()
        self.base = folder / "base"
        (self.base / "etc").mkdir(parents=True)
        (self.base / "usr/bin").mkdir(parents=True)
        (self.base / "bin").symlink_to("usr/bin")
        (self.base / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\napp:x:1000:2000::/home/app:/bin/sh\n")
        (self.base / "etc/group").write_text("root:x:0:\nstaff:x:50:\n")
        self.config = ImageConfig(env=(("PATH", "/bin"), ("BASE", "yes")), cmd=("base-cmd",))
        self.events: list[BuildEvent] = []
        self.asked: list[str] = []

    def write(self, path: str, text: str = "", mode: int = 0o644) -> Path:
        file = self.context / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)
        return file

    def resolve(self, text: str, span: Span | None) -> Image:
        self.asked.append(text)
        return Image((str(self.base),), self.config, f"digest of {text}", origin=text)

    def build(self, text: str, **request: object) -> Image:
        self.events.clear()
        made = BuildRequest(context=str(self.context), inline=text, name="api", **request)  # type: ignore[arg-type]
        return build(made, self.resolve, self.events.append)

    def made(self) -> list[str]:
        """The instructions of the last build that were carried out, not found ready."""
        return [e.text for e in self.events if e.kind == "step"]


@pytest.fixture
def kitchen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kitchen:
    monkeypatch.setenv("CAIS_CACHE", str(tmp_path / "cache"))
    return Kitchen(tmp_path)


@pytest.fixture
def tree_of() -> Callable[[Image], dict[str, str]]:
    """What an image holds above its base: path -> text, `-> target` of a link, or `/` of a directory."""

    def tree(image: Image) -> dict[str, str]:
        view = View([*image.layers[:-1], image.layers[-1]])
        base = View(image.layers[-1:])
        found: dict[str, str] = {}

        def walk(path: str) -> None:
            here = view.find(path)
            assert here is not None
            for name, entry in view.children(here):
                below = f"{path}/{name}".lstrip("/")
                if entry.is_dir:
                    if base.find(below) is None:
                        found[below] = "/"
                    walk(below)
                elif entry.is_link:
                    if base.find(below, follow=False) is None:
                        found[below] = f"-> {os.readlink(entry.host)}"
                elif not entry.host.startswith(image.layers[-1]):
                    found[below] = Path(entry.host).read_text()

        walk("")
        return found

    return tree
