"""The sandbox that a native project's supervisor uses."""

from collections.abc import Callable
from pathlib import Path

from cais.sandbox.api import Sandbox
from cais.sandbox.stack import StackSandbox


async def make_sandbox(home: Path, on_exit: Callable[[str, int], None], on_lost: Callable[[], None]) -> Sandbox:
    """One stack init. Called in the supervisor's main thread, as `boot` asks."""
    return StackSandbox.boot(home.name, home / "run", on_exit=on_exit, on_lost=on_lost)
