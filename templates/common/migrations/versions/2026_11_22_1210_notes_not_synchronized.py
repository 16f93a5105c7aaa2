"""An index of the notes that are not synchronized, created while the service runs.

CREATE INDEX blocks writes until the index is ready. With CONCURRENTLY it does not, but it cannot
run in a transaction, and leaves an invalid index behind when it fails. The migration drops such an
index first, so that it can be run again.
"""

import sqlalchemy as sa
from alembic import op

revision = "notes_not_synchronized"
down_revision = "notes"
branch_labels = None
depends_on = None

INDEX = "notes_not_synchronized_index"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.drop_index(INDEX, "notes", if_exists=True, postgresql_concurrently=True)
        op.create_index(
            INDEX,
            "notes",
            ["id"],
            postgresql_where=sa.text("synchronized_at IS NULL"),
            postgresql_concurrently=True,
        )


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.drop_index(INDEX, "notes", if_exists=True, postgresql_concurrently=True)
