"""What services see of each other and of the world, asked from inside them."""

import json
import socket
import urllib.error
import urllib.request

SERVER = """
    import http.server, signal, sys
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    class Say(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = sys.argv[1].encode()
            self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
            self.wfile.write(body)
        def log_message(self, *_): pass
    http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Say).serve_forever()
"""

HEALTH = """
        healthcheck:
          test: [CMD, python3, -c, "import socket; socket.create_connection(('127.0.0.1', 8000), 1)"]
          interval: 200ms
          timeout: 5s
          retries: 50
"""

GET = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=3).read().decode())"


def two_on_8000(project, extra=""):
    project.write("server.py", SERVER)
    project.compose(
        f"""
    services:
      orders:
        image: python:3.11-slim
        command: [python3, /server.py, orders]
        volumes: ["./server.py:/server.py:ro"]
        networks: [shop]
        {HEALTH.strip()}
      billing:
        image: python:3.11-slim
        command: [python3, /server.py, billing]
        volumes: ["./server.py:/server.py:ro"]
        networks: {{shop: {{aliases: [invoices]}}}}
        {HEALTH.strip()}
      vault:
        image: python:3.11-slim
        command: [python3, /server.py, vault]
        volumes: ["./server.py:/server.py:ro"]
        networks: [hidden]
        {HEALTH.strip()}
    networks:
      shop: {{}}
      hidden: {{internal: true}}
    """
    )


def ask(project, service, url, **options):
    return project.exec(service, "python3", "-c", GET, url, **options)


def test_two_services_on_the_same_port_coexist_and_a_service_on_another_network_is_out_of_reach(project):
    two_on_8000(project)
    project.up()
    assert ask(project, "orders", "http://billing:8000").stdout == "billing\n"
    assert ask(project, "billing", "http://orders:8000").stdout == "orders\n"
    assert ask(project, "orders", "http://invoices:8000").stdout == "billing\n"
    by_name = ask(project, "orders", "http://vault:8000", check=False)
    assert by_name.returncode != 0
    address = project.exec("vault", "hostname", "-i").stdout.split()[0]
    assert ask(project, "vault", f"http://{address}:8000").stdout == "vault\n"
    assert ask(project, "orders", f"http://{address}:8000", check=False).returncode != 0


CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3); print('reached')"


def test_the_world_is_reached_from_a_plain_network_and_not_from_an_internal_one(project):
    """The world here is the package registry the machine's pip uses: the one address tests may count on."""
    host, port = registry()
    two_on_8000(project)
    project.up()
    assert project.exec("orders", "python3", "-c", CONNECT, host, port).stdout == "reached\n"
    assert project.exec("vault", "python3", "-c", CONNECT, host, port, check=False).returncode != 0
    address = socket.gethostbyname(host)
    assert project.exec("vault", "python3", "-c", CONNECT, address, port, check=False).returncode != 0


def registry():
    from urllib.parse import urlsplit

    from pip._internal.models.index import PyPI

    parts = urlsplit(PyPI.simple_url)
    return parts.hostname, str(parts.port or 443)


def test_the_hosts_loopback_is_out_of_reach(project):
    two_on_8000(project)
    project.up()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(0.5)
        port = str(listener.getsockname()[1])
        for address in ("127.0.0.1", "0.0.0.0", "localhost", gateway(project)):
            done = project.exec("orders", "python3", "-c", CONNECT, address, port, check=False)
            assert done.returncode != 0, f"{address} reached the host's loopback"
        try:
            listener.accept()
        except TimeoutError:
            return
        raise AssertionError("a service reached the host's loopback")


def gateway(project):
    code = (
        "import socket; r=[l.split() for l in open('/proc/net/route')][1:];"
        "print(next(socket.inet_ntoa(int(x[2],16).to_bytes(4,'little')) for x in r if x[1]=='00000000'))"
    )
    return project.exec("orders", "python3", "-c", code).stdout.strip()


def test_a_published_port_answers_on_the_host_and_only_where_the_file_says(project, free_port):
    project.write("server.py", SERVER)
    project.compose(
        f"""
    services:
      api:
        image: python:3.11-slim
        command: [python3, /server.py, api]
        volumes: ["./server.py:/server.py:ro"]
        ports: ["127.0.0.1:{free_port}:8000"]
        {HEALTH.strip()}
    """
    )
    project.up()
    assert urllib.request.urlopen(f"http://127.0.0.1:{free_port}", timeout=3).read() == b"api"
    row = next(iter(project.ps().values()))
    assert row["Publishers"][0]["PublishedPort"] == free_port
    assert row["Publishers"][0]["URL"] == "127.0.0.1"
    project.run("down")
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{free_port}", timeout=1)
    except urllib.error.URLError:
        return
    raise AssertionError("the port still answers after down")


def test_every_replica_is_behind_the_services_name(project):
    project.compose(
        """
    services:
      web:
        image: python:3.11-slim
        command: [sleep, "1000"]
        init: true
        deploy: {replicas: 3}
      ask:
        image: python:3.11-slim
        command: [sleep, "1000"]
        init: true
    """
    )
    project.up()
    code = "import socket, json; print(json.dumps(sorted({a[4][0] for a in socket.getaddrinfo('web', 80)})))"
    addresses = json.loads(project.exec("ask", "python3", "-c", code).stdout)
    assert len(addresses) == 3
    nameserver = project.exec("ask", "cat", "/etc/resolv.conf").stdout
    assert "nameserver 127.0.0.11" in nameserver
