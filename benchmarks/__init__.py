"""Every number the README claims, reproducible by `regulars benchmark NAME`."""
