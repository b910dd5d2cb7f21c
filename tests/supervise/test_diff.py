"""What `up` decides to do, as the text `--dry-run` prints."""

from cais.sandbox.api import Attachment, Net, NetworkSpec, Process, Root
from cais.supervise.api import Dependency, Desired, InstanceSpec, InstanceState
from cais.supervise.diff import diff
from cais.supervise.messages import ApplyOptions

NET = NetworkSpec(name="p_default")


def spec(service: str, number: int = 1, *, hash: str = "1", **more) -> InstanceSpec:
    return InstanceSpec(
        id=f"p-{service}-{number}",
        service=service,
        number=number,
        config_hash=hash,
        root=Root(layers=(), upper=""),
        process=Process(argv=("true",)),
        net=more.pop("net", Net(attachments=(Attachment(network="p_default"),))),
        **more,
    )


def needs(service: str, **more) -> dict[str, tuple[Dependency, ...]]:
    return {"depends_on": (Dependency(service=service, **more),)}


def plan(there, wanted, *, phase="running", networks=(NET,), options=ApplyOptions(), empty=()) -> list[str]:  # noqa: B008
    states = {s.id: InstanceState(id=s.id, service=s.service, number=s.number, phase=phase, started=1.0) for s in there}
    desired = Desired(project="p", networks=(NET,), instances=tuple(wanted), empty=empty)
    return diff(there, states, networks, desired, options).render().splitlines()


def test_the_first_up_makes_everything_dependencies_first():
    api = spec("api", **needs("db", condition="service_healthy"))
    assert plan([], [api, spec("db")], networks=()) == [
        "create network p_default",
        "create p-db-1",
        "create p-api-1",
        "start p-db-1",
        "start p-api-1 when db is healthy",
    ]


def test_what_is_as_it_should_be_is_kept():
    assert plan([spec("db")], [spec("db")]) == ["keep p-db-1 (running)"]


def test_only_what_changed_is_made_anew():
    there = [spec("db"), spec("api")]
    assert plan(there, [spec("db"), spec("api", hash="2")]) == [
        "keep p-db-1 (running)",
        "recreate p-api-1 (its configuration changed)",
        "start p-api-1",
    ]
    assert plan(there, [spec("db"), spec("api", hash="2")], options=ApplyOptions(recreate="never")) == [
        "keep p-db-1 (running)",
        "keep p-api-1 (running)",
    ]


def test_what_ended_is_started_again():
    assert plan([spec("db")], [spec("db")], phase="exited") == ["start p-db-1"]


def test_force_recreates_the_named_and_leaves_their_dependencies():
    options = ApplyOptions(recreate="force", named=("api",))
    assert plan([spec("db"), spec("api")], [spec("db"), spec("api")], options=options) == [
        "keep p-db-1 (running)",
        "recreate p-api-1 (forced)",
        "start p-api-1",
    ]


def test_scaling_down_removes_the_highest_numbers():
    there = [spec("web", n) for n in (1, 2, 3)]
    assert plan(there, [spec("web", 1)]) == [
        "remove p-web-2 (scaled down)",
        "remove p-web-3 (scaled down)",
        "keep p-web-1 (running)",
    ]
    assert plan(there[:1], [], empty=("web",)) == ["remove p-web-1 (scaled down)"]


def test_orphans_go_only_when_asked():
    there, wanted = [spec("db"), spec("old")], [spec("db")]
    assert plan(there, wanted) == ["keep p-db-1 (running)"]
    options = ApplyOptions(remove_orphans=True, services=("db", "hidden"))
    assert plan(there, wanted, options=options) == ["remove p-old-1 (orphan)", "keep p-db-1 (running)"]
    assert plan([spec("hidden")], [], options=options) == []


def test_restart_true_follows_a_new_dependency():
    there = [spec("db"), spec("api", **needs("db", restart=True)), spec("job", **needs("db"))]
    wanted = [spec("db", hash="2"), *there[1:]]
    assert plan(there, wanted) == [
        "recreate p-db-1 (its configuration changed)",
        "keep p-job-1 (running)",
        "start p-db-1",
        "restart p-api-1 (db is new)",
    ]


def test_what_lives_in_the_network_of_a_new_instance_is_made_anew():
    follower = spec("side", net=Net(mode="instance:p-db-1"), **needs("db", restart=True))
    assert "recreate p-side-1 (p-db-1 is new)" in plan([spec("db"), follower], [spec("db", hash="2"), follower])


def test_a_changed_network_takes_its_instances_along():
    old = NetworkSpec(name="p_default", internal=True)
    assert plan([spec("db")], [spec("db")], networks=(old,)) == [
        "remove network p_default",
        "create network p_default",
        "recreate p-db-1 (its network changed)",
        "start p-db-1",
    ]


def test_one_offs_are_nobodys_business():
    assert plan([spec("db", 7, oneoff=True)], [spec("db")]) == ["create p-db-1", "start p-db-1"]
