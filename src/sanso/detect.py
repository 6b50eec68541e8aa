"""What a project says of itself: its entry point, its dependencies, its database, what else an app's description has.

Its files are read, and nothing of it is imported or run: looking at a project must be harmless.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from sanso.app_rules import APP_NAME, BUILD, TAKEN

LEFT_OUT = {"venv", "env", "__pycache__", "node_modules", "site-packages", "build", "dist", "docs", "tests", "test"}
FILES_READ, BYTES_READ = 2000, 1_000_000  # more is no app, or not written by hand
FRAMEWORKS = {
    "flask.Flask": "Flask",
    "flask.app.Flask": "Flask",
    "bottle.Bottle": "Bottle",
    "bottle.default_app": "Bottle",
    "falcon.App": "Falcon",
    "falcon.API": "Falcon",
}
ASGI = {
    "fastapi.FastAPI": "FastAPI",
    "starlette.applications.Starlette": "Starlette",
    "quart.Quart": "Quart",
    "litestar.Litestar": "Litestar",
    "sanic.Sanic": "Sanic",
}
APP_NAMES = ("application", "app", "create_app", "make_app", "server", "wsgi")
HEALTH = ("readyz", "healthz", "ready", "health", "livez", "_health", "ping", "status", "up", "heartbeat")
SECRET = re.compile(r"SECRET|PASSWORD|PASSWD|TOKEN|KEY|CREDENTIAL|DSN", re.I)
# What a release has anyway, or what nobody sets for an app.
GIVEN = {"DATABASE_URL", "REDIS_URL", "APP_BUILD", "PATH", "HOME", "USER", "LANG", "TZ", "DEBUG", "FLASK_DEBUG", "PORT"}
GIVEN |= {"DJANGO_SETTINGS_MODULE", "FLASK_APP", "FLASK_ENV", "TESTING", "CI"}
MYSQL = {"pymysql", "mysqlclient", "mysql-connector-python", "flask-mysqldb", "aiomysql"}
POSTGRES = {"psycopg", "psycopg2", "psycopg2-binary", "pg8000", "asyncpg"}
SERVERS = {"gunicorn", "uwsgi", "waitress", "gevent", "mod-wsgi", "hypercorn", "uvicorn"}


@dataclass(frozen=True)
class System:
    """What a package of Python's needs of the distribution: when it runs, and when it is built."""

    packages: tuple[str, ...] = ()
    build: tuple[str, ...] = ()
    why: str = ""


# Names as Ubuntu 26.04 has them; where others differ, `why` says it.
SYSTEM = {
    "mysqlclient": System(
        ("libmysqlclient24",),
        ("default-libmysqlclient-dev",),
        "mysqlclient; libmysqlclient21 on Ubuntu 24.04, libmariadb3 on Debian; PyMySQL needs none",
    ),
    "psycopg2": System(("libpq5",), ("libpq-dev",), "psycopg2 is built; psycopg2-binary needs none of these"),
    "psycopg": System(("libpq5",), (), "psycopg; psycopg[binary] brings it along"),
    "weasyprint": System(("libpango-1.0-0", "libpangoft2-1.0-0", "libharfbuzz-subset0"), (), "WeasyPrint"),
    "python-magic": System(("libmagic1t64",), (), "python-magic; libmagic1 on Debian 12"),
    "pycairo": System(("libcairo2",), ("libcairo2-dev",), "pycairo is built"),
    "graphviz": System(("graphviz",), (), "graphviz calls the program dot"),
    "pygraphviz": System(("graphviz",), ("libgraphviz-dev",), "pygraphviz is built"),
    "python-ldap": System(("libldap2",), ("libldap-dev", "libsasl2-dev"), "python-ldap is built"),
    "pdf2image": System(("poppler-utils",), (), "pdf2image calls pdftoppm"),
    "pytesseract": System(("tesseract-ocr",), (), "pytesseract calls tesseract"),
    "opencv-python": System(("libgl1", "libglib2.0-0t64"), (), "opencv-python; opencv-python-headless needs none"),
    "pyzbar": System(("libzbar0t64",), (), "pyzbar"),
    "ffmpeg-python": System(("ffmpeg",), (), "ffmpeg-python calls ffmpeg"),
    "moviepy": System(("ffmpeg",), (), "moviepy calls ffmpeg"),
    "gdal": System(("gdal-bin",), ("libgdal-dev",), "GDAL is built"),
    "xmlsec": System(("libxmlsec1t64-openssl",), ("libxmlsec1-dev",), "xmlsec is built"),
}


@dataclass
class Module:
    """A file of Python, read."""

    name: str  # as it is imported
    path: Path
    tree: ast.Module
    imports: dict[str, str]  # a name in it, and what it stands for

    def full(self, node: ast.AST | None) -> str:
        """What a name or an attribute stands for: flask.Flask."""
        if isinstance(node, ast.Name):
            return self.imports.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            return f"{self.full(node.value)}.{node.attr}"
        return ""

    def calls(self, node: ast.AST | None = None) -> Iterator[tuple[str, ast.Call]]:
        for each in ast.walk(node or self.tree):
            if isinstance(each, ast.Call):
                yield self.full(each.func), each

    @cached_property
    def assigned(self) -> dict[str, ast.expr]:
        """What is assigned to names at its top, also in try and if (but where it is run as a program)."""
        found = {}

        def look(body):
            for node in body:
                if isinstance(node, ast.Assign):
                    found.update({each.id: node.value for each in node.targets if isinstance(each, ast.Name)})
                elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
                    found[node.target.id] = node.value
                elif isinstance(node, ast.If) and "__main__" not in ast.unparse(node.test):
                    look(node.body + node.orelse)
                elif isinstance(node, (ast.Try, ast.With)):
                    look(node.body)

        look(self.tree.body)
        return found

    @property
    def strings(self) -> Iterator[str]:
        return (
            node.value for node in ast.walk(self.tree) if isinstance(node, ast.Constant) and type(node.value) is str
        )


@dataclass(frozen=True, order=True)
class Entry:
    """A way in: `rank` is lower where it is the likelier one."""

    rank: int
    wsgi: str
    framework: str
    where: str
    module: str = ""


@dataclass
class Found:
    """What became known, by the keys of an app's description; `why` says from what; `unknown` is left to a person."""

    folder: Path
    framework: str = ""
    app: dict = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)
    wanted: dict[str, list[str]] = field(default_factory=dict)  # of environment and secrets, the names
    unknown: list[str] = field(default_factory=list)

    def say(self, key: str, value, why: str = ""):
        self.app[key] = value
        if why:
            self.why[key] = why


def literal(node: ast.AST | None):
    """The value of a constant, a list or a dict of such; None of anything else."""
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError):
        return None


def keyword(call: ast.Call, name: str):
    return next((literal(each.value) for each in call.keywords if each.arg == name), None)


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


class Project:
    """A folder with a project in it."""

    def __init__(self, folder: Path):
        self.folder, self.unread = folder, []
        self.modules = list(self._read())
        self.by_name = {module.name: module for module in self.modules}

    def _read(self) -> Iterator[Module]:
        for path in self.files("*.py"):
            if path.stat().st_size > BYTES_READ:
                continue
            try:
                tree = ast.parse(path.read_bytes())
            except (SyntaxError, ValueError, RecursionError) as error:
                self.unread.append(f"{self.short(path)} can't be read: {error}")
                continue
            name = self.module_name(path)
            yield Module(name, path, tree, imports_of(tree, name, path.name == "__init__.py"))

    def files(self, pattern: str) -> list[Path]:
        found = []
        for path in sorted(self.folder.rglob(pattern)):
            inside = path.relative_to(self.folder).parts[:-1]
            if not any(part in LEFT_OUT or part.startswith(".") for part in inside) and path.is_file():
                found.append(path)
        return found[:FILES_READ]

    def short(self, path: Path) -> str:
        return str(path.relative_to(self.folder))

    def module_name(self, path: Path) -> str:
        parts = list(path.relative_to(self.folder).with_suffix("").parts)
        if parts[0] == "src" and len(parts) > 1:
            parts = parts[1:]
        return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)

    def text(self, name: str) -> str:
        try:
            return (self.folder / name).read_text(errors="replace")
        except OSError:
            return ""

    @cached_property
    def pyproject(self) -> dict:
        try:
            return tomllib.loads(self.text("pyproject.toml"))
        except tomllib.TOMLDecodeError:
            return {}

    @cached_property
    def needs(self) -> set[str]:
        """The names of the packages that it says it needs."""
        try:
            locked = tomllib.loads(self.text("uv.lock")).get("package", [])
        except tomllib.TOMLDecodeError:
            locked = []
        lines = [each.get("name", "") for each in locked]
        lines += self.pyproject.get("project", {}).get("dependencies", [])
        for path in [*self.folder.glob("*requirements*.txt"), *self.folder.glob("requirements/*.txt")]:
            lines += path.read_text(errors="replace").splitlines()
        names = (re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", line.strip()) for line in lines)
        return {canonical(name[0]) for name in names if name}

    # Ways in

    def entries(self) -> list[Entry]:
        """All ways in, the likeliest first."""
        factories = dict(self.factories())
        found = [*factories.values()]
        for module in self.modules:
            found += self.entries_of(module, set(factories))
        return sorted(set(found), key=lambda entry: (entry.rank, entry.wsgi.count("."), entry.wsgi))

    def factories(self) -> Iterator[tuple[str, Entry]]:
        for module in self.modules:
            for node in module.tree.body:
                if not isinstance(node, ast.FunctionDef):
                    continue
                made = next((FRAMEWORKS[full] for full, _ in module.calls(node) if full in FRAMEWORKS), "")
                returns = any(isinstance(each, ast.Return) and each.value for each in ast.walk(node))
                if made and returns:
                    needed = len(node.args.posonlyargs + node.args.args) - len(node.args.defaults)
                    needed += sum(default is None for default in node.args.kw_defaults)
                    rank = (3 if node.name in APP_NAMES else 5) + 20 * bool(needed)
                    where = f"{self.short(module.path)}:{node.lineno}"
                    wsgi = f"{module.name}:{node.name}()"
                    yield f"{module.name}.{node.name}", Entry(rank, wsgi, made, where, module.name)

    def entries_of(self, module: Module, factories: set[str]) -> Iterator[Entry]:
        first = 0 if module.path.stem in ("wsgi", "wsgi_app") else 2
        for name, value in module.assigned.items():
            if not isinstance(value, ast.Call):
                continue
            full, where = module.full(value.func), f"{self.short(module.path)}:{value.lineno}"
            own = f"{module.name}.{full}"
            rank = first if name in APP_NAMES else 4
            if full == "django.core.wsgi.get_wsgi_application":
                yield Entry(0, f"{module.name}:{name}", "Django", where, module.name)
            elif full in FRAMEWORKS:
                yield Entry(rank, f"{module.name}:{name}", FRAMEWORKS[full], where, module.name)
            elif full in factories or own in factories:
                yield Entry(rank, f"{module.name}:{name}", "Flask", where, module.name)
            elif full.endswith(".make_wsgi_app"):
                yield Entry(rank, f"{module.name}:{name}", "Pyramid", where, module.name)
        for node in module.tree.body:
            if isinstance(node, ast.FunctionDef) and len(node.args.args) == 2 and not node.args.kwonlyargs:
                names = [argument.arg.strip("_") for argument in node.args.args]
                speaks = names[0] in ("environ", "env", "environment") and names[1].startswith("start")
                if speaks or node.name == "application":
                    where = f"{self.short(module.path)}:{node.lineno}"
                    rank = 6 if node.name in APP_NAMES else 7
                    yield Entry(rank, f"{module.name}:{node.name}", "WSGI", where, module.name)

    def asgi(self) -> str:
        for module in self.modules:
            for full, call in module.calls():
                if full in ASGI:
                    return f"{ASGI[full]} ({self.short(module.path)}:{call.lineno})"
        return ""


def imports_of(tree: ast.Module, name: str, is_package: bool) -> dict[str, str]:
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                found[each.asname or each.name.split(".")[0]] = each.name if each.asname else each.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = name.split(".")
                parts = parts[: len(parts) - node.level + is_package]
                base = ".".join([*parts, *([base] if base else [])])
            found |= {each.asname or each.name: f"{base}.{each.name}".strip(".") for each in node.names}
    return found


def look(folder: Path) -> Found:
    """All that can be found out about the project in a folder."""
    found = Found(django_folder(folder) or folder)
    if found.folder != folder:
        found.why["source"] = f"manage.py lies there, in {found.folder.relative_to(folder)}"
    project = Project(found.folder)
    found.unknown += project.unread[:5]
    name_it(project, found)
    entry = way_in(project, found)
    dependencies(project, found)
    system_packages(project, found)
    if found.framework == "Django":
        django(project, found)
    else:
        database(project, found)
        migrations(project, found, entry)
        static(project, found, entry)
    health(project, found)
    settings(project, found)
    jobs(project, found)
    return found


def django_folder(folder: Path) -> Path | None:
    """Where manage.py is, if it isn't at the top."""
    if (folder / "manage.py").is_file():
        return None
    below = [path for pattern in ("*/manage.py", "*/*/manage.py") for path in sorted(folder.glob(pattern))]
    below = [path for path in below if not LEFT_OUT.intersection(path.relative_to(folder).parts)]
    return below[0].parent if len(below) == 1 else None


def name_it(project: Project, found: Found):
    said = project.pyproject.get("project", {}).get("name") or project.folder.resolve().name
    name = re.sub(r"[^a-z0-9]+", "_", said.lower()).strip("_")[:31]
    name = name if APP_NAME.fullmatch(name) else f"app_{name}".rstrip("_")[:31]
    found.app["name"] = f"{name[:27]}_app" if name in TAKEN or name.startswith("systemd") else name


def way_in(project: Project, found: Found) -> Entry | None:
    entries = project.entries()
    usable = [entry for entry in entries if entry.rank < 20]
    if not usable:
        found.app["wsgi"] = ""
        if entries:
            found.unknown.append(
                f"wsgi: {entries[0].wsgi[:-2]} ({entries[0].where}) needs arguments; let a module call it, say "
                f"wsgi.py with: application = {entries[0].wsgi[:-2].rpartition(':')[2]}(…)"
            )
        elif asgi := project.asgi():
            found.unknown.append(f"wsgi: this is {asgi}, an ASGI app; only WSGI apps are served")
        else:
            found.unknown.append("wsgi: found no Flask or Django app and no function of (environ, start_response)")
        return None
    entry = usable[0]
    found.framework = entry.framework
    others = [each.wsgi for each in usable[1:4]]
    found.say("wsgi", entry.wsgi, f"{entry.framework}, {entry.where}" + (f"; or {', '.join(others)}" if others else ""))
    if others and usable[1].rank == entry.rank:
        found.unknown.append(f"wsgi: took {entry.wsgi}; is it one of these: {', '.join(others)}?")
    return entry


def dependencies(project: Project, found: Found):
    folder = project.folder
    table = project.pyproject.get("project")
    fits = {"uv.lock": True, "requirements.txt": True}
    fits["pyproject.toml"] = table is not None and "dependencies" not in table.get("dynamic", [])
    there = [name for name in fits if (folder / name).is_file() and fits[name]]
    if there:
        said = {"uv.lock": "locked by uv", "pyproject.toml": "locked when it is released first"}
        hashed = "--hash" in project.text("requirements.txt")
        said["requirements.txt"] = "with hashes" if hashed else "without hashes: locked when it is released first"
        found.say("dependencies", there[0], said[there[0]])
    else:
        ways = {
            "Pipfile.lock": "pipenv requirements --hash >requirements.txt",
            "poetry.lock": "poetry export --output requirements.txt",
            "setup.py": "uv pip compile --generate-hashes --output-file requirements.txt setup.py",
            "setup.cfg": "uv pip compile --generate-hashes --output-file requirements.txt setup.cfg",
        }
        others = [*folder.glob("*requirements*.txt"), *folder.glob("requirements/*.txt")]
        way = next(
            (f"; {name} can be turned into one: {how}" for name, how in ways.items() if (folder / name).is_file()), ""
        )
        if others:
            names = sorted(project.short(path) for path in others)
            best = next((name for name in names if re.search("prod|live|server|base|main", name)), names[0])
            found.say("dependencies", best, f"of {', '.join(names)}")
            if len(names) > 1:
                found.unknown.append(f"dependencies: took {best}; which of {', '.join(names)} is the server's?")
            return
        found.unknown.append(
            f"dependencies: there is no uv.lock, requirements.txt or pyproject.toml that names them{way}"
            + ("" if way else "; where it needs none, an empty requirements.txt says so")
        )
    package = {"Flask": "flask", "Django": "django", "Bottle": "bottle", "Falcon": "falcon", "Pyramid": "pyramid"}
    wanted = package.get(found.framework)
    if there and wanted and wanted not in project.needs:
        found.unknown.append(f"dependencies: {there[0]} doesn't name {wanted}, which {found.app['wsgi']} imports")


def system_packages(project: Project, found: Found):
    known = {name: SYSTEM[name] for name in sorted(project.needs & SYSTEM.keys())}
    if "psycopg" in known and {"psycopg-binary", "psycopg-c"} & project.needs:
        del known["psycopg"]
    for key, attribute in (("packages", "packages"), ("build_packages", "build")):
        names = list(dict.fromkeys(package for each in known.values() for package in getattr(each, attribute)))
        if names:
            of = [each.why for each in known.values() if getattr(each, attribute)]
            found.say(
                key,
                names,
                "; ".join(of) if key == "packages" or not any(each.packages for each in known.values()) else "",
            )
    if servers := sorted(project.needs & SERVERS):
        found.unknown.append(
            f"dependencies: {', '.join(servers)} isn't needed: uWSGI, of the distribution, runs the app"
        )


def database(project: Project, found: Found):
    strings = [text for module in project.modules for text in module.strings]
    imported = {full.split(".")[0] for module in project.modules for full in module.imports.values()}
    uses_url = "DATABASE_URL" in strings
    mysql = project.needs & MYSQL or any(text.startswith("mysql") and "://" in text for text in strings)
    sqlite = "sqlite3" in imported or any(text.startswith("sqlite:///") for text in strings)
    postgres = project.needs & POSTGRES or any(text.startswith("postgres") and "://" in text for text in strings)
    if mysql:
        found.say("database", "mysql", ", ".join(sorted(project.needs & MYSQL)) or "a mysql:// URL")
        if "mysqlclient" in project.needs and "pymysql" not in project.needs:
            name = found.app["name"]
            url = f"mysql+mysqldb://{name}@localhost/{name}?unix_socket=/run/mysqld/mysqld.sock&charset=utf8mb4"
            found.say("environment", {"DATABASE_URL": url}, "for mysqlclient; else it is PyMySQL's")
    elif postgres:
        found.say("database", "none", "it speaks PostgreSQL, which isn't a tier here")
        found.unknown.append(
            "database: it speaks PostgreSQL; run one elsewhere, put its URL into secrets and set network: true"
        )
        return
    elif sqlite:
        found.say("database", "sqlite", "it uses SQLite")
    elif uses_url or "sqlalchemy" in {canonical(name) for name in project.needs}:
        found.say("database", "sqlite", "SQLAlchemy, and no driver of another database")
    else:
        found.say("database", "none", "found no use of one")
        return
    if not uses_url:
        found.unknown.append(
            f"database: found nothing that reads DATABASE_URL, which leads to its {found.app['database']} database"
        )


def migrations(project: Project, found: Found, entry: Entry | None):
    imported = {full.split(".")[0] for module in project.modules for full in module.imports.values()}
    if "flask_migrate" in imported and entry:
        target = entry.wsgi.removesuffix("()") if not entry.wsgi.endswith(":create_app()") else entry.module
        folders = project.files("alembic.ini") or project.files("env.py")
        found.say("migrate", f"flask --app {target} db upgrade", "Flask-Migrate")
        if not folders:
            found.unknown.append("migrate: Flask-Migrate is imported, but there is no folder migrations: flask db init")
    elif (project.folder / "alembic.ini").is_file():
        found.say("migrate", "alembic upgrade head", "alembic.ini")
        if "DATABASE_URL" not in "".join(path.read_text(errors="replace") for path in project.files("env.py")):
            found.unknown.append(
                "migrate: Alembic's env.py doesn't read DATABASE_URL; sqlalchemy.url of alembic.ini is used"
            )
    elif found.app.get("database") in ("mysql", "sqlite"):
        found.unknown.append("migrate: found no migrations (Alembic, Flask-Migrate); who makes the tables?")


def static(project: Project, found: Found, entry: Entry | None):
    folders = {}
    for module in project.modules:
        for full, call in module.calls():
            if full not in FRAMEWORKS or FRAMEWORKS[full] != "Flask":
                continue
            name = keyword(call, "static_folder") or "static"
            path = (module.path.parent / name).resolve()
            prefix = keyword(call, "static_url_path") or f"/{Path(name).name}"
            if path.is_dir() and path.is_relative_to(project.folder.resolve()):
                folders[prefix] = str(path.relative_to(project.folder.resolve()))
    if not folders and found.framework != "Flask":
        folders = {f"/{name}": name for name in ("static", "assets") if (project.folder / name).is_dir()}
    if folders:
        found.say("static", folders, "nginx serves these itself")
    if (project.folder / "package.json").is_file():
        found.unknown.append(
            "static: there is a package.json; what it builds has to lie in the source (the server has no Node.js)"
        )


def django(project: Project, found: Found):
    manage = project.by_name.get("manage")
    said = [
        literal(call.args[1])
        for module in [manage, *project.modules]
        if module
        for full, call in module.calls()
        if full == "os.environ.setdefault" and len(call.args) == 2 and literal(call.args[0]) == "DJANGO_SETTINGS_MODULE"
    ]
    name = next((each for each in said if isinstance(each, str)), "")
    package = name.rpartition(".")[0] if name.endswith((".local", ".dev", ".development", ".base")) else name
    live = [f"{package}.{each}" for each in ("production", "prod", "live") if f"{package}.{each}" in project.by_name]
    entry = project.by_name.get(found.app["wsgi"].partition(":")[0])
    if live:
        name = live[0]
        found.say("environment", {"DJANGO_SETTINGS_MODULE": name}, "its settings for a server")
    elif name and entry and "DJANGO_SETTINGS_MODULE" not in entry.strings:
        found.say("environment", {"DJANGO_SETTINGS_MODULE": name}, f"{project.short(entry.path)} doesn't say which")
    module = project.by_name.get(name)
    if not module:
        found.unknown.append("found no settings module of Django; manage.py names it, as a rule")
        return
    # Settings are often in layers: base.py, and production.py on top.
    layers = [each for each in project.modules if each.name == name or each.name.startswith(f"{package}.")]
    values: dict[str, ast.expr] = {}
    for each in sorted(layers, key=lambda each: each.name == name):
        values |= each.assigned
    strings = {text for each in layers for text in each.strings}
    where = project.short(module.path)

    databases = values.get("DATABASES")
    engines = {text.rpartition(".")[2] for text in strings if text.startswith("django.db.backends.")}
    reads_url = "DATABASE_URL" in strings or any(
        "dj_database_url" in full for each in layers for full in each.imports.values()
    )
    if "mysql" in engines or (reads_url and project.needs & MYSQL):
        found.say("database", "mysql", where)
        if reads_url:  # Django's adapters don't know SQLAlchemy's mysql+pymysql
            name = found.app["name"]
            url = f"mysql://{name}@localhost/{name}?unix_socket=/run/mysqld/mysqld.sock"
            found.say("environment", {**found.app.get("environment", {}), "DATABASE_URL": url}, "as Django reads it")
    elif "postgresql" in engines or (reads_url and project.needs & POSTGRES):
        found.say("database", "none", "it speaks PostgreSQL, which isn't a tier here")
        found.unknown.append(
            "database: it speaks PostgreSQL; run one elsewhere, put its URL into secrets and set network: true"
        )
    elif "sqlite3" in engines or databases is not None or reads_url:
        found.say("database", "sqlite", where)
    else:
        found.say("database", "none", f"{where} has none")
    if found.app["database"] != "none" and not reads_url:
        found.unknown.append(
            f"database: {where} doesn't read DATABASE_URL, which leads to it; dj-database-url does: "
            'DATABASES = {"default": dj_database_url.config()}'
        )
    if found.app["database"] != "none" or databases is not None:
        found.say("migrate", "python manage.py migrate --no-input", "Django")

    hosts = literal(values.get("ALLOWED_HOSTS"))
    if hosts == [] or (hosts is None and "ALLOWED_HOSTS" not in values):
        found.unknown.append(
            f"server_names: ALLOWED_HOSTS in {where} has to have them, or each request is answered 400"
        )
    if literal(values.get("DEBUG")) is True:
        found.unknown.append(f"environment: DEBUG is True in {where}: a server must not show its errors to everybody")
    if isinstance(literal(values.get("SECRET_KEY")), str):
        found.unknown.append(
            f"secrets: SECRET_KEY stands in {where}; best it comes from the environment, and from secrets"
        )

    if "django.contrib.staticfiles" in strings:
        prefix = "/" + str(literal(values.get("STATIC_URL")) or "static/").strip("/")
        found.say("build", "python manage.py collectstatic --no-input", "its static files, together")
        found.say("static", {prefix: f"{BUILD}/static"}, "nginx serves these itself")
        if "APP_BUILD" not in strings:
            found.unknown.append(
                f"static: STATIC_ROOT in {where} has to be below $APP_BUILD while `build` runs: "
                'STATIC_ROOT = Path(os.environ.get("APP_BUILD", BASE_DIR)) / "static"'
            )
    if "MEDIA_ROOT" in values:
        found.unknown.append(
            f"MEDIA_ROOT in {where} has to be below /srv/{found.app['name']}/shared, all that it may write to"
        )


def health(project: Project, found: Found):
    routes: dict[str, str] = {}
    for module in project.modules:
        prefixes = {
            name: keyword(value, "url_prefix") or ""
            for name, value in module.assigned.items()
            if isinstance(value, ast.Call) and module.full(value.func).endswith("Blueprint")
        }
        for full, call in module.calls():
            path = literal(call.args[0]) if call.args else None
            if not isinstance(path, str):
                continue
            owner, _, method = full.rpartition(".")
            where = f"{project.short(module.path)}:{call.lineno}"
            if method in ("route", "get") and path.startswith("/"):
                routes.setdefault(prefixes.get(owner, "") + path, where)
            elif full in ("django.urls.path", "path"):
                routes.setdefault("/" + path, where)
    named = {path: place for path, place in routes.items() if path.strip("/").lower() in HEALTH}
    if named:
        best = min(named, key=lambda path: HEALTH.index(path.strip("/").lower()))
        found.say("health_path", best, named[best])
    else:
        found.say("health_path", "/", "found no route for health checks: it must answer 200, without a login")
        found.unknown.append(
            "health_path: found no route like /healthz; a release serves once / answers 200, so it must do that"
        )


def settings(project: Project, found: Found):
    """Which environment variables it reads."""
    needed: dict[str, bool] = {}
    for module in project.modules:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Subscript) and module.full(node.value) == "os.environ":
                if isinstance(node.ctx, ast.Load) and isinstance(name := literal(node.slice), str):
                    needed[name] = True
            elif isinstance(node, ast.Call) and node.args and isinstance(name := literal(node.args[0]), str):
                full = module.full(node.func)
                if full in ("os.environ.get", "os.getenv", "decouple.config") or full.startswith("environ.Env"):
                    needed.setdefault(name, False)
    needed = {
        name: must for name, must in needed.items() if name not in GIVEN and re.fullmatch(r"[A-Z][A-Z0-9_]*", name)
    }
    found.wanted = {
        "environment": sorted(name for name in needed if not SECRET.search(name)),
        "secrets": sorted(name for name in needed if SECRET.search(name)),
    }
    for key, names in found.wanted.items():
        if must := [name for name in names if needed[name]]:
            found.unknown.append(f"{key}: it doesn't start without {', '.join(must)}; only you know what they are")


def jobs(project: Project, found: Found):
    for module in project.modules:
        for name, value in module.assigned.items():
            if isinstance(value, ast.Call) and module.full(value.func) in ("celery.Celery", "celery.app.Celery"):
                command = f"celery --app {module.name}:{name} worker"
                found.say("redis", True, "Celery's queue; REDIS_URL leads to it")
                found.say("workers", {"celery": {"command": command}}, project.short(module.path))
                if "REDIS_URL" not in {text for each in project.modules for text in each.strings}:
                    found.unknown.append("workers: found nothing that reads REDIS_URL, which leads to Celery's queue")
                if "beat_schedule" in ast.unparse(module.tree):
                    found.unknown.append("schedule: Celery's beat_schedule isn't run; `schedule` has timers for that")
                return
    if project.needs & {"rq", "flask-rq2", "django-rq", "dramatiq", "huey"}:
        found.say("redis", True, "its queue; REDIS_URL leads to it")
        found.unknown.append("workers: it has a queue of background jobs; what command runs its worker?")
