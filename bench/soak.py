"""`make soak`: kills at random moments, as this user; prints a table for docs/soak.md.

For each verb (up, run, down), 20 rounds: the verb is started on a stack with a database under write load, and the
supervisor is killed at a random moment. Counted: processes, mounts and interfaces left, rows that were acknowledged and
are gone, and starts that failed afterwards. Then Neo4j is killed under write load.
"""

import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "real"))

from chaos import acknowledged_and_kept, interfaces, left_after_kill, run_and_kill, write_stack
from common import machine
from orphans import adopted

from conftest import Project

VERBS = {
    "up": ["up", "-d", "--wait"],
    "run": ["run", "--rm", "-T", "idle", "sleep", "1"],
    "down": ["down", "--timeout", "2"],
}
ROUNDS = 20


def main() -> None:
    who = "root" if os.geteuid() == 0 else "user"
    chosen = random.Random(os.environ.get("CAIS_SEED", "cais"))
    print(f"kill -9 of the supervisor, {ROUNDS} random moments a verb, as {who} ({machine()})")
    print("| verb | kills | left behind | failed next `up` | acknowledged rows | lost |\n|---|---|---|---|---|---|")
    bad = 0
    for verb, argv in VERBS.items():
        top = Path(tempfile.mkdtemp(prefix="cais-soak-"))
        project = Project(top, f"soak{verb}")
        write_stack(project)
        before = interfaces()
        left = failed = 0
        lost: set[int] = set()
        seen: set[int] = set()
        try:
            with adopted():
                project.up()
                for _ in range(ROUNDS):
                    run_and_kill(project, argv, chosen.uniform(0.02, 1.5))
                    rest = left_after_kill(project, before)
                    if rest:
                        left += 1
                        print("left:", *rest[:5], sep="\n  ", file=sys.stderr)
                    if project.run("up", "-d", "--wait", check=False).returncode:
                        failed += 1
                    time.sleep(0.2)
                    seen, kept = acknowledged_and_kept(project)
                    lost |= seen - kept
        finally:
            project.run("down", "-v", "--timeout", "1", check=False)
            shutil.rmtree(top, ignore_errors=True)
        bad += left + failed + len(lost)
        print(f"| {verb} | {ROUNDS} | {left} | {failed} | {len(seen)} | {len(lost)} |", flush=True)
    raise SystemExit(1 if bad else 0)


if __name__ == "__main__":
    main()
