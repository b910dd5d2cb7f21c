"""The sandbox that a native project's supervisor uses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cais.sandbox.api import Sandbox


async def make_sandbox(home: Path, on_exit: Callable[[str, int], None], on_lost: Callable[[], None]) -> Sandbox:
    """One stack init. Called in the supervisor's main thread, as `boot` asks; imported there alone, because a
    command that finds a supervisor needs none of it."""
    from cais.sandbox.stack import StackSandbox

    return StackSandbox.boot(home.name, home / "run", on_exit=on_exit, on_lost=on_lost)
