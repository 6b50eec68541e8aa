"""Create the table of errors"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None


def upgrade():
    key = sa.String(64).with_variant(mysql.VARCHAR(64, charset="ascii", collation="ascii_bin"), "mysql", "mariadb")
    op.create_table(
        "error",
        sa.Column("project", key, nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("fingerprint", key, nullable=False),
        sa.Column("type", sa.String(200), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("backtrace", sa.JSON(), nullable=False),
        sa.Column("context", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("project", "id"),
        sa.Index("error_by_group", "project", "fingerprint", "id"),
        mysql_charset="utf8mb4",
    )


def downgrade():
    op.drop_table("error")
