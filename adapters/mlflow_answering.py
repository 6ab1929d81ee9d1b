"""An MLflow server that is away is said to be away, soon and in one line."""

from collections.abc import Generator
from contextlib import contextmanager

import requests
from mlflow import MlflowException
from sqlalchemy.exc import OperationalError

from foundation.errors import StoreUnavailable


@contextmanager
def answering() -> Generator[None]:
    """Turn a failed connection into StoreUnavailable; also a decorator.

    The address is not told: it may hold a password.
    """
    try:
        yield
    except MlflowException as error:
        if not isinstance(error.__context__, requests.RequestException):
            raise
        raise _away(error.__context__) from error
    except (OperationalError, requests.RequestException) as error:
        raise _away(error) from error


def _away(error: Exception) -> StoreUnavailable:
    return StoreUnavailable(
        f"MLflow does not answer ({type(error).__name__}); is the server of "
        "REGULARS_MLFLOW_TRACKING_URI running?"
    )
