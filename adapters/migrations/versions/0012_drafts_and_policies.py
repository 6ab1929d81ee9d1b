"""Experiments before their start, and policies under a name."""

from alembic import op

revision = "0012"
down_revision = "0010"
branch_labels = None
depends_on = None

STATEMENTS = (
    # Apart from `experiments`, where all that is read is locked and was started.
    "CREATE TABLE experiment_drafts (key text PRIMARY KEY, document jsonb NOT NULL)",
    # `default` serves where no experiment says otherwise.
    "CREATE TABLE policies (name text PRIMARY KEY, document jsonb NOT NULL)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
