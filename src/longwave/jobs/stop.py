"""The stopping flag: set in a worker's main process, seen at once by the children it forked."""

import mmap

GRACE = 25.0
"""Seconds that running jobs have to end. Kubernetes, and `docker stop -t 30`, kill after 30."""

CAME_BACK = "_LONGWAVE_CAME_BACK"
"""In the environment of a worker that began anew: why, and whose jobs are left."""

# Anonymous shared memory, made when this module is imported, which must be before the worker forks.
_flag = mmap.mmap(-1, 1)


def request() -> None:
    """Ask this process and its children to hand their work over soon."""
    _flag[0] = 1


def stopping() -> bool:
    """Whether this worker is about to end: return `Again()` at the next good moment."""
    return _flag[0] == 1


def clear() -> None:
    """Forget the request, for a process that goes on."""
    _flag[0] = 0
