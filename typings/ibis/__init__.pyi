# Ibis types its expressions only in part (a deferred lambda is refused, a column of unknown type
# has no methods), so it counts as untyped here.
from typing import Any

def __getattr__(name: str) -> Any: ...
