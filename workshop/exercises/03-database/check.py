"""MySQL behind its socket: root needs no password there, nobody else gets near it, and TCP leads nowhere."""

from evidence import connect_attempt

SOCKET = "/run/mysqld/mysqld.sock"
PORTS = (3306, 33060)  # MySQL's own protocol, and X
ROOT = """
SELECT CONCAT(plugin, IF(authentication_string = '', '', ' with more'), ' over ', connection_type)
FROM mysql.user, performance_schema.threads
WHERE user = 'root' AND host = 'localhost' AND processlist_id = CONNECTION_ID()
"""
NETWORK = """
SELECT CONCAT('skip_networking is ', @@skip_networking, ', the X protocol is ', IFNULL(
    (SELECT plugin_status FROM information_schema.plugins WHERE plugin_name = 'mysqlx'), 'DISABLED'))
"""
OPEN = """
SELECT CONCAT(user, '@', host, ' (', plugin, ')') FROM mysql.user
WHERE account_locked = 'N' AND (plugin <> 'auth_socket' OR host <> 'localhost')
"""


def test_socket(lab):
    lab.expect("auth_socket over Socket", said(lab.mysql(ROOT)))


def test_tcp(lab):
    # Asked of MySQL itself first: where there is none, none listens, and that is no merit.
    lab.expect("skip_networking is 1, the X protocol is DISABLED", said(lab.mysql(NETWORK)))
    listeners = [line for line in lab.lines(lab.run("ss -Hltnp")) if "mysqld" in line or port_of(line) in PORTS]
    lab.expect("no TCP listener of MySQL's", "; ".join(" ".join(line.split()) for line in listeners), not listeners)
    heard = {port: lab.knock(port) for port in PORTS}
    lab.expect("from here, the ports 3306 and 33060 aren't open", heard, "open" not in heard.values())


def test_stranger(lab):
    found = {connect_attempt(lab.server.host, SOCKET, user) for user in ("www-data", "nobody")}
    lab.expect("EACCES for www-data and nobody", ", ".join(sorted(found)), found == {"EACCES"})


def test_accounts(lab):
    found = said(lab.mysql(OPEN))
    lab.expect("no account that opens with a password, or from elsewhere", found, not found)


def said(rows: list[list[str]]) -> str:
    return ", ".join(row[0] for row in rows)


def port_of(line: str) -> int:
    return int(line.split()[3].rpartition(":")[2])
