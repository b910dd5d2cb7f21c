"""ClarifAI: `up -d --wait` against its critical path, cold (no data) and warm.

The critical path is the longest chain of `depends_on`, each service started by hand the moment its needs are met:
the same programs in the same files, each in a plain chroot over a mounted overlay, on the host's network, all names in
/etc/hosts. No namespaces, no supervisor, no logs. Each health test is asked again 10 ms after it said no. Root only.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from common import CAIS, machine, median_of, ratio, say, timed

from cais.supervise.api import InstanceSpec
from cais.supervise.client import snapshot

STACK = Path(__file__).parents[1] / "stacks" / "clarifai"
PROJECT = "clarifai-bench"


class ByHand:
    """All services of one project in chroots below `top`."""

    def __init__(self, specs: tuple[InstanceSpec, ...], top: Path, volumes: Path) -> None:
        self.specs, self.top, self.volumes = specs, top, volumes
        self.met = {(s.service, c): threading.Event() for s in specs for c in ("started", "healthy", "completed")}
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.mounted: list[Path] = []
        self.failed: list[str] = []

    def prepare(self) -> None:
        """Mounts, before the clock runs."""
        names = sorted({name for s in self.specs for a in s.net.attachments for name in a.names})
        for spec in self.specs:
            upper, work, root = (self.top / spec.service / part for part in ("upper", "work", "root"))
            for folder in (upper, work, root):
                folder.mkdir(parents=True)
            lower = ":".join(spec.root.layers)
            self.mount("-t", "overlay", "-o", f"lowerdir={lower},upperdir={upper},workdir={work}", "overlay", str(root))
            (root / "etc" / "hosts").write_text(f"127.0.0.1 localhost {' '.join(names)}\n")
            for kernel in ("proc", "dev", "sys"):
                self.mount("--bind", f"/{kernel}", str(root / kernel))
            for mount in spec.root.mounts:
                target = root / mount.target.lstrip("/")
                if mount.kind == "volume":
                    kept = self.volumes / mount.target.strip("/").replace("/", "-")
                    target.mkdir(parents=True, exist_ok=True)
                    if not kept.exists():
                        subprocess.run(["cp", "-a", str(target), str(kept)], check=True)
                    self.mount("--bind", str(kept), str(target))
                elif mount.kind == "bind":
                    target.mkdir(parents=True, exist_ok=True)
                    self.mount("--bind", mount.source, str(target))

    def mount(self, *argv: str) -> None:
        subprocess.run(["mount", *argv], check=True)
        self.mounted.append(Path(argv[-1]))

    def command(self, spec: InstanceSpec, argv: tuple[str, ...], user: str) -> list[str]:
        who = [] if user in ("", "root", "0", "0:0") else [f"--userspec={user}"]
        env = [f"{k}={v}" for k, v in spec.process.env.items()]
        root = str(self.top / spec.service / "root")
        inner = ["env", "-i", *env, "sh", "-c", 'cd "$0" && exec "$@"', spec.process.cwd or "/", *argv]
        return ["chroot", *who, root, *inner]

    def live(self, spec: InstanceSpec) -> None:
        """One service: wait for what it needs, start it, ask until it answers."""
        words = {
            "service_started": "started",
            "service_healthy": "healthy",
            "service_completed_successfully": "completed",
        }
        for need in spec.depends_on:
            self.met[need.service, words[need.condition]].wait()
        log = open(self.top / f"{spec.service}.log", "wb")
        argv = self.command(spec, spec.process.argv, spec.process.user)
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self.running[spec.service] = process
        self.met[spec.service, "started"].set()
        if spec.health:
            ask = self.command(spec, spec.health.argv, spec.process.user)
            while subprocess.run(ask, stdin=subprocess.DEVNULL, stdout=log, stderr=log).returncode:
                if process.poll() is not None:
                    self.failed.append(spec.service)
                    break
                time.sleep(0.01)
            self.met[spec.service, "healthy"].set()
        elif any(n.service == spec.service and "completed" in n.condition for s in self.specs for n in s.depends_on):
            if process.wait():
                self.failed.append(spec.service)
            self.met[spec.service, "completed"].set()

    def up(self) -> float:
        start = time.monotonic()
        threads = [threading.Thread(target=self.live, args=(spec,)) for spec in self.specs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.monotonic() - start
        if self.failed:
            logs = "\n".join((self.top / f"{name}.log").read_text(errors="replace")[-800:] for name in self.failed)
            raise SystemExit(f"by hand, {', '.join(self.failed)} failed:\n{logs}")
        return took

    def down(self) -> None:
        for spec in self.specs:
            if process := self.running.get(spec.service):
                try:
                    os.killpg(process.pid, spec.stop_signal)
                except ProcessLookupError:
                    pass
        for process in self.running.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        for place in reversed(self.mounted):
            subprocess.run(["umount", "-l", str(place)], check=False)
        self.mounted.clear()


def by_hand(specs: tuple[InstanceSpec, ...], runs: int) -> tuple[list[float], list[float]]:
    cold, warm = [], []
    for _ in range(runs):
        with tempfile.TemporaryDirectory(prefix="cais-hand-") as name:
            top = Path(name)
            (top / "volumes").mkdir()
            for figures in (cold, warm):
                hand = ByHand(specs, top / ("cold" if figures is cold else "warm"), top / "volumes")
                hand.prepare()
                try:
                    figures.append(hand.up())
                finally:
                    hand.down()
    return cold, warm


def main(runs: int = 5) -> None:
    print(f"ClarifAI, `up -d --wait` ({machine()})")
    with tempfile.TemporaryDirectory(prefix="cais-bench-") as name:
        folder = Path(name, "clarifai")
        shutil.copytree(STACK, folder, ignore=shutil.ignore_patterns(".env", "__pycache__", ".pytest_cache"))
        shutil.copy(folder / ".env.example", folder / ".env")
        os.environ["CAIS_STATE"] = str(Path(name, "state"))
        env = dict(os.environ)
        cais = [*CAIS, "-p", PROJECT]
        up, down = [*cais, "up", "-d", "--wait"], [*cais, "down"]
        timed(up, cwd=folder, env=env, timeout=900)
        there = snapshot(PROJECT)
        assert there is not None
        specs = there.specs
        again = median_of(runs, lambda: timed([*cais, "up", "-d"], cwd=folder, env=env))
        timed([*down, "-v"], cwd=folder, env=env)

        colds, warms = [], []
        for _ in range(runs):
            colds.append(timed(up, cwd=folder, env=env))
            timed(down, cwd=folder, env=env)
            warms.append(timed(up, cwd=folder, env=env))
            timed([*down, "-v"], cwd=folder, env=env)
        ours = {"cold": iter(colds), "warm": iter(warms)}
        figures = {kind: median_of(runs, lambda kind=kind: next(ours[kind])) for kind in ours}
        say("Cais, cold", figures["cold"])
        say("Cais, warm", figures["warm"])
        say("Cais, up with nothing to do", again)
        if os.geteuid():
            print("  critical path not measured: mounting by hand needs root")
            return
        by = dict(zip(("cold", "warm"), map(iter, by_hand(specs, runs)), strict=True))
        path = {kind: median_of(runs, lambda kind=kind: next(by[kind])) for kind in by}
        for kind in ("cold", "warm"):
            say(f"critical path by hand, {kind}", path[kind])
        for kind in ("cold", "warm"):
            ratio(f"{kind}, to its critical path", figures[kind][0], path[kind][0], "<= 1.3")


if __name__ == "__main__":
    sys.exit(main())
