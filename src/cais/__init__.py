"""Cais: run, check and ship the stack you already describe in compose.yaml."""

TYPE_CHECKING = False  # checkers know the name; to import typing for it would double what `cais --version` costs

if TYPE_CHECKING:
    from cais.diag.api import CaisError, Diagnostic, Faults
    from cais.load.api import load
    from cais.model.stack import Stack
    from cais.source.api import Span

__version__ = "0.1.0"

__all__ = ["CaisError", "Diagnostic", "Faults", "Span", "Stack", "__version__", "load"]

# Imported when first asked for: `cais --version` costs a bare Python.
_HOME = {
    "CaisError": "cais.diag.api",
    "Diagnostic": "cais.diag.api",
    "Faults": "cais.diag.api",
    "Span": "cais.source.api",
    "Stack": "cais.model.stack",
}


def __getattr__(name: str) -> object:
    if name == "load":  # the package, which can be called
        import cais.load

        return cais.load
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'cais' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(home), name)
