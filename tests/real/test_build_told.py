"""What is wrong with builds is told before anything is built, all at once, each at its place."""

import pytest

pytestmark = pytest.mark.real


def test_faults_of_several_dockerfiles_and_images_are_told_together(project):
    project.write("a/Dockerfile", "FROM alpine\nRUNN x\n")
    project.write("b/Dockerfile", "FROM nobodys:1\n")
    project.compose(
        """
        services:
          a: {build: a}
          b: {build: b}
          c: {build: {context: a, dockerfile: Nope}}
          d: {build: {context: a, dockerfile_inline: "FROM alpine\\nCOPI x y\\n"}}
          e: {image: "nobodys:2"}
        """
    )
    done = project.run("up", "-d", check=False)
    assert done.returncode == 1
    places = [line.partition(" error: ")[0] for line in done.stderr.splitlines() if " error: " in line]
    assert sorted(places) == [
        "a/Dockerfile:2:1:",
        "b/Dockerfile:1:6:",
        "compose.yaml:4:14:",
        "compose.yaml:5:46:",
        "compose.yaml:6:14:",
    ]


@pytest.mark.parametrize(
    "secret, why",
    [
        ("environment: NOPE_UNSET", "the environment variable NOPE_UNSET is not set"),
        ("file: ./nope.txt", "nope.txt, or it cannot be read"),
    ],
)
@pytest.mark.parametrize("command", ["build", "up"])
def test_a_build_secret_nobody_can_give_is_told_before_the_build(project, secret, why, command):
    project.compose(
        f"""
        services:
          a:
            build:
              dockerfile_inline: |
                FROM alpine
                RUN touch /made
                RUN --mount=type=secret,id=s cat /run/secrets/s
              secrets: [s]
        secrets:
          s: {{{secret}}}
        """
    )
    done = project.run(command, check=False)
    assert done.returncode == 1
    assert "compose.yaml:10:" in done.stderr and why in done.stderr
    assert "building" not in done.stdout + done.stderr


@pytest.mark.parametrize("command", [["up", "-d"], ["up", "--dry-run"], ["run", "--rm", "web"]], ids=" ".join)
def test_values_images_and_dockerfiles_are_told_together(project, command):
    project.write("Dockerfile", "FROM alpine\nRUNN x\n")
    project.compose(
        """
        services:
          web: {build: ., restart: allways, depends_on: [db]}
          db: {image: "nobodys:1"}
        """
    )
    done = project.run(*command, check=False)
    assert done.returncode == 1
    places = [line.partition(" error: ")[0] for line in done.stderr.splitlines() if " error: " in line]
    assert sorted(places) == ["Dockerfile:2:1:", "compose.yaml:2:28:", "compose.yaml:3:15:"], done.stderr
