"""Contacts so old that no cap counts them are found by their time, in a hundredth of a b-tree."""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX contacts_at ON contacts USING brin (at)")
