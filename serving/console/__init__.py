"""The console: what a marketer looks at, in a browser. It knows no store, only its desk."""

# Where nobody but this machine hears what is said.
LOOPBACK = ("127.0.0.1", "localhost", "::1")
