"""Where the outside world is touched: files, databases, registries."""

import os

# Before anybody imports MLflow: it reads them once. Its own defaults try for minutes before they
# give a server up, and tell its makers of every use.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
