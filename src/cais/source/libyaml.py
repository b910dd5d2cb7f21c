"""libyaml's parser out of PyYAML's C extension, without the rest of PyYAML.

`import yaml` also loads constructors, resolvers and representers with `datetime`, `base64` and their tables: 10 ms
that `cais config` would pay each time. The extension needs of them only their exception classes. While it is
loaded, stand-ins take their places; then they are taken away again, so that a later `import yaml` finds the
whole package.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

_ERRORS = {
    "reader": "ReaderError",
    "scanner": "ScannerError",
    "parser": "ParserError",
    "composer": "ComposerError",
    "constructor": "ConstructorError",
    "emitter": "EmitterError",
    "serializer": "SerializerError",
    "representer": "RepresenterError",
}


def _whole() -> tuple[Any, Any, Any]:
    from yaml._yaml import CParser
    from yaml.error import MarkedYAMLError
    from yaml.reader import ReaderError

    return CParser, MarkedYAMLError, ReaderError


def _alone() -> tuple[Any, Any, Any]:
    from importlib import import_module

    folder = _folder()
    package = ModuleType("yaml")
    package.__path__ = [folder]
    sys.modules["yaml"] = package
    stand_ins = []
    try:
        errors = import_module("yaml.error")
        for name in ("tokens", "events", "nodes"):
            import_module(f"yaml.{name}")
        for name, error in _ERRORS.items():
            module = ModuleType(f"yaml.{name}")
            base = errors.YAMLError if error in ("ReaderError", "EmitterError") else errors.MarkedYAMLError
            body = {"__init__": _reader_error} if error == "ReaderError" else {}
            setattr(module, error, type(error, (base,), body))
            sys.modules[module.__name__] = module
            setattr(package, name, module)
            stand_ins.append(module.__name__)
        extension = import_module("yaml._yaml")
        return extension.CParser, errors.MarkedYAMLError, package.reader.ReaderError
    finally:
        for name in ("yaml", *stand_ins):
            del sys.modules[name]


def _reader_error(self: Any, name: Any, position: Any, character: Any, encoding: Any, reason: Any) -> None:
    """As PyYAML's own: where the reader stopped, and why."""
    self.name, self.position, self.character = name, position, character
    self.encoding, self.reason = encoding, reason


def _folder() -> str:
    from os.path import isfile

    for entry in sys.path:
        if isfile(f"{entry}/yaml/error.py"):
            return f"{entry}/yaml"
    raise ImportError("PyYAML is not a folder on sys.path")


def _load() -> tuple[Any, Any, Any]:
    # A program that uses Cais as a library may want all of PyYAML later, `yaml.nodes` and the like included:
    # only our own command line takes the short way.
    if "cais.cli.main" not in sys.modules or "yaml" in sys.modules or "yaml._yaml" in sys.modules:
        return _whole()
    try:
        return _alone()
    except (ImportError, AttributeError):
        for name in [one for one in sys.modules if one.startswith("yaml.")]:
            del sys.modules[name]
        return _whole()


CParser, MarkedYAMLError, ReaderError = _load()
