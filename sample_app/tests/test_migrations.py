from io import StringIO

import pytest
from alembic import command
from sqlalchemy import inspect

from sample_app import create_app
from sample_app.models import db


def test_the_migrations_make_what_the_models_say(runner):
    result = runner.invoke(args=["db", "check"])
    assert result.exit_code == 0, result.output


def test_the_migrations_can_be_taken_back(app, runner):
    assert runner.invoke(args=["db", "downgrade", "base"]).exit_code == 0
    with app.app_context():
        assert inspect(db.engine).get_table_names() == ["alembic_version"]


@pytest.mark.parametrize(
    "definition",
    [
        "project VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL",
        "id BIGINT NOT NULL",
        "PRIMARY KEY (project, id)",
        "CHARSET=utf8mb4",
        "CREATE INDEX error_by_group ON error (project, fingerprint, id)",
        "state VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL",
        "CREATE INDEX delivery_by_state ON delivery (state, due)",
    ],
)
def test_mysql_gets_its_own_types(definition):
    app = create_app({"DATABASE_URL": "mysql+pymysql://faults@localhost/faults"})
    with app.app_context():
        config = app.extensions["migrate"].migrate.get_config()
        config.output_buffer = StringIO()
        command.upgrade(config, "head", sql=True)
    assert definition in config.output_buffer.getvalue()
