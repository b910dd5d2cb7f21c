"""A project's own named volumes."""

from collections.abc import Iterable

from cais.diag.api import CaisError, Faults
from cais.engine.native.names import volume_folder
from cais.model.api import Stack
from cais.paths import state_folder
from cais.supervise.api import InstanceSpec
from cais.trees import remove_tree


def remove_volumes(project: str, stack: Stack | None, specs: Iterable[InstanceSpec]) -> bool:
    """Those that the file names; without one, those that instances have. An external one belongs to somebody else.
    Whether there was any."""
    home = state_folder("volumes")
    if stack is not None:
        names = {volume.name for volume in stack.volumes.values() if not volume.external}
    else:
        sources = [mount.source for spec in specs for mount in spec.root.mounts if mount.kind == "volume"]
        names = {source.rpartition("/")[2] for source in sources if source.startswith(f"{home}/{project}_")}
    there = [place for name in sorted(names) if (place := volume_folder(home, name)).is_dir()]
    faults: list[CaisError] = []
    for place in there:
        try:
            remove_tree(place)
        except CaisError as error:
            faults.append(error)
    if faults:
        raise faults[0] if len(faults) == 1 else Faults([one for error in faults for one in error.diagnostics()])
    return bool(there)
