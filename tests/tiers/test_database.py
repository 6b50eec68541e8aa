"""The data tier: MySQL behind its socket, no passwords, and each app alone with its schema."""

from __future__ import annotations

import re

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


# MySQL's own, and the distributions' for upgrades, which not all have.
OF_THE_SYSTEM = {"mysql.infoschema@localhost", "mysql.session@localhost", "mysql.sys@localhost"}
OF_ROOT = {"root@localhost", "debian-sys-maint@localhost"}


@pytest.fixture(scope="module")
def accounts(host):
    """name@host to (plugin, whether it is locked, whether there is something to compare a password with)."""
    query = "SELECT CONCAT(user, '@', host), plugin, account_locked, authentication_string <> '' FROM mysql.user"
    return {name: (plugin, locked == "Y", held == "1") for name, plugin, locked, held in mysql(host, query)}


@pytest.fixture(scope="module")
def extra(server):
    """Those that the inventory names as its owner's."""
    return set(server.settings["mysql_extra_accounts"])


@pytest.fixture(scope="module")
def ours(server):
    apps = {app.name for app in server.apps if app.database == "mysql"}
    return {f"{name}@localhost" for name in apps | {server.settings["mysql_trace_user"]} if name}


def test_every_account_has_its_reason(accounts, extra, ours):
    """An app that is no longer described leaves its account behind: drop it, or name it in mysql_extra_accounts."""
    assert set(accounts) - OF_THE_SYSTEM - OF_ROOT - ours - extra == set()


def test_accounts_of_the_system_are_locked(accounts):
    open_ones = {name for name in OF_THE_SYSTEM if not accounts.get(name, ("", True, True))[1]}
    assert open_ones == set()


def test_no_account_opens_with_a_password(accounts, extra):
    """MySQL's own mysql.sys and so on have one that nobody knows, and are locked."""
    with_one = {name for name, (plugin, locked, _) in accounts.items() if plugin != "auth_socket" and not locked}
    assert with_one - extra == set()


def test_no_account_opens_without_anything(accounts):
    """Not one of the inventory's owner either."""
    assert {
        name for name, (plugin, locked, held) in accounts.items() if plugin != "auth_socket" and not (locked or held)
    } == set()


def test_no_account_is_anonymous(host):
    assert mysql(host, "SELECT user, host FROM mysql.user WHERE user = ''") == []


def test_accounts_are_local(accounts, extra):
    assert {name for name in accounts if not name.endswith("@localhost")} - extra == set()


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


def test_reader_of_traces_is_granted_four_tables_alone(server, host):
    reader = server.settings["mysql_trace_user"] or pytest.skip("the inventory names no reader")
    tables = ["events_statements_current", "events_statements_history_long", "session_connect_attrs", "threads"]
    grants = [row[0] for row in mysql(host, f"SHOW GRANTS FOR '{reader}'@'localhost'")]
    assert sorted(grants) == [
        *(f"GRANT SELECT ON `performance_schema`.`{table}` TO `{reader}`@`localhost`" for table in tables),
        f"GRANT USAGE ON *.* TO `{reader}`@`localhost`",
    ]


def test_schema_is_granted_to_nobody_but_its_app(host, extra, database):
    pattern = database.name.replace("_", "\\_")
    rows = mysql(host, "SELECT CONCAT(user, '@', host), db FROM mysql.db")
    # A pattern of somebody else's may mean it as well: "%", say.
    like = re.compile(r"\\?[%_]")
    others = {
        user
        for user, db in rows
        if re.fullmatch(like.sub(lambda found: {"%": ".*", "_": "."}.get(found[0], found[0][1:]), db), database.name)
        and (user, db) != (f"{database.name}@localhost", pattern)
    }
    assert others - extra == set()


def test_roles_and_proxies_are_only_the_extra_accounts(host, extra):
    """Another way to somebody else's grants."""
    roles = {row[0] for row in mysql(host, "SELECT CONCAT(to_user, '@', to_host) FROM mysql.role_edges")}
    proxies = {row[0] for row in mysql(host, "SELECT CONCAT(user, '@', host) FROM mysql.proxies_priv")}
    assert (roles | proxies) - extra - OF_ROOT == set()


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


def test_files_are_read_and_written_in_one_folder_at_most(variables):
    """LOAD DATA and INTO OUTFILE: an empty value would mean everywhere."""
    assert variables["secure_file_priv"] != ""


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
