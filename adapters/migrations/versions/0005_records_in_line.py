"""Decision records stay in their row: compressing and cutting them up cost more than it saved.

A record of a hundred offers has some seven kilobytes and is written once, with its customer
waiting; the lake keeps it compressed.
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE decisions ALTER COLUMN record SET STORAGE EXTERNAL",
    "ALTER TABLE decisions SET (toast_tuple_target = 8160)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
