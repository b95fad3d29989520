"""The stopping flag: set in a worker's main process, seen at once by the children it forked."""

import mmap

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
