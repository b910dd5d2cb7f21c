"""Maps a verb to a module and imports only that one; the only place that catches."""

import sys


def main() -> int:
    if sys.argv[1:] in (["--version"], ["-v"]):
        from cais import __version__

        print(f"cais {__version__}")
        return 0
    return 2
