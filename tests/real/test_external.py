"""What a file says somebody else keeps: a volume has to be there, a network is said to be another one here."""


def test_an_external_volume_that_is_not_there_is_an_error_and_one_of_another_project_is_used(project):
    project.compose(
        """
        services:
          api:
            image: debian:bookworm
            command: [sleep, "1000"]
            init: true
            volumes: ["theirs:/data"]
        volumes:
          theirs: {external: true, name: other_data}
        """
    )
    done = project.run("up", "-d", check=False)
    assert done.returncode == 1
    for words in ('external volume "other_data" not found', "cannot start api", "compose.yaml:8", "mkdir"):
        assert words in done.stderr, done.stderr
    ran = project.run("run", "--rm", "-T", "api", "true", check=False)
    assert ran.returncode == 1 and 'external volume "other_data" not found' in ran.stderr

    project.write(
        "other.yaml",
        """
        name: other
        services:
          w: {image: "debian:bookworm", command: [sh, -c, "echo kept >/d/file; sleep 1000"], volumes: ["data:/d"]}
        volumes: {data: {}}
        """,
    )
    project.run("-f", "other.yaml", "up", "-d", "--wait")
    project.run("-f", "other.yaml", "down", "-t", "1")
    project.up()
    assert project.exec("api", "cat", "/data/file").stdout == "kept\n"
    project.run("down", "-v", "-t", "1")
    project.up()
    assert project.exec("api", "cat", "/data/file").stdout == "kept\n"


def test_an_external_network_is_said_to_be_the_project_s_own(project):
    project.compose(
        """
        services:
          api: {image: "debian:bookworm", command: [sleep, "1000"], init: true, networks: [shared]}
        networks:
          shared: {external: true, name: everyone}
          unused: {external: true}
        """
    )
    done = project.up()
    lines = [line for line in done.stderr.splitlines() if "warning:" in line and "external" in line]
    assert len(lines) == 1 and "everyone" in lines[0] and "compose.yaml:4" in lines[0], done.stderr
    assert "external" not in project.up().stderr


def test_a_folder_with_docker_s_socket_is_said_when_the_service_is_made(project):
    project.compose("""
        services:
          peek:
            image: busybox
            init: true
            command: sleep infinity
            volumes: [/run:/host:ro]
    """)
    done = project.run("up", "-d")
    assert [line for line in done.stderr.splitlines() if "peek gets /run," in line and "compose.yaml:6" in line]
    assert "peek gets" not in project.run("up", "-d").stderr
    ran = project.run("run", "--rm", "peek", "true")
    assert "peek gets /run," in ran.stderr
