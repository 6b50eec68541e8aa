"""The app that SANSO_WSGI names, traced: for a server that can be told which app to run, and not to wrap it.

In uWSGI:

    module = sanso_tracing.serve:application
    env = SANSO_WSGI=shop:create_app()

SANSO_WSGI is what uWSGI's own `module` would be: `module:callable`, `module:factory()`, or `module` alone, whose
`application` is meant. What the app raises while it is imported is raised here, as it is.
"""

import os
from collections.abc import Callable
from functools import reduce
from importlib import import_module

from . import install


def load(name: str | None) -> Callable:
    """Import the WSGI callable of that name; RuntimeError says what is wrong with the name."""
    if not name:
        raise RuntimeError("Set SANSO_WSGI to the app's module and callable, for example shop:create_app()")
    module_name, _, path = name.partition(":")
    path = path or "application"
    module = import_module(module_name)
    try:
        found = reduce(getattr, path.removesuffix("()").split("."), module)
    except AttributeError as error:
        raise RuntimeError(f"SANSO_WSGI={name}: {error}") from None
    app = found() if path.endswith("()") and callable(found) else found
    if not callable(app):
        raise RuntimeError(f"SANSO_WSGI={name} is a {type(app).__name__}, not a WSGI app")
    return app


application = install(load(os.environ.get("SANSO_WSGI")))
