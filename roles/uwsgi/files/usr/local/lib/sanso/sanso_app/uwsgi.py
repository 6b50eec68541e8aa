# Managed by Sansō: changes made here are lost on the next run.
# Source: roles/uwsgi/files/usr/local/lib/sanso/sanso_app/uwsgi.py
"""Ask an app for a page through its socket, as nginx does."""

import socket
import struct

SECONDS = 20  # for connecting, and for each read


def variables(path, host):
    """The request as CGI variables, which is what the uwsgi protocol carries."""
    name, _, query = path.partition("?")
    return {
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": path,
        "PATH_INFO": name,
        "QUERY_STRING": query,
        "SCRIPT_NAME": "",
        "CONTENT_LENGTH": "",
        "SERVER_NAME": host,
        "SERVER_PORT": "443",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": host,
        "HTTPS": "on",
        "REQUEST_SCHEME": "https",
        "REMOTE_ADDR": "127.0.0.1",
    }


def packet(pairs):
    """https://uwsgi-docs.readthedocs.io/en/latest/Protocol.html: a header of four bytes, then lengths and strings."""
    texts = [text.encode() for pair in pairs.items() for text in pair]
    body = b"".join(struct.pack("<H", len(text)) + text for text in texts)
    return struct.pack("<BHB", 0, len(body), 0) + body


def ask(path, at, host):
    """The answer to GET `path` from the socket `at`: (status, or None where nobody answered; text, headers first)."""
    answer = b""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(SECONDS)
            connection.connect(at)
            connection.sendall(packet(variables(path, host)))
            while part := connection.recv(65536):
                answer += part
    except OSError as error:
        return None, f"{at}: {error}"
    words = answer.split(b" ", 2)
    return int(words[1]) if len(words) > 1 else None, answer.decode(errors="replace")


def get(options):
    """Exit code 0 when the status is 200, 1 for another one, 3 when nobody answered."""
    status, text = ask(options.path, options.socket, options.host)
    print(text)
    return {None: 3, 200: 0}.get(status, 1)
