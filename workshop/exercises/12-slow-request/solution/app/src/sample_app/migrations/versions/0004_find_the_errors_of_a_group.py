"""Find the errors of a group without reading all of its project's"""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade():
    op.create_index("error_by_group", "error", ["project", "fingerprint", "id"])


def downgrade():
    op.drop_index("error_by_group", table_name="error")
