"""`make bench`: every bench in turn; `python bench/run.py five clarifai` picks some."""

import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

ALL = ("start", "five", "fifty", "clarifai", "config")

for name in sys.argv[1:] or ALL:
    importlib.import_module(name).main()
    print()
