"""`config --resolve-image-digests` and `--lock-image-digests`: each tag held fast by the digest its registry gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cais.diag.api import ERROR, CaisError, Diagnostic, Faults
from cais.fetch.http import Silent
from cais.fetch.oci import pin, reference

if TYPE_CHECKING:
    from cais.model.api import Stack


def pinned(stack: Stack) -> dict[str, str]:
    """The image of each service that names one, with its digest, by service.

    Raises Faults with every image that has none; a registry that does not answer is asked once.
    """
    found: dict[str, str] = {}
    faults: list[Diagnostic] = []
    silent: set[str] = set()
    for service, entry in sorted((stack.canonical.get("services") or {}).items()):
        image = entry.get("image")
        if not image or entry.get("provider") is not None:
            continue
        try:
            if reference(image).registry not in silent:
                found[service] = pin(image)
        except CaisError as error:
            if isinstance(error, Silent):
                silent.add(reference(image).registry)
            span = stack.span("services", service, "image")
            hint = error.hint or "name the image by its digest (image@sha256:…)"
            faults.append(Diagnostic(ERROR, "digest", f"service {service}: {error.message}", span, hint))
    if faults:
        raise Faults(faults)
    return found
