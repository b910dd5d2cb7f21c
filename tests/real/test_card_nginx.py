"""nginx as its image promises: pages, configuration, templates, scripts, logs, user, stop."""

import pytest


def compose(project, service="", *, image="nginx:1.27", port=80):
    project.compose(
        f"""
services:
  web:
    image: {image}
    healthcheck: {{test: ["CMD", "curl", "-s", "http://127.0.0.1:{port}/"], interval: 100ms, retries: 100}}
    {service}
"""
    )


def get(project, address="http://127.0.0.1/"):
    return project.exec("web", "curl", "-sS", address).stdout


@pytest.mark.parametrize("image, port", [("nginx:alpine", 80), ("nginx", 80), ("nginxinc/nginx-unprivileged", 8080)])
def test_the_welcome_page_and_the_logs(project, image, port):
    compose(project, image=image, port=port)
    project.up()
    assert "Welcome to nginx!" in get(project, f"http://127.0.0.1:{port}/")
    assert "404" in project.exec("web", "curl", "-si", f"http://127.0.0.1:{port}/none").stdout.splitlines()[0]
    logs = project.run("logs", "web").stdout
    assert '"GET /none HTTP/1.1" 404' in logs and "/usr/share/nginx/html/none" in logs


def test_mounted_pages_and_configuration(project):
    project.write("html/index.html", "my page")
    project.write("conf.d/app.conf", "server { listen 8000; http2 on; location / { stub_status; } }\n")
    compose(
        project,
        "volumes: ['./html:/usr/share/nginx/html:ro', './conf.d/app.conf:/etc/nginx/conf.d/app.conf:ro']",
    )
    project.up()
    assert get(project) == "my page\n" or get(project) == "my page"
    assert "Active connections" in get(project, "http://127.0.0.1:8000/")


def test_a_whole_configuration_with_its_user_is_used(project):
    project.write(
        "nginx.conf",
        "user nginx;\nworker_processes 1;\nevents {}\n"
        "http { include mime.types; server { listen 80; location / { return 200 'all mine'; } } }\n",
    )
    compose(project, "volumes: ['./nginx.conf:/etc/nginx/nginx.conf:ro']")
    project.up()
    assert get(project) == "all mine"


def test_templates_are_filled_with_what_is_set_and_nothing_else(project):
    project.write(
        "templates/sub/site.conf.template",
        "server { listen ${PORT}; location / { return 200 '${GREETING} $host ${UNSET_ONE}x'; } }\n",
    )
    compose(
        project,
        "environment: {PORT: '8000', GREETING: hello, UNSET_ONE: ''}\n"
        "    command: [nginx, '-g', 'daemon off;', '-c', /etc/nginx/nginx.conf]\n"
        "    volumes: ['./templates:/etc/nginx/templates:ro', './top.conf:/etc/nginx/nginx.conf:ro']",
    )
    project.write("top.conf", "events {}\nhttp { include conf.d/*.conf; include conf.d/sub/*.conf; }\n")
    project.up()
    assert get(project, "http://127.0.0.1:8000/") == "hello 127.0.0.1 x"


def test_template_variables_of_the_image(project):
    project.write("mine/site.conf.tpl", "server { listen 8000; location / { return 200 '${APP_A} ${OTHER}'; } }\n")
    compose(
        project,
        "environment: {NGINX_ENVSUBST_TEMPLATE_DIR: /mine, NGINX_ENVSUBST_TEMPLATE_SUFFIX: .tpl, "
        "NGINX_ENVSUBST_FILTER: '^APP_', NGINX_ENVSUBST_OUTPUT_DIR: /etc/nginx/conf.d, APP_A: a, OTHER: o}\n"
        "    volumes: ['./mine:/mine:ro']",
    )
    done = project.run("up", "-d", "--wait", check=False)
    assert done.returncode == 1  # ${OTHER} stays, and nginx knows no such variable
    assert 'unknown "other" variable' in project.run("logs", "web").stdout


def test_scripts_run_in_version_order_and_sourced_ones_set_variables(project):
    project.write("40-set.envsh", "export WORD=from-a-script\n", 0o755)
    project.write("5-early.sh", "#!/bin/sh\necho early\n", 0o755)
    project.write("50-off.sh", "#!/bin/sh\necho must-not-run\n", 0o644)
    project.write("60-last.sh", '#!/bin/sh\necho "last has $WORD"\n', 0o755)
    names = ["5-early.sh", "40-set.envsh", "50-off.sh", "60-last.sh"]
    mounts = ", ".join(f"'./{n}:/docker-entrypoint.d/{n}:ro'" for n in names)
    compose(project, f"volumes: [{mounts}]")
    project.up()
    logs = project.run("logs", "web").stdout
    assert logs.index("early") < logs.index("last has from-a-script")
    assert "must-not-run" not in logs and "50-off.sh, not executable" in logs


def test_a_failing_script_fails_the_start(project):
    project.write("50-bad.sh", "#!/bin/sh\nexit 3\n", 0o755)
    compose(project, "volumes: ['./50-bad.sh:/docker-entrypoint.d/50-bad.sh:ro']")
    assert project.run("up", "-d", "--wait", check=False).returncode == 1


def test_workers_are_not_the_master_s_user_and_quit_ends_with_zero(project):
    compose(project)
    project.up()
    owners = project.exec("web", "sh", "-c", "grep -h Name: /proc/[0-9]*/status; id nginx").stdout
    assert owners.count("nginx") >= 3 and "uid=101(nginx)" in owners
    project.run("stop", "web")
    assert next(iter(project.ps().values()))["ExitCode"] == 0
    assert "gracefully shutting down" in project.run("logs", "web").stdout


def test_a_shell_s_command_starts_it_and_reload_reaches_it(project):
    compose(project, """command: [sh, -c, "exec nginx -g 'daemon off;'"]""")
    project.up()
    project.exec("web", "nginx", "-t")
    project.exec("web", "nginx", "-s", "reload")
    assert "Welcome to nginx!" in get(project)


def test_a_bad_configuration_is_shown(project):
    project.write("bad.conf", "server { listn 80; }\n")
    compose(project, "volumes: ['./bad.conf:/etc/nginx/conf.d/bad.conf:ro']")
    done = project.run("up", "-d", "--wait", check=False)
    assert done.returncode == 1
    assert 'unknown directive "listn"' in done.stdout + done.stderr


@pytest.mark.parametrize(
    "image, more",
    [
        ("nginx:alpine", "tmpfs: [/var/cache/nginx, /var/run]"),
        ("nginx", "tmpfs: [/var/cache/nginx, /run]\n    entrypoint: [nginx, '-g', 'daemon off;']"),
        ("nginx:1.22", "tmpfs: [/var/cache/nginx, /run]\n    volumes: ['./own.conf:/etc/nginx/nginx.conf:ro']"),
        ("nginx", "tmpfs: ['/var/cache/nginx:mode=1777', '/run:mode=1777']\n    user: '101:101'\n    cap_drop: [ALL]"),
    ],
)
def test_a_read_only_root_with_the_image_s_writable_folders(project, image, more):
    project.write(
        "own.conf",
        "pid /var/run/nginx.pid;\nevents {}\nhttp { server { listen 80; client_body_in_file_only on;\n"
        "location / { root /usr/share/nginx/html; } location /take { proxy_pass http://127.0.0.1/; } } }\n",
    )
    compose(project, f"read_only: true\n    {more}", image=image)
    project.up()
    assert "Welcome to nginx!" in get(project)
    made = project.exec("web", "sh", "-c", "cat /var/run/nginx.pid; ls /var/cache/nginx").stdout.split()
    assert made == ["1", "client_temp", "fastcgi_temp", "proxy_temp", "scgi_temp", "uwsgi_temp"]
    if "own.conf" in more:
        said = project.exec(
            "web", "sh", "-c", "curl -s -o /dev/null -d body 127.0.0.1/take; cat /var/cache/nginx/client_temp/*"
        )
        assert said.stdout == "body"
