"""`x-cais: {native: {command: …}}`: a service whose image no card knows runs its own command on Debian's userland."""


def test_an_unknown_image_runs_its_native_command_with_all_that_the_file_says(project):
    project.write("site/index.html", "own\n")
    project.compose(
        """
        services:
          odd:
            image: example.org/nobody/knows:1
            entrypoint: [/never]
            command: [there]
            environment: {WORD: hello}
            volumes: ["./site:/site:ro"]
            healthcheck: {test: ["CMD", "test", "-e", "/ready"], interval: 100ms, retries: 100}
            x-cais: {native: {command: "echo $$WORD; cat /site/index.html; touch /ready; exec sleep 1000"}}
          other:
            image: debian:bookworm-slim
            command: [sleep, "1000"]
        """
    )
    done = project.up()
    assert "odd" in done.stderr and "stands for example.org/nobody/knows:1" in done.stderr
    log = project.run("logs", "--no-log-prefix", "odd").stdout
    assert "hello\nown\n" in log
    assert "bookworm" in project.exec("odd", "cat", "/etc/os-release").stdout
    assert project.exec("other", "getent", "hosts", "odd").stdout.split()[-1] == "odd"
    one = project.run("run", "--rm", "-T", "odd", "sh", "-c", "echo once $WORD").stdout
    assert one == "once hello\n"
    refused = project.run("up", "-d", "--strict", check=False)
    assert refused.returncode == 1 and "odd" in refused.stderr


def test_a_native_command_that_is_no_command_is_an_error_of_the_file(project):
    project.compose(
        """
        services:
          odd:
            image: example.org/nobody/knows:1
            x-cais: {native: {command: {a: b}}}
        """
    )
    done = project.run("up", "-d", check=False)
    assert done.returncode == 1
    assert "odd" in done.stderr and "x-cais.native.command" in done.stderr and "compose.yaml:" in done.stderr
