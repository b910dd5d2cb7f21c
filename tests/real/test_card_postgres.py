"""What the official postgres image promises, asked of the real server: each variable, mount and script has its case."""

import gzip
import lzma

import pytest


def compose(project, service="", *, image="postgres:16", env="POSTGRES_PASSWORD: secret-1", user="postgres", more=""):
    project.compose(
        f"""
services:
  db:
    image: {image}
    environment: {{{env}}}
    healthcheck: {{test: ["CMD", "pg_isready", "-h", "127.0.0.1", "-U", "{user}"], interval: 100ms, retries: 300}}
    {service}
{more}
"""
    )


def ask(project, query, *, user="postgres", database="postgres", password="secret-1", check=True):
    """Over TCP with a password, as another service would."""
    address = f"host=db user={user} dbname={database} password={password}"
    return project.exec("db", "psql", address, "-v", "ON_ERROR_STOP=1", "-Atc", query, check=check)


def says(project, query, **who):
    return ask(project, query, **who).stdout.strip()


@pytest.mark.parametrize("image, major", [("postgres:16", "16"), ("pgvector/pgvector:pg17", "17"), ("postgres", "18")])
def test_pgvector_contrib_and_the_client_programs_are_there(project, image, major):
    compose(project, image=image)
    project.up()
    assert says(project, "show server_version").startswith(major)
    ask(project, 'create extension vector; create extension pgcrypto; create extension "uuid-ossp"')
    assert says(project, "select '[1,2,3]'::vector <-> '[1,2,4]', length(crypt('a', gen_salt('bf')))") == "1|60"
    assert says(project, "show listen_addresses") == "*"
    assert says(project, "select datcollate from pg_database where datname = 'template0'") == "en_US.utf8"
    assert "PostgreSQL database dump complete" in project.exec("db", "pg_dump", "-U", "postgres").stdout
    data = f"/var/lib/postgresql/{major}/docker" if major == "18" else "/var/lib/postgresql/data"
    assert project.exec("db", "cat", f"{data}/PG_VERSION").stdout.strip() == major


@pytest.mark.parametrize("image, major", [("postgis/postgis:16-3.4", "17"), ("postgis/postgis:15-3.3-alpine", "15")])
def test_postgis_is_there_with_its_extensions_and_its_template(project, image, major):
    compose(project, image=image, env="POSTGRES_PASSWORD: secret-1, POSTGRES_DB: maps")
    project.up(timeout=280)
    assert says(project, "show server_version").startswith(major)
    distance = "select round(st_distance('srid=4326;point(0 0)'::geography, 'srid=4326;point(1 0)'::geography))"
    assert says(project, distance, database="maps") == "111319"
    extensions = "select string_agg(extname, ' ' order by extname) from pg_extension"
    for database in ("maps", "template_postgis"):
        assert says(project, extensions, database=database) == (
            "fuzzystrmatch plpgsql postgis postgis_tiger_geocoder postgis_topology"
        )
    ask(project, "create extension postgis_raster; create extension address_standardizer", database="maps")


@pytest.mark.parametrize("image", ["postgres:15-alpine", "postgres:14", "postgres:12"])
def test_older_majors_are_the_real_server_too(project, image):
    compose(project, image=image)
    project.up()
    assert says(project, "show server_version").startswith(image.partition(":")[2][:2])
    assert says(project, "select string_agg(x, '' order by x) from (values ('a'), ('B')) v(x)") == (
        "Ba" if "alpine" in image else "aB"  # musl sorts by code point, glibc's en_US does not
    )


def test_user_database_and_password_are_made_and_the_password_is_asked_for(project):
    compose(project, env='POSTGRES_USER: bob, POSTGRES_DB: \'my "app"\', POSTGRES_PASSWORD: "it\'s"', user="bob")
    project.up()
    who = {"user": "bob", "database": "'my \"app\"'", "password": "'it\\'s'"}
    assert says(project, "select current_user, current_database()", **who) == 'bob|my "app"'
    assert says(project, "select rolsuper from pg_roles where rolname = 'bob'", **who) == "t"
    refused = ask(project, "select 1", **{**who, "password": "wrong"}, check=False)
    assert refused.returncode != 0 and "password authentication failed" in refused.stderr


def test_variables_come_from_files_that_secrets_name(project):
    project.write("pw.txt", "from-a-file\n")
    project.write("user.txt", "ann\n")
    compose(
        project,
        "secrets: [pw, who]",
        env="POSTGRES_PASSWORD_FILE: /run/secrets/pw, POSTGRES_USER_FILE: /run/secrets/who",
        user="ann",
        more="secrets: {pw: {file: ./pw.txt}, who: {file: ./user.txt}}",
    )
    project.up()
    assert says(project, "select current_user", user="ann", database="ann", password="from-a-file") == "ann"


def test_without_a_password_the_start_fails_and_says_what_to_set(project):
    compose(project, env="POSTGRES_USER: bob")
    done = project.run("up", "-d", "--wait", check=False)
    assert done.returncode == 1
    assert "POSTGRES_PASSWORD" in done.stdout + done.stderr


def test_trust_lets_everyone_in_and_is_warned_of(project):
    compose(project, env="POSTGRES_HOST_AUTH_METHOD: trust")
    project.up()
    assert says(project, "select 1", password="none") == "1"
    assert "needs no password" in project.run("logs", "db").stdout


def test_initdb_arguments_the_wal_directory_and_pgdata_are_used(project):
    compose(
        project,
        "volumes: ['data:/srv', 'wal:/wal']",
        env="POSTGRES_PASSWORD: secret-1, POSTGRES_INITDB_ARGS: '--data-checksums --encoding=SQL_ASCII --locale=C', "
        "POSTGRES_INITDB_WALDIR: /wal/here, PGDATA: /srv/pg",
        more="volumes: {data: {}, wal: {}}",
    )
    project.up()
    assert says(project, "show data_checksums; show server_encoding") == "on\nSQL_ASCII"
    assert project.exec("db", "readlink", "/srv/pg/pg_wal").stdout.strip() == "/wal/here"


def test_init_scripts_of_every_kind_run_once_in_order_and_data_survives_down(project):
    project.write("init/01-table.sql", "create table t (step text);\ninsert into t values ('sql');\n")
    folder = project.folder / "init"
    (folder / "02.sql.gz").write_bytes(gzip.compress(b"insert into t values ('gz');"))
    (folder / "03.sql.xz").write_bytes(lzma.compress(b"insert into t values ('xz');"))
    project.write(
        "init/04-run.sh",
        '#!/bin/bash\nset -e\npsql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" '
        "-c \"insert into t values ('run')\"\n",
        0o755,
    )
    project.write("init/05-sourced.sh", '"${psql[@]}" -c "insert into t values (\'sourced\')"\n')
    project.write("init/06.txt", "not a script")
    compose(
        project,
        "volumes: ['data:/var/lib/postgresql/data', './init:/docker-entrypoint-initdb.d:ro']",
        env="POSTGRES_PASSWORD: secret-1, POSTGRES_DB: app",
        more="volumes: {data: {}}",
    )
    everything = "sql\ngz\nxz\nrun\nsourced"
    project.up()
    assert says(project, "select step from t", database="app") == everything
    assert "ignoring /docker-entrypoint-initdb.d/06.txt" in project.run("logs", "db").stdout
    project.run("down")
    project.up()
    assert says(project, "select step from t", database="app") == everything
    assert "Skipping initialization" in project.run("logs", "db").stdout


@pytest.mark.parametrize(
    "name, text", [("02.sql", "create tabel x ();"), ("02.sh", "exit 7\n"), ("02.sh", "psql -U nobody -c 'select 1'\n")]
)
def test_a_failing_init_script_fails_the_start_and_the_next_start_begins_again(project, name, text):
    project.write("init/01.sql", "create table once (); ")
    script = project.write(f"init/{name}", text)
    compose(
        project,
        "volumes: ['data:/var/lib/postgresql/data', './init:/docker-entrypoint-initdb.d:ro']",
        more="volumes: {data: {}}",
    )
    failed = project.run("up", "-d", "--wait", check=False)
    assert failed.returncode == 1
    assert f"/docker-entrypoint-initdb.d/{name} failed" in project.run("logs", "db").stdout
    script.unlink()
    project.up()
    assert says(project, "select count(*) from once") == "0"


def test_an_initialisation_that_was_killed_is_not_taken_for_a_database(project):
    project.write("init/01.sql", "create table half (); select pg_sleep(60);")
    compose(
        project,
        "volumes: ['data:/var/lib/postgresql/data', './init:/docker-entrypoint-initdb.d:ro']",
        more="volumes: {data: {}}",
    )
    project.run("up", "-d")
    for _ in range(200):
        if "running /docker-entrypoint-initdb.d/01.sql" in project.run("logs", "db").stdout:
            break
    project.run("kill", "db")
    project.write("init/01.sql", "create table whole ();")
    project.up()
    assert says(project, "select count(*) from whole") == "0"
    assert "did not end; starting over" in project.run("logs", "db").stdout


def test_command_arguments_and_a_mounted_configuration_are_used(project):
    project.write("my.conf", "listen_addresses = '*'\nwork_mem = '7MB'\n")
    compose(
        project,
        "command: postgres -c config_file=/etc/my.conf -c shared_buffers=33MB\n"
        "    volumes: ['./my.conf:/etc/my.conf:ro']",
    )
    project.up()
    assert says(project, "show work_mem; show shared_buffers; show config_file") == "7MB\n33MB\n/etc/my.conf"
    project.run("down", "-v")
    compose(project, 'command: ["-c", "max_connections=17"]')
    project.up()
    assert says(project, "show max_connections") == "17"


def test_the_server_is_not_root_and_stops_cleanly_on_the_image_s_signal(project):
    compose(project, "volumes: ['data:/var/lib/postgresql/data']", more="volumes: {data: {}}")
    project.up()
    whoami = "select pg_read_file('/proc/self/status') ~ 'Uid:\\s+0', current_setting('data_directory_mode')"
    assert says(project, whoami) == "f|0700"
    project.run("stop", "db")
    assert next(iter(project.ps().values()))["ExitCode"] == 0
    logs = project.run("logs", "db").stdout
    assert "received fast shutdown request" in logs and "database system is shut down" in logs


@pytest.mark.parametrize("user", ["postgres", "1234:1234"])
def test_it_runs_as_the_user_compose_says(project, user):
    compose(
        project, f"user: '{user}'\n    tmpfs: ['/srv:mode=1777']", env="POSTGRES_PASSWORD: secret-1, PGDATA: /srv/pg"
    )
    project.up()
    assert says(project, "select 1") == "1"


def test_a_folder_that_holds_something_else_is_left_alone(project):
    project.write("data/notes.txt", "mine")
    compose(project, "volumes: ['./data:/var/lib/postgresql/data']")
    assert project.run("up", "-d", "--wait", check=False).returncode == 1
    assert "exists but is not empty" in project.run("logs", "db").stdout
    assert (project.folder / "data/notes.txt").read_text() == "mine"


def test_data_of_another_major_version_is_refused_in_words(project):
    more = "volumes: {data: {}}"
    volume = "volumes: ['data:/srv']"
    env = "POSTGRES_PASSWORD: secret-1, PGDATA: /srv/pg"
    compose(project, volume, image="postgres:16", env=env, more=more)
    project.up()
    project.run("down")
    compose(project, volume, image="postgres:18", env=env, more=more)
    assert project.run("up", "-d", "--wait", check=False).returncode == 1
    assert "was written by PostgreSQL 16, this is 18" in project.run("logs", "db").stdout
