"""How Alembic runs the migrations beside this file: `flask --app sample_app db upgrade`."""

import logging

from alembic import context
from flask import current_app
from sqlalchemy import event

db = current_app.extensions["migrate"].db
options = {"target_metadata": db.metadata, **current_app.extensions["migrate"].configure_args}

if context.is_offline_mode():
    context.configure(url=db.engine.url, literal_binds=True, **options)
    with context.begin_transaction():
        context.run_migrations()
else:
    logging.basicConfig(format="%(message)s")
    logging.getLogger("alembic.runtime.migration").setLevel(logging.INFO)

    @event.listens_for(db.engine, "do_connect")
    def wait(dialect, record, arguments, keywords):
        """A change of a large table may take longer than a request."""
        keywords.pop("read_timeout", None)

    with db.engine.connect().execution_options(writes=True) as connection:
        context.configure(connection=connection, **options)
        with context.begin_transaction():
            context.run_migrations()
