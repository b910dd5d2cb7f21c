"""What `up` may do to a project, as values: `diff.py` decides them, `supervisor.py` carries them out."""

from cais.plan.api import Action
from cais.sandbox.api import NetworkSpec
from cais.supervise.api import InstanceSpec


class AddNetwork(Action, frozen=True, tag=True):
    network: NetworkSpec

    def describe(self) -> str:
        return f"create network {self.network.name}{' (internal)' if self.network.internal else ''}"


class RemoveNetwork(Action, frozen=True, tag=True):
    name: str

    def describe(self) -> str:
        return f"remove network {self.name}"


class Create(Action, frozen=True, tag=True):
    spec: InstanceSpec

    def describe(self) -> str:
        return f"create {self.spec.id}"


class Recreate(Action, frozen=True, tag=True):
    """Stop and remove the instance of this id, then create it anew. Its anonymous volumes stay unless `renew`."""

    spec: InstanceSpec
    why: str
    renew: bool = False

    def describe(self) -> str:
        return f"recreate {self.spec.id} ({self.why})"


class Start(Action, frozen=True, tag=True):
    id: str
    after: tuple[str, ...] = ()  # "db is healthy"

    def describe(self) -> str:
        return f"start {self.id}" + (f" when {' and '.join(self.after)}" if self.after else "")


class Restart(Action, frozen=True, tag=True):
    id: str
    why: str

    def describe(self) -> str:
        return f"restart {self.id} ({self.why})"


class Keep(Action, frozen=True, tag=True):
    """It is as it should be."""

    id: str
    phase: str

    def describe(self) -> str:
        return f"keep {self.id} ({self.phase})"


class Remove(Action, frozen=True, tag=True):
    id: str
    why: str

    def describe(self) -> str:
        return f"remove {self.id} ({self.why})"
