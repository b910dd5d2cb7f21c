"""Text -> Stack. `cais.load(paths)` is both this package and its one verb: the module can be called."""

import sys
from types import ModuleType
from typing import Any


class _Verb(ModuleType):
    def __call__(self, *args: Any, **options: Any) -> Any:
        from cais.load.api import load

        return load(*args, **options)


sys.modules[__name__].__class__ = _Verb
