"""Where the outside world is touched: files, databases, registries."""
