"""A use knows the event that told its redemption, so that it is given back under that id too."""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE uses ADD COLUMN event_id text")
    op.execute("CREATE INDEX uses_event ON uses (event_id) WHERE event_id IS NOT NULL")
