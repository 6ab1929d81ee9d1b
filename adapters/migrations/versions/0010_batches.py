"""Batches of decisions: which customer was decided by which, so that none is twice."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

STATEMENTS = (
    """CREATE TABLE batches (
        batch_id text PRIMARY KEY,
        request text NOT NULL,
        started_at timestamptz NOT NULL,
        finished_at timestamptz
    )""",
    # Two runs of one request at a time would decide twice.
    "CREATE UNIQUE INDEX batches_unfinished ON batches (request) WHERE finished_at IS NULL",
    """CREATE TABLE batch_decisions (
        batch_id text NOT NULL REFERENCES batches,
        customer_id text NOT NULL,
        decision_id text NOT NULL,
        PRIMARY KEY (batch_id, customer_id)
    )""",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
