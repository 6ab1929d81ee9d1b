"""The console: what a marketer looks at, in a browser. It knows no store, only its desk."""

# There is no login yet, so it is for this machine alone.
LOOPBACK = ("127.0.0.1", "localhost", "::1")
