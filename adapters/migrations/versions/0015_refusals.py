"""Who refuses a channel is found without those who do not, in every worker twice a second."""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX consents_refused ON consents (channel, customer_id) WHERE NOT granted")
