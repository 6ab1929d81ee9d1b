"""Whose file is it? Its process's, while that lives: it holds a lock that ends with it."""

import fcntl
import os
from pathlib import Path


def adopted(path: Path) -> int | None:
    """Open and lock a file whose process ended.

    Returns:
        Its descriptor, which holds it until it is closed; None where a living process holds the
        file, or it is gone.

    Raises:
        OSError: It may not be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    ours = False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # It may have been passed on and removed between the look and the lock.
        ours = os.fstat(descriptor).st_nlink > 0
    except BlockingIOError:
        return None
    finally:
        if not ours:
            os.close(descriptor)
    return descriptor if ours else None
