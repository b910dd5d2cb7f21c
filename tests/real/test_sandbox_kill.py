"""kill -9 of the supervisor at any moment leaves nothing of its stack."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from orphans import adopted, running, running_after

pytestmark = pytest.mark.real

# A supervisor that starts five services, enters them, publishes a port, and goes on until it is killed.
SUPERVISOR = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from sandbox_stack import Stack, on
from cais.sandbox.api import NetworkSpec, PortSpec, Process

async def main():
    stack = Stack(Path(sys.argv[1]))
    print("booted", flush=True)
    await stack.box.add_network(NetworkSpec(name="default"))
    names = [f"service-{n}" for n in range(5)]
    mark = ("sh", "-c", "sleep 4242 & sleep 4242", sys.argv[1])
    await asyncio.gather(*(stack.start(name, *mark, net=on("default")) for name in names))
    await stack.box.publish(names[0], PortSpec(target=80))
    while True:
        for number, name in enumerate(names):
            stack.count += 1
            token = f"exec-{stack.count}"
            await stack.box.enter(name, Process(argv=mark, env={"PATH": "/bin"}), (-1, -1, -1), token)
            stack.box.signal(token, 9)
            await stack.ended(token)

asyncio.run(main())
"""


@pytest.mark.parametrize("attempt", range(20))
def test_nothing_is_left_when_the_supervisor_is_killed(tmp_path: Path, attempt: int) -> None:
    links = set(os.listdir("/sys/class/net"))
    with adopted():
        supervisor = subprocess.Popen(
            [sys.executable, "-c", SUPERVISOR, str(tmp_path), str(Path(__file__).parent)],
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert supervisor.stdout is not None
        if attempt % 4:  # one in four is killed while it boots
            assert supervisor.stdout.readline() == b"booted\n"
            assert any(name.endswith("cais-init") for name in running()), "what this test looks for is not seen"
        time.sleep(random.Random(attempt).uniform(0, 0.4))
        supervisor.send_signal(signal.SIGKILL)
        supervisor.wait()
        supervisor.stdout.close()
        assert running_after() == []
    assert set(os.listdir("/sys/class/net")) == links
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
