"""Plans: what will be done, as values. Code that decides returns a `Plan`; `run.py` carries it out with doers
that the engine hands it; `render` prints it (`--dry-run`).
"""

from typing import NamedTuple

from msgspec import Struct


class Action(Struct, frozen=True, tag=True):
    """One thing to do. Subclasses are data; what does them is a doer, keyed by type, in the engine."""

    def describe(self) -> str:
        """One line for people, in the present: `start api-1`."""
        raise NotImplementedError(type(self).__name__)


class Plan(NamedTuple):
    """Actions in an order that is safe one after the other; a runner may overlap what does not depend."""

    actions: tuple[Action, ...] = ()

    def render(self) -> str:
        return "".join(f"{a.describe()}\n" for a in self.actions)
