"""Bytes that a coverage-guided fuzzer invents, given to all that reads other people's files (`make fuzz`).

    python tests/fuzz/bytes.py [-max_total_time=SECONDS] [libFuzzer's options] [FOLDER with inputs to begin from]

Whatever the bytes are, the readers answer with a value or with a fault that has words; anything else, or five seconds
without an answer, stops the run, and the input is kept in a file `crash-…` or `timeout-…`.
"""

import os
import sys
import tempfile

import atheris

with atheris.instrument_imports(include=["cais.source", "cais.load", "cais.model"]):
    from cais.diag.api import CaisError, Diagnostic
    from cais.diag.text import render
    from cais.load.api import load
    from cais.source import edit
    from cais.source.formats import dockerfile, dockerignore, env
    from cais.source.libyaml import MarkedYAMLError, ReaderError

FOLDER = tempfile.mkdtemp(prefix="cais-fuzz-")
FILE = os.path.join(FOLDER, "compose.yaml")
ENV = os.path.join(FOLDER, "values.env")

SEEDS = (
    b"services:\n  a: {image: x, ports: ['80:80'], volumes: ['./d:/d'], environment: {A: '${B:-c}'}}\n",
    b"services:\n  a: &a\n    image: x\n    env_file: values.env\n  b: {<<: *a, depends_on: [a]}\nvolumes: {v: }\n",
    b"services: {a: {extends: {service: b}}, b: {build: {context: ., args: [A=1]}, deploy: {replicas: 2}}}\n",
    b"include: [compose.yaml]\nservices: {a: !reset null, b: {image: ${X:?no}, ports: !override ['1-3:4-6/udp']}}\n",
    b'# syntax=x\nARG A=1\nFROM x:${A:-2} AS b\nRUN <<E\na\nE\nCOPY --from=b ["a", "b"]\n',
    b"# A\nA=1\nexport B='x $A'\nC=\"${A:-y}\\n\"\nD\n",
)


def project(data: bytes) -> None:
    with open(FILE, "wb") as file:
        file.write(data)
    try:
        stack = load([FILE], env={"A": "x", "HOME": "/nonexistent"})
        list(stack.services)
    except CaisError as error:
        worded(error.diagnostics())


def values(data: bytes) -> None:
    with open(ENV, "wb") as file:
        file.write(data)
    with open(FILE, "w") as file:
        file.write("services: {a: {image: x, env_file: values.env}}\n")
    try:
        load([FILE], env={})
    except CaisError as error:
        worded(error.diagnostics())
    text = data.decode("utf-8", "replace")
    try:
        env.read_raw(text)
    except env.EnvFault as fault:
        assert fault.message


def edits(data: bytes) -> None:
    """A key added to what can be edited is there, and taken away again leaves the text as it was."""
    text = data.decode("utf-8", "replace")
    try:
        before = edit.parse(text)
        if before.kind != "map" or before.flow or not before.entries or "x-new" in {e.key for e in before.entries}:
            return
        changed = edit.apply(text, [edit.add_key(text, (), "x-new", 1)])
    except (MarkedYAMLError, ReaderError, edit.CannotEdit):
        return
    assert [entry.key for entry in edit.parse(changed).entries] == [*(entry.key for entry in before.entries), "x-new"]


def dockerfiles(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    dockerignore.read(text)
    try:
        dockerfile.read(text)
    except CaisError as error:
        worded(error.diagnostics())


def worded(found: "tuple[Diagnostic, ...] | list[Diagnostic]") -> None:
    assert found and all(one.message for one in found)
    render(found, folder=FOLDER)


TARGETS = (project, values, edits, dockerfiles)


def one(data: bytes) -> None:
    if data:
        TARGETS[data[0] % len(TARGETS)](data[1:])


def main() -> None:
    arguments = sys.argv
    if all(word.startswith("-") for word in arguments[1:]):
        begin = os.path.join(FOLDER, "seeds")
        os.mkdir(begin)
        for number, seed in enumerate(SEEDS):
            for target in range(len(TARGETS)):
                with open(os.path.join(begin, f"{number}-{target}"), "wb") as file:
                    file.write(bytes([target]) + seed)
        arguments = [*arguments, begin]
    bounds = ["-timeout=5", "-rss_limit_mb=2048", "-max_len=4096"]
    atheris.Setup([arguments[0], *bounds, *arguments[1:]], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
