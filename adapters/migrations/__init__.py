"""The operational schema, step by step (Alembic). `upgrade` runs when a service or job starts."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Engine, text

from foundation.errors import RegularsError

# Any fixed number: two processes that start together migrate one after the other.
LOCK = 7_203_411


def upgrade(engine: Engine) -> None:
    """Bring the database to the newest schema.

    Raises:
        RegularsError: A newer version of Regulars has migrated it already.
    """
    config = Config()
    # A percent sign would begin a variable of the configuration's own.
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise RegularsError(
                f"the database's schema is none that this version knows ({error}); run the "
                "version of Regulars that migrated it, or a newer one"
            ) from error
