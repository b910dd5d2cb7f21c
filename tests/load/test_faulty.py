"""Faulty files of our own, five and more of each kind people make: all their faults are found, and none besides.

`«code»` stands right before the place of a fault and is not part of the file; `=== name` begins another file.
tests/faults.jsonl lists the same by place for public files, which are other people's and not kept here.
"""

import os
import re
from pathlib import Path

import pytest

from cais.diag.api import ERROR, Faults
from cais.load.api import load

MARK = re.compile("«([a-z-]+)»")

FAULTY = {
    "what only follows": [  # from a value of the wrong kind: it is there, and what it would have given is not missing
        "services: {a: {image: «wrong-type»5}, b: {build: «wrong-type»5}, c: {provider: «wrong-type»5}}",
        "services: {a: {image: x, depends_on: [b], links: [b], pid: 'service:b'}, b: «wrong-type»5}",
        "services: {a: {image: x, depends_on: {b: {condition: service_started}}}, «wrong-type»b: }",
        "services: {a: {image: x, networks: [n]}}\nnetworks: «wrong-type»5\n",
        "services: {a: {image: x, networks: [n], volumes: ['v:/v']}}\nnetworks: {n: «wrong-type»5}\n"
        "volumes: {v: «wrong-type»5}\n",
        "services: {a: {image: x, secrets: [n], configs: [n]}}\nsecrets: {n: «wrong-type»5}\n"
        "«wrong-type»configs: [n]\n",
        "services: {a: {image: x, secrets: [n], configs: [n]}}\nsecrets: {n: {file: «wrong-type»5}}\n"
        "configs: {n: {content: «wrong-type»5}}\n",
        "services: {a: {image: x}}\nsecrets: {n: {«unknown-key»fil: f}}\nconfigs: {n: {«wrong-type»external: [5]}}\n",
        "services: {a: {image: x, configs: [{source: «wrong-type»5}]}}\nconfigs: {«missing-key»n: {x-file: c}}\n",
        "services: {a: {image: x, volumes: [{type: bind, source: «wrong-type»5, target: /x}, "
        "«volume»{type: bind, target: /y}]}}",
        "services: {a: {image: x, volumes: [{type: bind, source: /x, target: «wrong-type»5}, «wrong-type»6]}}",
        "services: {a: {image: x, develop: {watch: [{path: x, action: sync, target: «wrong-type»5}]}}}",
        "services: {a: {build: {context: ., additional_contexts: {x: 'service:b'}}}, b: {build: «wrong-type»5}}",
        "services: {a: {image: x, cpus: 2, deploy: {resources: {limits: {«wrong-type»cpus: [1]}}}}}",
        "services: {a: {image: x}}\njobs: {j: {image: x, triggers: {manual: «wrong-type»5}}}",
        "services: {a: {image: x, devices: [{source: /dev/x, target: «wrong-type»5}]}}",
        "services: {a: {image: x, models: [m]}}\nmodels: «wrong-type»5\n",
    ],
    "undefined volume": [
        "services: {a: {image: x, volumes: [«undefined-volume»data:/data]}}",
        "services:\n  a:\n    image: x\n    volumes:\n      - «undefined-volume»one:/1\n      - ./two:/2\n"
        "      - «undefined-volume»three:/3:ro\n",
        "services: {a: {image: x, volumes: [db:/d, d:/drive]}, b: {image: x, volumes: [«undefined-volume»DB:/d]}}\n"
        "volumes: {db: }\n",
        "services:\n  a:\n    image: x\n    volumes:\n    - type: volume\n      source: «undefined-volume»big\n"
        "      target: /d\n",
        "services: {a: {image: x, volumes: [«undefined-volume»data:/d], «unknown-key»volume: []}}\nvolumes: {date: {}}",
    ],
    "YAML": [
        "services:\n  a:\n    image: x\n   «yaml»ports: []\n",
        "services:\n  a:\n«yaml»\timage: x\n",
        "services: {a: {image: x}\n«yaml»",
        "services:\n  a: {image: «unknown-anchor»*none}\n",
        "services:\n  a:\n    image: x\n    «duplicate-key»image: y\n  b: {image: z, «duplicate-key»image: z}\n",
        "services:\n  a: {image: x«yaml»: y}\n",
        "services:\n  a:\n    «merge-key»<<: [1]\n    image: x\n",
    ],
    "required variable": [
        "services: {a: {image: «required-variable»'${NONE:?which}'}}",
        "services:\n  a:\n    image: x\n    environment:\n      - «required-variable»A=${NONE?}\n"
        "      - B=${SOME:?no}\n      - «required-variable»C=${EMPTY:?no}\n",
        "services: {a: {image: x, environment: {A: «required-variable»'${NONE:?a} ${NONE2:?b}'}}}",
        "services: {a: {image: x, labels: {l: «required-variable»'${NONE:-${NONE2:?inner}}'}}}",
        "services: {a: {image: x, command: [a, «required-variable»'${NONE:?}'], «unknown-key»comand: b}}",
    ],
    "env file": [
        "services: {a: {image: x, env_file: «env-file»none.env}}",
        "services:\n  a:\n    image: x\n    env_file:\n      - «env-file»one.env\n      - good.env\n"
        "      - path: «env-file»two.env\n      - {path: three.env, required: false}\n=== good.env\nA=1\n",
        "services: {a: {image: x, env_file: bad.env}}\n=== bad.env\nA=1\n«env-file»B C=2\n",
        "services: {a: {image: x, env_file: bad.env}}\n=== bad.env\nA=«env-file»'never closed\n",
        "services: {a: {image: x, env_file: «env-file»a.env}, b: {image: x, env_file: [«env-file»b.env]}}",
    ],
    "schema": [
        "services: {a: {image: x, «unknown-key»prots: []}}",
        "services:\n  a:\n    image: x\n    «wrong-type»ports: {'80': 80}\n    «unknown-key»network: b\n",
        "services: {a: {image: x, «wrong-type»restart: [always]}}",
        "services: {a: {image: x, depends_on: {b: {condition: «wrong-value»ready}}}, b: {image: x}}",
        "«wrong-type»services: [a, b]\n",
        "services: {a: {image: x}}\n«unknown-key»volume: {d: {}}\n",
    ],
    "ports": [
        "services: {a: {image: x, ports: [«port»'80:eighty']}}",
        "services:\n  a:\n    image: x\n    ports:\n      - «port»'1:2:3'\n      - '80:80'\n      - «port»'99999:1'\n",
        "services: {a: {image: x, ports: [«port»'80-82:90-91']}}",
        "services: {a: {image: x, ports: [«port»'82-80:1']}}",
        "services: {a: {image: x, ports: [«port»'80:80/sctpp']}, b: {image: x, ports: [«port»':']}}",
    ],
    "image": [
        "services: {«no-image»a: {}}",
        "services:\n  «no-image»a:\n    command: b\n  b: {image: x}\n  «no-image»c:\n    restart: always\n",
        "services: {«no-image»a: {environment: {A: 1}, volumes: [«undefined-volume»data:/d]}}",
        "services: {a: {extends: b, image: x}, «no-image»b: {tty: true}}",
        "services: {«no-image»a: {image: ''}}",
    ],
}


@pytest.mark.parametrize(
    "marked", [pytest.param(text, id=f"{kind} {n}") for kind, texts in FAULTY.items() for n, text in enumerate(texts)]
)
def test_every_fault_and_no_other(marked: str, tmp_path: Path) -> None:
    wanted = []
    for part in ("=== compose.yaml\n" + marked).split("=== ")[1:]:
        name, _, text = part.partition("\n")
        for number, line in enumerate(text.split("\n"), 1):
            gone = 0
            for mark in MARK.finditer(line):
                wanted.append((name, number, mark.start() - gone + 1, mark[1]))
                gone += len(mark[0])
        (tmp_path / name).write_text(MARK.sub("", text))
    with pytest.raises(Faults) as caught:
        load([str(tmp_path / "compose.yaml")], env={"SOME": "x", "EMPTY": ""})
    found = [
        (os.path.basename(one.span.file), one.span.line, one.span.column, one.code)
        for one in caught.value.found
        if one.severity == ERROR and one.span
    ]
    assert sorted(found) == sorted(wanted)


def test_five_files_of_each_kind() -> None:
    assert min(map(len, FAULTY.values())) >= 5
