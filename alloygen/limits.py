"""What a call will need of the machine, told before it begins."""

from __future__ import annotations

import resource
from pathlib import Path

from alloygen.errors import TooLarge

SHARE = 0.8  # of what is free that one call may take


def available() -> int | None:
    """Bytes of memory that this process can still have: the least of what the machine, its control group and ``ulimit -v`` leave; None where
    nothing tells.

    Examples
    --------
    >>> available() is None or available() > 0
    True
    """
    left = [n for n in (_machine(), _group(), _address_space()) if n is not None]
    return max(min(left), 1) if left else None


def require_memory(needed: float, what: str, remedy: str) -> None:
    """Refuse what needs more bytes than there are; ``remedy`` says how to split it.

    Raises :class:`~alloygen.errors.TooLarge`.

    Examples
    --------
    >>> require_memory(1e3, "a small table", "")
    >>> require_memory(1e18, "10^17 samples", "Draw them in parts")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    alloygen.errors.TooLarge: expected what fits ... GB of free memory, got 10^17 samples, about 1e+09 GB. Draw them in parts
    """
    free = available()
    if free is not None and needed > SHARE * free:
        raise TooLarge(
            f"expected what fits {free / 1e9:.3g} GB of free memory, got {what}, about {needed / 1e9:.3g} GB. {remedy}"
        )


def sample_bytes(n: int, n_sites: int, n_elements: int, many: bool = True) -> int:
    """Bytes of n independent configurations: occupations (int8, and int64 while they are drawn), energies, likelihoods, counts of atoms.

    many : drawn all at once, and not condition by condition
    """
    return n * (n_sites * (10 if many else 1) + 8 * (4 + n_elements))


def _machine() -> int | None:
    return _field(Path("/proc/meminfo"), "MemAvailable:", 1024)


def _group() -> int | None:
    """Of the control group (version 2, then 1) that a container or a batch system made."""
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            most = (Path("/sys/fs/cgroup") / limit).read_text().strip()
            if most.isdigit() and int(most) < 2**60:
                return int(most) - int((Path("/sys/fs/cgroup") / used).read_text())
        except (OSError, ValueError):
            continue
    return None


def _address_space() -> int | None:
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    used = _field(Path("/proc/self/status"), "VmSize:", 1024)
    return None if limit == resource.RLIM_INFINITY or used is None else limit - used


def _field(path: Path, name: str, unit: int) -> int | None:
    try:
        line = next(line for line in path.read_text().splitlines() if line.startswith(name))
        return unit * int(line.split()[1])
    except (OSError, StopIteration, ValueError, IndexError):
        return None
