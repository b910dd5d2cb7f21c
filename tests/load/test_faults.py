"""Every fault of forty public files that Docker Compose rejects, listed in tests/faults.jsonl, and none besides.

The files are other people's and not kept here: set CAIS_CORPUS to the folder that holds them. Without it the report's
head says so, and test_faulty.py holds the same promise to files of our own, for each of the kinds.
"""

import json
import os
from pathlib import Path

import pytest

from cais.diag.api import ERROR, Faults
from cais.load.api import load

CORPUS = os.environ.get("CAIS_CORPUS")
CASES = [json.loads(line) for line in (Path(__file__).parent.parent / "faults.jsonl").read_text().splitlines()]


if CORPUS:

    @pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
    def test_every_fault_and_no_other(case: dict) -> None:  # type: ignore[type-arg]
        path = Path(CORPUS or "") / case["id"]
        with pytest.raises(Faults) as caught:
            load([str(path)], env={"HOME": "/nonexistent", "PATH": "/usr/bin"})
        found = [
            {
                "file": os.path.basename(one.span.file),
                "line": one.span.line,
                "column": one.span.column,
                "code": one.code,
            }
            for one in caught.value.found
            if one.severity == ERROR and one.span
        ]
        assert found == case["faults"]


# kind: its codes, and how many files at least. In the whole corpus, no more than four are no YAML.
KINDS = {
    "undefined volume": ({"undefined-volume"}, 5),
    "YAML": ({"yaml", "merge-key", "not-a-mapping"}, 4),
    "required variable": ({"required-variable"}, 5),
    "env file": ({"env-file"}, 5),
    "schema": ({"unknown-key", "wrong-type", "wrong-value"}, 5),
    "ports": ({"port"}, 5),
    "image": ({"no-image"}, 5),
}


def test_the_list_has_forty_files_and_all_kinds() -> None:
    codes = [{fault["code"] for fault in case["faults"]} for case in CASES]
    assert len(CASES) >= 40
    for kind, (wanted, least) in KINDS.items():
        assert sum(bool(wanted & one) for one in codes) >= least, kind
