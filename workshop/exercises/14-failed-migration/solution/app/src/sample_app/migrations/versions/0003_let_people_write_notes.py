"""Let people write notes to a group of errors, and see when one was last looked at"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0003"
down_revision = "0002"


def upgrade():
    key = sa.String(64).with_variant(mysql.VARCHAR(64, charset="ascii", collation="ascii_bin"), "mysql", "mariadb")
    op.create_table(
        "note",
        sa.Column("project", key, nullable=False),
        sa.Column("fingerprint", key, nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("project", "fingerprint"),
        mysql_charset="utf8mb4",
    )
    op.add_column("error", sa.Column("looked_at", sa.DateTime(), nullable=True))


def downgrade():
    op.drop_column("error", "looked_at")
    op.drop_table("note")
