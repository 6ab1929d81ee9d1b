"""Load by wrk, which takes a tenth of the CPU that our own generator takes.

Both share the machine with what they measure: the less a generator takes, the less it flatters
whichever of two services costs more.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.callers.load import WARM_UP_SECONDS, Answers

_SCRIPT = """
local requests, n = {}, 0
local file = io.open(os.getenv("REGULARS_WRK_BODIES"))
for body in file:lines() do requests[#requests + 1] = body end
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer " .. os.getenv("REGULARS_WRK_KEY")
request = function()
  n = n % #requests + 1
  return wrk.format(nil, nil, nil, requests[n])
end
"""


def there_is_wrk() -> bool:
    return shutil.which("wrk") is not None


def closed_loop(
    url: str, key: str, bodies: Sequence[bytes], connections: int, seconds: float
) -> Answers:
    """Keep so many connections busy; each sends its next request when it has its answer.

    Args:
        bodies: JSON without line breaks.

    Returns:
        How many answers came; wrk does not tell what each one took.
    """
    with tempfile.TemporaryDirectory() as folder:
        script, told = Path(folder, "post.lua"), Path(folder, "bodies")
        script.write_text(_SCRIPT)
        told.write_bytes(b"\n".join(bodies))
        environment = {
            **os.environ,
            "REGULARS_WRK_BODIES": str(told),
            "REGULARS_WRK_KEY": key,
        }

        def run(lasting: float) -> str:
            # Whole seconds are all that wrk takes.
            until = f"-d{max(round(lasting), 1)}s"
            command = ["wrk", "-t1", f"-c{connections}", until, "-s", str(script), url]
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=True
            )
            return done.stdout

        run(WARM_UP_SECONDS)
        said = run(seconds)
    return read_answers(said)


def read_answers(said: str) -> Answers:
    """Return what wrk says of a run; requests that met no good answer are under status 0."""
    bad = sum(int(n) for n in re.findall(r"Non-2xx or 3xx responses: (\d+)", said))
    errors = re.search(
        r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said
    )
    bad += 0 if errors is None else sum(int(n) for n in errors.groups())
    answered = re.search(r"(\d+) requests in", said)
    rate = re.search(r"Requests/sec: *([\d.]+)", said)
    if answered is None or rate is None:
        raise RuntimeError(f"wrk said nothing that is known: {said}")
    good = int(answered[1]) - bad
    return Answers(
        good=good, lasted=int(answered[1]) / float(rate[1]), other={0: bad} if bad else {}
    )
