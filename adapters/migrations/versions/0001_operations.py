"""Catalogue, keys, decisions and outcomes."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

STATEMENTS = (
    """CREATE TABLE offers (
        offer_id text PRIMARY KEY,
        document jsonb NOT NULL,
        popularity double precision NOT NULL CHECK (popularity BETWEEN 0 AND 1)
    )""",
    """CREATE TABLE experiments (
        key text PRIMARY KEY,
        document jsonb NOT NULL,
        content_hash text NOT NULL,
        started_at timestamptz NOT NULL,
        stopped_at timestamptz CHECK (stopped_at >= started_at)
    )""",
    # One row: its version moves with every change of what can be offered.
    "CREATE TABLE catalogue (single boolean PRIMARY KEY DEFAULT true CHECK (single), "
    "version bigint NOT NULL)",
    "INSERT INTO catalogue (version) VALUES (0)",
    """CREATE TABLE api_keys (
        secret_hash bytea PRIMARY KEY,
        name text NOT NULL,
        scopes text[] NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        revoked_at timestamptz
    )""",
    # written_by is the writing transaction: a reader that takes only rows of transactions older
    # than every one still open can keep a cursor that no late commit slips past.
    """CREATE TABLE decisions (
        decision_id text PRIMARY KEY,
        customer_id text NOT NULL,
        at timestamptz NOT NULL,
        record json NOT NULL,
        written_by xid8 NOT NULL DEFAULT pg_current_xact_id()
    )""",
    "CREATE INDEX decisions_written_by ON decisions (written_by)",
    """CREATE TABLE outcomes (
        event_id text PRIMARY KEY,
        customer_id text NOT NULL,
        at timestamptz NOT NULL,
        kind text NOT NULL,
        offer_id text,
        event json NOT NULL,
        digest bytea NOT NULL,
        written_by xid8 NOT NULL DEFAULT pg_current_xact_id()
    )""",
    "CREATE INDEX outcomes_written_by ON outcomes (written_by)",
    "CREATE INDEX outcomes_redemptions ON outcomes (customer_id, offer_id) WHERE kind = 'redeem'",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
