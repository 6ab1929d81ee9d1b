"""Access: keys that end, follow each other and ask so often; people at the console."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

STATEMENTS = (
    """ALTER TABLE api_keys
        ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
        ADD COLUMN line bytea,
        ADD COLUMN rate double precision CHECK (rate > 0),
        ADD COLUMN expires_at timestamptz,
        ADD COLUMN successor bigint,
        ADD COLUMN last_used date""",
    # The first key of its line: repeated requests are known by it over a rotation.
    "UPDATE api_keys SET line = secret_hash",
    "ALTER TABLE api_keys ALTER COLUMN line SET NOT NULL",
    """CREATE TABLE users (
        name text PRIMARY KEY,
        role text NOT NULL CHECK (role IN ('viewer', 'marketer', 'admin')),
        password_hash text NOT NULL,
        made_at timestamptz NOT NULL
    )""",
    """CREATE TABLE sessions (
        token_hash bytea PRIMARY KEY,
        name text NOT NULL REFERENCES users ON DELETE CASCADE,
        made_at timestamptz NOT NULL,
        seen_at timestamptz NOT NULL
    )""",
    "CREATE INDEX sessions_name ON sessions (name)",
    """CREATE TABLE sign_in_tries (
        subject text PRIMARY KEY,
        tries integer NOT NULL,
        since timestamptz NOT NULL
    )""",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
