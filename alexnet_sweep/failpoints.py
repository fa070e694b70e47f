"""Places where a test makes a process die, or a write fail. Off unless the environment names one.

`ALEXNET_SWEEP_FAILPOINT=NAME:ACTION[:N]` acts when the place is passed for the N-th time (by default the first) in a
process. Places are `data.chunk`, `data.rename`, `data.renamed`, `train.step`, `train.epoch`, `checkpoint.write`,
`evaluate.batch`, `report.board`, and for every file that is written beside and renamed `FILE.beside` before and
`FILE.renamed` after. Actions: `kill`, `term`, `stop` send a signal; `full` and `broken` fail a write.
"""

import errno
import os
import signal
from collections import Counter

VARIABLE = "ALEXNET_SWEEP_FAILPOINT"
_passed: Counter[str] = Counter()


def pass_by(name: str) -> None:
    """Do what the environment asks for at this place, if anything.

    Raises:
        OSError: for the actions `full` and `broken`.
        ValueError: for an action that there is not.
    """
    wanted = os.environ.get(VARIABLE)
    if wanted is None or not wanted.startswith(f"{name}:"):
        return
    action, _, number = wanted.removeprefix(f"{name}:").partition(":")
    _passed[wanted] += 1
    if _passed[wanted] != int(number or 1):
        return
    match action:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "term":
            os.kill(os.getpid(), signal.SIGTERM)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        case "broken":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        case _:
            raise ValueError(f"{VARIABLE}={wanted}: action {action!r}; allowed: kill, term, stop, full, broken")
