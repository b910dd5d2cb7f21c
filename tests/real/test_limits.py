"""Limits of a service: enforced where this user may make cgroups, said in one line where not."""

from cais.sandbox import limits


def test_limits_are_enforced_or_said_and_never_an_error(project):
    service = "{image: 'debian:bookworm-slim', command: [sleep, '1000'], init: true, mem_limit: 64m, pids_limit: 30}"
    project.compose(f"services:\n  one: {service}\n  two: {service}\n")
    done = project.up()
    lines = [line for line in done.stderr.splitlines() if "not enforced" in line]
    can = [limits.base(controller) is not None for controller in ("memory", "pids")]
    if all(can):
        assert lines == []
        eaten = project.exec("one", "sh", "-c", "head -c 200m /dev/zero | tail -c 200m | wc -c", check=False)
        assert "209715200" not in eaten.stdout
        many = project.exec("one", "sh", "-c", "for i in $(seq 60); do sleep 5 & done", check=False)
        assert "fork" in many.stderr.lower()
    else:
        assert len(lines) == 1 and "one" in lines[0] and "two" in lines[0], done.stderr
    assert "not enforced" not in project.up().stderr
