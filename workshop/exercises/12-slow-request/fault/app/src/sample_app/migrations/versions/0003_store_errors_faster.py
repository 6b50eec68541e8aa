"""Store errors faster: each one was written twice"""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade():
    op.drop_index("error_by_group", table_name="error")


def downgrade():
    op.create_index("error_by_group", "error", ["project", "fingerprint", "id"])
