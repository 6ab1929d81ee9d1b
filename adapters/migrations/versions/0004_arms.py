"""Arms: under which variant's part of a shared limit a use counts."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE uses ADD COLUMN arm text",
    """CREATE TABLE held_by_arm (
        offer_id text NOT NULL,
        arm text NOT NULL,
        uses bigint NOT NULL,
        cost bigint NOT NULL,
        PRIMARY KEY (offer_id, arm)
    )""",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
