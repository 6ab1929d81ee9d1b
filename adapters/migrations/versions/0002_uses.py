"""Uses of offers, their counters, and answers that a repeated request gets again."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STATEMENTS = (
    """CREATE TABLE uses (
        use_id text PRIMARY KEY,
        offer_id text NOT NULL,
        customer_id text NOT NULL,
        store_id text,
        channel text NOT NULL,
        cost bigint NOT NULL,
        state text NOT NULL CHECK (state IN ('reserved', 'redeemed', 'released', 'reversed')),
        expires_at timestamptz CHECK (expires_at IS NOT NULL OR state <> 'reserved'),
        decision_id text,
        order_id text,
        made_at timestamptz NOT NULL DEFAULT now(),
        changed_at timestamptz NOT NULL DEFAULT now()
    )""",
    "CREATE INDEX uses_customer ON uses (customer_id, offer_id) "
    "WHERE state IN ('reserved', 'redeemed')",
    "CREATE INDEX uses_expiry ON uses (expires_at) WHERE state = 'reserved'",
    # store_id '' counts all stores together.
    """CREATE TABLE held (
        offer_id text NOT NULL,
        store_id text NOT NULL,
        uses bigint NOT NULL,
        cost bigint NOT NULL,
        PRIMARY KEY (offer_id, store_id)
    )""",
    """CREATE TABLE replays (
        replay text PRIMARY KEY,
        digest bytea NOT NULL,
        answer json,
        at timestamptz NOT NULL DEFAULT now()
    )""",
    # What was told before uses were kept is a use all the same; what an offer cost then is unknown
    # where the catalogue has lost it, and no limit asks for it then.
    """INSERT INTO uses (use_id, offer_id, customer_id, store_id, channel, cost, state, made_at)
        SELECT event_id, offer_id, customer_id, event ->> 'store_id', event ->> 'channel',
            coalesce((SELECT (document ->> 'cost')::bigint FROM offers
                WHERE offers.offer_id = outcomes.offer_id), 0), 'redeemed', at
        FROM outcomes WHERE kind = 'redeem'""",
    "INSERT INTO held SELECT offer_id, '', count(*), sum(cost) FROM uses GROUP BY offer_id",
    "INSERT INTO held SELECT offer_id, store_id, count(*), sum(cost) FROM uses "
    "WHERE store_id <> '' GROUP BY offer_id, store_id",
    "DROP INDEX outcomes_redemptions",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
