"""`python -I -S clarifai/healthcheck.py 8000 /ready`: exit 0 when the answer is 200. Asked ten times a second
while a service starts, so it imports one module and speaks HTTP/1.0 by hand."""

import socket
import sys


def main(port: str, path: str) -> int:
    try:
        with socket.create_connection(("127.0.0.1", int(port)), timeout=2) as connection:
            connection.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            answer = b""
            while chunk := connection.recv(4096):
                answer += chunk
    except OSError as error:
        print(f"no answer on port {port}: {error}")
        return 1
    head, _, body = answer.partition(b"\r\n\r\n")
    print(body.decode(errors="replace"))
    return 0 if b" 200 " in head.split(b"\r\n")[0] else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
