"""Create the table of webhooks"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0002"
down_revision = "0001"


def upgrade():
    key = sa.String(64).with_variant(mysql.VARCHAR(64, charset="ascii", collation="ascii_bin"), "mysql", "mariadb")
    op.create_table(
        "delivery",
        sa.Column("project", key, nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("state", key, nullable=False),
        sa.Column("receiver", sa.String(300), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("said", sa.String(200), nullable=False),
        sa.Column("due", sa.BigInteger(), nullable=False),
        sa.Column("queued", sa.BigInteger(), nullable=True),
        sa.Column("ended", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("project", "id"),
        sa.Index("delivery_by_state", "state", "due"),
        mysql_charset="utf8mb4",
    )


def downgrade():
    op.drop_table("delivery")
