"""Names of repeated requests are found by their age, to be forgotten."""

from alembic import op

revision = "0007"
down_revision = "0005"
branch_labels = None
depends_on = None

STATEMENTS = ("CREATE INDEX replays_at ON replays (at)",)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
