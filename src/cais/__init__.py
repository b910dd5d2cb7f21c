"""Cais: run, check and ship the stack you already describe in compose.yaml. The types are in `__init__.pyi`."""

__version__ = "0.1.0"

__all__ = ["CaisError", "Diagnostic", "Faults", "Span", "Stack", "__version__", "load"]

# Imported when first asked for: `cais --version` costs a bare Python. `load` is a package that can be called.
_HOME = {
    "CaisError": "cais.diag.api",
    "Diagnostic": "cais.diag.api",
    "Faults": "cais.diag.api",
    "Span": "cais.source.api",
    "Stack": "cais.model.stack",
}


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name == "load":
        return import_module("cais.load")
    if name not in _HOME:
        raise AttributeError(f"module 'cais' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
