"""A MySQL that speaks as much of the protocol as a driver needs, and keeps what it was told."""

import socket
import struct
import threading

ANSWERS = {
    "VERSION()": "9.7.0",
    "@@transaction_isolation": "REPEATABLE-READ",
    "@@sql_mode": "",
    "@@lower_case_table_names": "0",
}
OK = b"\0\0\0\x02\0\0\0"
END_OF_ROWS = b"\xfe\0\0\x02\0"
CAPABILITIES = 0x8A209  # what MySQL 4.1 could: no TLS


class MySQL:
    """`SELECT` gives one row, a statement with `absent` error 1146, another one nothing."""

    def __init__(self, path):
        self.path = path
        self.statements: list[str] = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.connections: list[socket.socket] = []
        self.threads = [threading.Thread(target=self.accept)]

    def __enter__(self):
        self.threads[0].start()
        return self

    def __exit__(self, *error):
        self.listener.shutdown(socket.SHUT_RDWR)  # accept() returns
        self.threads[0].join()
        self.listener.close()
        for connection in self.connections:
            connection.close()
        for thread in self.threads:
            thread.join()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            self.threads.append(threading.Thread(target=self.talk, args=(connection, len(self.connections) + 40)))
            self.threads[-1].start()

    def talk(self, connection, number):
        with connection, connection.makefile("rwb") as stream:
            send(stream, 0, greeting(number))
            receive(stream)
            send(stream, 2, OK)
            while (command := receive(stream)) and command != b"\x01":  # a good-bye
                self.answer(stream, command[:1], command[1:])

    def answer(self, stream, command, text):
        if command != b"\x03":  # a ping
            return send(stream, 1, OK)
        statement = text.decode()
        self.statements.append(statement)
        if "absent" in statement:
            return send(stream, 1, b"\xff" + struct.pack("<H", 1146) + b"#42S02Table 'absent' doesn't exist")
        if "SELECT" not in statement:
            return send(stream, 1, OK)
        value = next((answer for asked, answer in ANSWERS.items() if asked in statement), "1")
        column = b"".join(map(string, ("def", "", "", "", "x", ""))) + b"\x0c\x21\0\x00\x01\0\0\xfd\0\0\0\0\0"
        for number, part in enumerate((b"\x01", column, END_OF_ROWS, string(value), END_OF_ROWS), start=1):
            send(stream, number, part)
        return None


def greeting(number: int) -> bytes:
    low, high = struct.pack("<I", CAPABILITIES)[:2], struct.pack("<I", CAPABILITIES)[2:]
    salt = b"12345678", b"901234567890\0"
    start = b"\x0a9.7.0\0" + struct.pack("<I", number) + salt[0] + b"\0" + low + b"\xff\x02\0" + high + b"\x15"
    return start + bytes(10) + salt[1] + b"mysql_native_password\0"


def string(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()


def send(stream, number: int, packet: bytes) -> None:
    stream.write(struct.pack("<I", len(packet))[:3] + bytes([number]) + packet)
    stream.flush()


def receive(stream) -> bytes:
    """The next packet; empty once the client has gone."""
    try:
        head = stream.read(4)
        return stream.read(struct.unpack("<I", head[:3] + b"\0")[0]) if len(head) == 4 else b""
    except OSError:
        return b""
