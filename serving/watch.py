"""Watch: take a step again and again, and say only what changed about it."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from foundation.errors import RegularsError

REFRESH_SECONDS = 0.5


async def watch(
    step: Callable[[], Awaitable[None]], tried: asyncio.Event, pause: float | None = None
) -> None:
    """Take a step again and again for ever; what it read stays live while it fails.

    Args:
        tried: Set once the step was taken, whether or not it worked.
        pause: Seconds between two steps, half a second if left out.
    """
    log = structlog.get_logger("serving")
    told = None
    while True:
        try:
            await step()
            fault = None
        except Exception as error:
            ours = isinstance(error, RegularsError)
            # What others say of an error may quote a row.
            fault = f"{type(error).__name__}: {error}" if ours else type(error).__name__
            if fault != told:
                trace = None if ours else error
                log.warning("refresh failed", reason=fault, exc_info=trace)
        if told is not None and fault is None:
            log.info("refresh works again")
        told = fault
        tried.set()
        await asyncio.sleep(REFRESH_SECONDS if pause is None else pause)
