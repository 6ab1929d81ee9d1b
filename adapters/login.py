"""Who runs this process: the one whom the audit log names when nobody else is."""

import getpass
import os


def login() -> str:
    """Return who runs this process, for changes that name nobody else."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        # A container may run under a number that has no name.
        return f"user {os.getuid()}"
