"""The data tier: MySQL behind its socket, no passwords, and each app alone with its schema."""

from __future__ import annotations

import pytest
from evidence import as_user, ask, connect_attempt, journal, modes, mysql
from sockets import doors, processes

GROUPS = {"db"}

SOCKET = "/run/mysqld/mysqld.sock"


@pytest.fixture(scope="module")
def variables(host):
    return dict((*row, "")[:2] for row in mysql(host, "SHOW GLOBAL VARIABLES"))


@pytest.fixture(scope="module")
def mysqld(host):
    """Its processes."""
    return processes(host, "mysql.service")


def test_mysql_runs_now_and_at_boot(host):
    service = host.service("mysql")
    assert (service.is_running, service.is_enabled) == (True, True), journal(host, "mysql.service")


def test_mysql_is_not_root(mysqld):
    assert {process.user for process in mysqld} == {"mysql"}


# The way in


def test_database_has_no_tcp_socket(mysqld):
    assert [process.foreign_sockets for process in mysqld] == [{}]


def test_database_has_one_door(host):
    assert doors(host, "mysql.service") == {SOCKET}


def test_x_protocol_is_off(host):
    rows = mysql(host, "SELECT plugin_status FROM information_schema.plugins WHERE plugin_name = 'mysqlx'")
    assert rows in ([], [["DISABLED"]])


@pytest.mark.parametrize("user", ["www-data", "nobody"])
def test_socket_is_closed_to(host, user):
    assert connect_attempt(host, SOCKET, user) == "EACCES", modes(host, SOCKET)


def test_socket_is_closed_to_the_app_outside_its_unit(server, host, database):
    """Only its unit has the group; a shell of its user has not."""
    require_app_tier(server)
    assert connect_attempt(host, SOCKET, database.name) == "EACCES", modes(host, SOCKET)


# Accounts


def test_no_account_opens_with_a_password(host):
    """MySQL's own mysql.sys and so on have one that nobody knows, and are locked."""
    query = "SELECT user, host, plugin FROM mysql.user WHERE account_locked = 'N' AND plugin <> 'auth_socket'"
    assert mysql(host, query) == []


def test_no_account_is_anonymous(host):
    assert mysql(host, "SELECT user, host FROM mysql.user WHERE user = ''") == []


def test_accounts_are_local(host):
    assert mysql(host, "SELECT user, host FROM mysql.user WHERE host <> 'localhost'") == []


def test_there_is_no_test_schema(host):
    assert mysql(host, "SHOW SCHEMAS LIKE 'test%'") == []


def test_account_of_the_app_is_its_os_user(host, database):
    """auth_socket with nothing more: the user of the same name, as the kernel says, and nobody else."""
    query = "SELECT host, plugin, authentication_string, account_locked FROM mysql.user WHERE user = '{}'"
    assert mysql(host, query.format(database.name)) == [["localhost", "auth_socket", "", "N"]]


def test_app_is_granted_its_own_schema_alone(host, database):
    pattern = database.name.replace("_", "\\_")
    grants = [row[0] for row in mysql(host, f"SHOW GRANTS FOR '{database.name}'@'localhost'")]
    assert sorted(grants) == [
        f"GRANT ALL PRIVILEGES ON `{pattern}`.* TO `{database.name}`@`localhost`",
        f"GRANT USAGE ON *.* TO `{database.name}`@`localhost`",
    ]


# What the app itself sees, as the user and in the group that its unit gives it


def require_app_tier(server):
    if "app" not in server.groups:
        pytest.skip("the app's user lives on another host")


@pytest.fixture(scope="module")
def as_app(server, database):
    require_app_tier(server)
    client = f"mysql --no-defaults --socket={SOCKET} --user={database.name} --batch --skip-column-names --execute=%s"
    return f"{as_user(database.name, server.settings['mysql_socket_group'])} {client}"


def test_app_sees_its_own_schema_alone(host, as_app, database):
    own = set(ask(host, as_app, "SHOW SCHEMAS").splitlines()) - {"information_schema", "performance_schema"}
    assert own == {database.name}


def test_app_can_not_read_the_accounts(host, as_app, database):
    assert "command denied" in host.run(as_app, "SELECT user FROM mysql.user").stderr


def test_app_can_not_be_somebody_else(host, as_app, database):
    assert "Access denied" in host.run(as_app.replace(f"--user={database.name}", "--user=root"), "SELECT 1").stderr


# Settings


@pytest.mark.parametrize(
    ("variable", "value"),
    {
        "skip_networking": "ON",
        "local_infile": "OFF",
        "character_set_server": "utf8mb4",
        "collation_server": "utf8mb4_0900_ai_ci",
        "time_zone": "+00:00",
        "slow_query_log": "ON",
    }.items(),
)
def test_variable_is(variables, variable, value):
    assert variables[variable] == value


@pytest.mark.parametrize("variable", ["long_query_time", "max_connections"])
def test_variable_is_the_inventory_s(server, variables, variable):
    assert float(variables[variable]) == float(server.settings[f"mysql_{variable}"])


@pytest.mark.parametrize(
    "mode", ["STRICT_TRANS_TABLES", "NO_ZERO_DATE", "ERROR_FOR_DIVISION_BY_ZERO", "ONLY_FULL_GROUP_BY"]
)
def test_mode_is_strict(variables, mode):
    assert mode in variables["sql_mode"].split(",")


def test_schema_of_the_app_speaks_utf8mb4(host, database):
    query = "SELECT default_character_set_name FROM information_schema.schemata WHERE schema_name = '{}'"
    assert mysql(host, query.format(database.name)) == [["utf8mb4"]]


def test_statements_outlive_their_connection(host):
    query = "SELECT enabled FROM performance_schema.setup_consumers WHERE name = 'events_statements_history_long'"
    assert mysql(host, query) == [["YES"]]


def test_buffer_pool_has_its_share_of_the_memory(server, host, variables):
    total = int(ask(host, "awk '/^MemTotal:/ {print $2}' /proc/meminfo")) * 1024
    share = max(128 * 2**20, total * server.settings["mysql_innodb_buffer_pool_percent"] // 100)
    size = int(variables["innodb_buffer_pool_size"])
    # MySQL rounds up to a multiple of this; Ansible knows the memory to one MiB.
    step = int(variables["innodb_buffer_pool_chunk_size"]) * int(variables["innodb_buffer_pool_instances"])
    assert share - 2**20 <= size <= share + step
