"""Who was forgotten long ago is still known to what waited on a disk, without her name."""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """CREATE TABLE forgotten (
            customer_hash bytea PRIMARY KEY,
            pseudonym text NOT NULL,
            at timestamptz NOT NULL DEFAULT now()
        )"""
    )
