"""Consents by channel with their history, contacts, and customers who are to be forgotten."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

STATEMENTS = (
    # Her newest answer by channel, which every decision reads.
    """CREATE TABLE consents (
        customer_id text NOT NULL,
        channel text NOT NULL,
        granted boolean NOT NULL,
        at timestamptz NOT NULL,
        PRIMARY KEY (customer_id, channel)
    )""",
    """CREATE TABLE consent_history (
        entry bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        customer_id text NOT NULL,
        channel text NOT NULL,
        granted boolean NOT NULL,
        at timestamptz NOT NULL,
        who text NOT NULL,
        source text NOT NULL
    )""",
    "CREATE INDEX consent_history_customer ON consent_history (customer_id, entry)",
    # A contact goes by its decision, so that a message decided here and told as sent is one.
    """CREATE TABLE contacts (
        contact_id text PRIMARY KEY,
        customer_id text NOT NULL,
        channel text NOT NULL,
        at timestamptz NOT NULL
    )""",
    "CREATE INDEX contacts_customer ON contacts (customer_id, at)",
    # Kept until the lake and the snapshot have forgotten her, too.
    """CREATE TABLE erasures (
        customer_id text PRIMARY KEY,
        pseudonym text NOT NULL UNIQUE,
        at timestamptz NOT NULL DEFAULT now()
    )""",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
