"""Decisions are kept packed; those that are there stay as JSON, and nothing is written anew.

A worker of the version before, which still runs during an upgrade, goes on writing JSON.
"""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE decisions ADD COLUMN packed bytea",
    # Numbers do not grow smaller by compressing, and cutting a row up costs more than it saves.
    "ALTER TABLE decisions ALTER COLUMN packed SET STORAGE EXTERNAL",
    "ALTER TABLE decisions ALTER COLUMN record DROP NOT NULL",
    "ALTER TABLE decisions ADD CONSTRAINT decisions_record "
    "CHECK (record IS NOT NULL OR packed IS NOT NULL) NOT VALID",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
