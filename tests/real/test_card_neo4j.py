"""Neo4j as its image promises: password, settings, plugins, folders, tools, user, stop."""

import pytest

PASSWORD = "secret-123"
LONG = {"timeout": 280}


def compose(project, service="", *, image="neo4j:5", env="", auth=f"neo4j/{PASSWORD}", more=""):
    project.compose(
        f"""
services:
  graph:
    image: {image}
    environment:
      NEO4J_AUTH: {auth}
      {env}
    healthcheck: {{test: ["CMD", "wget", "-qO-", "http://localhost:7474"], interval: 200ms, retries: 1000}}
    {service}
{more}
"""
    )


def cypher(project, query, *, password=PASSWORD, check=True):
    words = ["-u", "neo4j", "-p", password] if password else []
    return project.exec("graph", "cypher-shell", "--format", "plain", *words, query, check=check, timeout=120)


def refused(project, *, image="neo4j:5"):
    done = project.run("up", "-d", "--wait", check=False, **LONG)
    assert done.returncode == 1
    return done.stdout + done.stderr + project.run("logs", "graph", check=False).stdout


def test_a_database_with_password_settings_apoc_imports_and_data_that_survives(project):
    project.write("import/rows.csv", "a,b\n1,2\n")
    project.write("import/others.csv", "c,d\n")
    compose(
        project,
        "volumes: ['data:/data', 'logs:/logs', './import:/import:ro']",
        env="NEO4J_PLUGINS: '[\"apoc\"]'\n"
        "      NEO4J_dbms_memory_heap_max__size: 300m\n"
        "      NEO4J_server_memory_pagecache_size: 40M\n"
        "      NEO4J_server_jvm_additional: -Dmine=1\n"
        "      NEO4J_db_tx__log_rotation_retention__policy: 1 days\n"
        "      NEO4J_apoc_import_file_enabled: 'true'",
        more="volumes: {data: {}, logs: {}}",
    )
    project.up(**LONG)
    denied = cypher(project, "RETURN 1", password="wrong-password", check=False)
    assert denied.returncode != 0 and "authentication failure" in denied.stdout + denied.stderr
    asked = (
        "SHOW SETTINGS YIELD name, value WHERE name IN ['server.memory.pagecache.size', "
        "'db.tx_log.rotation.retention_policy'] RETURN value ORDER BY name"
    )
    assert cypher(project, asked).stdout.split("\n")[1:3] == ['"1 days"', '"40.00MiB"']
    line = project.exec("graph", "sh", "-c", "tr '\\0' '\\n' </proc/1/cmdline").stdout.splitlines()
    assert "-Xmx300m" in line and "-Dmine=1" in line
    assert cypher(project, "RETURN apoc.text.join(['a', 'b'], '-') AS x").stdout.split() == ["x", '"a-b"']
    rows = cypher(project, "LOAD CSV FROM 'file:///rows.csv' AS row RETURN row[0]")
    assert rows.stdout.split()[1:] == ['"a"', '"1"']
    assert cypher(project, "CREATE (:N {v: 1}) RETURN apoc.version()").returncode == 0
    assert "is running at pid 1" in project.exec("graph", "neo4j", "status").stdout
    assert "5.26" in project.exec("graph", "neo4j", "--version").stdout
    assert "debug.log" in project.exec("graph", "ls", "/logs").stdout
    project.run("down", **LONG)
    project.up(**LONG)
    assert cypher(project, "MATCH (n:N) RETURN count(n)").stdout.split()[-1] == "1"
    project.run("stop", "graph")
    assert next(iter(project.ps().values()))["ExitCode"] == 0


def test_the_newest_line_without_authentication(project):
    compose(project, image="neo4j:latest", auth="none")
    project.up(**LONG)
    said = cypher(project, "CALL dbms.components() YIELD versions RETURN versions[0]", password="")
    assert "2026." in said.stdout
    project.run("stop", "graph")
    assert next(iter(project.ps().values()))["ExitCode"] == 0


def test_4_4_and_a_password_file(project):
    project.write("auth.txt", f"neo4j/{PASSWORD}")
    compose(
        project,
        "secrets: [auth]",
        image="neo4j:4.4",
        auth="''",
        env="NEO4J_AUTH_PATH: /run/secrets/auth\n      NEO4J_dbms_memory_heap_max__size: 300m\n"
        "      NEO4J_PLUGINS: '[\"apoc\"]'",
        more="secrets: {auth: {file: ./auth.txt}}",
    )
    project.up(**LONG)
    said = cypher(project, "CALL dbms.components() YIELD versions RETURN versions[0], apoc.text.join(['a', 'b'], '-')")
    assert "4.4" in said.stdout and '"a-b"' in said.stdout
    assert "-Xmx300m" in project.exec("graph", "sh", "-c", "tr '\\0' '\\n' </proc/1/cmdline").stdout.splitlines()


@pytest.mark.parametrize(
    "auth, why",
    [
        ("neo4j/short", "minimum password length is 8"),
        ("neo4j/neo4j", "cannot be 'neo4j'"),
        ("bob/secret-123", "it must be neo4j"),
        ("nonsense", "Invalid value for NEO4J_AUTH"),
    ],
)
def test_a_password_the_image_refuses_is_refused(project, auth, why):
    compose(project, auth=auth)
    assert why in refused(project)


def test_a_shorter_password_when_the_setting_allows_it(project):
    compose(
        project,
        auth="neo4j/short",
        env="NEO4J_dbms_security_auth__minimum__password__length: 4",
    )
    project.up(**LONG)
    assert cypher(project, "RETURN 1", password="short").stdout.split() == ["1", "1"]


def test_a_mounted_conf_folder_is_used_and_variables_win(project):
    project.write("conf/neo4j.conf", "server.memory.pagecache.size=33M\ndb.transaction.timeout=5s\n")
    env = "NEO4J_db_transaction_timeout: 7s\n      NEO4J_PLUGINS: '[\"graph-data-science\"]'"
    compose(project, "volumes: ['./conf:/conf:ro']", env=env)
    project.up(**LONG)
    assert cypher(project, "RETURN gds.version()").stdout.split()[-1].startswith('"2.')
    asked = (
        "SHOW SETTINGS YIELD name, value WHERE name IN ['server.memory.pagecache.size', 'db.transaction.timeout'] "
        "RETURN value ORDER BY name"
    )
    assert cypher(project, asked).stdout.split()[1:] == ['"7s"', '"33.00MiB"']


def test_what_no_source_has_is_refused_before_anything_starts(project):
    compose(project, image="neo4j:5-enterprise")
    assert "Enterprise is in no package registry" in refused(project)
    compose(project, env="NEO4J_PLUGINS: '[\"bloom\"]'")
    assert "no source has the plugin bloom" in refused(project)
