"""Whatever stands where, loading ends with a project or with faults: no stage stumbles over what the schema refuses.

The documents are made along the schema itself, so that they reach every attribute, with something else in its place
every now and then; merged, extended and included as people do.
"""

import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from cais.diag.api import CaisError
from cais.load import schema
from cais.load.api import load_with
from cais.load.job import Options
from cais.load.shapes import Shape

JUNK: list[Any] = [
    None, "", 0, -1, 1.5, 2**70, True, "a", "${U}", "${", "${U:?no}",
    [], {}, ["a"], [1], [None], [["a"]], [{}], {"a": 1}, {"a": None},
    {"a": {}}, {"a": []}, [{"a": 1}], [{"source": 1}], [{"path": 1}], {"test": 5}, {"service": "b", "file": 1},
]  # fmt: skip
NAMES = ["", "A", "b c", "x-a", "image", *schema.SERVICE.fields, *schema.CONTAINER]
TEXTS = ["a", "b", "n", "5", 5, True, "./x", "a:b", "a=b", "1m", "${U:-3}", "80:80"]
ROUNDS = 120


class Maker:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def value(self, shape: Shape, depth: int = 1) -> Any:
        choose = self.random.choice
        if depth > 5 or self.random.random() < 0.08:
            return choose(JUNK)
        kinds = ["text"] * bool(shape.scalars) + ["list"] * 2 * (shape.items is not None) + ["map"] * 3 * shape.maps
        match choose(kinds or ["text"]):
            case "list":
                assert shape.items is not None
                return [self.value(shape.items, depth + 1) for _ in range(choose([0, 1, 1, 2]))]
            case "map":
                names = self.some(list(shape.fields), 3) + list(shape.needs)
                made = {name: self.value(shape.fields[name], depth + 1) for name in names}
                if shape.rest is not None:
                    made |= {name: self.value(shape.rest, depth + 1) for name in self.some(["a", "b", "n"], 2)}
                if self.random.random() < 0.05:
                    made[choose(NAMES)] = choose(JUNK)
                return made
        return choose(shape.choices or TEXTS)

    def some(self, names: list[str], most: int) -> list[str]:
        return self.random.sample(names, self.random.randint(min(1, len(names)), min(most, len(names))))

    def service(self) -> Any:
        if self.random.random() < 0.03:
            return self.random.choice(JUNK)
        fields = schema.SERVICE.fields
        made = {"image": "x"} | {name: self.value(fields[name]) for name in self.some(list(fields), 3)}
        if self.random.random() < 0.05:
            made[self.random.choice(NAMES)] = self.random.choice(JUNK)
        if self.random.random() < 0.2:
            made["extends"] = self.random.choice(["b", {"service": "b", "file": "other.yaml"}, {"file": "a.yaml"}, 5])
        return made

    def document(self) -> Any:
        made: dict[str, Any] = {"services": {name: self.service() for name in self.some(["a", "b", "c"], 2)}}
        for name, shape in schema.FILE.fields.items():
            if name != "services" and self.random.random() < 0.08:
                made[name] = self.value(shape)
        return made

    def file(self) -> str:
        return yaml.dump_all([self.document() for _ in range(self.random.choice([1, 1, 1, 2]))], sort_keys=False)


def test_every_document_ends_in_a_project_or_in_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    maker = Maker(5)
    loaded = 0
    for _ in range(ROUNDS):
        for name in ("a.yaml", "b.yaml", "other.yaml"):
            (tmp_path / name).write_text(maker.file())
        paths = maker.random.choice([("a.yaml",), ("a.yaml", "b.yaml")])
        chosen = Options(paths=paths, interpolate=maker.random.random() < 0.8, consistency=maker.random.random() < 0.5)
        try:
            list(load_with(chosen, {"HOME": "/nonexistent"}).canonical)
            loaded += 1
        except CaisError as error:
            assert all(one.message for one in error.diagnostics())
    assert loaded  # or nothing behind the schema was reached
