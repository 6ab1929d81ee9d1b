"""Who can hear what is said to the console: nobody, where it is not encrypted."""

from foundation.errors import RegularsError
from foundation.settings import Settings
from serving.console import LOOPBACK


def check_reach(settings: Settings) -> None:
    """Pass where nobody's password would cross a network in the clear.

    Raises:
        RegularsError: The console would listen beyond this machine, and no proxy ends TLS.
    """
    if settings.host not in LOOPBACK and not settings.proxies:
        raise RegularsError(
            f"setting REGULARS_HOST={settings.host!r}: passwords would cross the network in the "
            "clear; name the proxy that ends TLS in REGULARS_PROXIES, start with --no-console, or "
            "keep REGULARS_HOST=127.0.0.1"
        )
