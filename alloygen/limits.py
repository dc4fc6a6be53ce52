"""What a call will need of the machine, told before it begins."""

from __future__ import annotations

import math
import resource
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from alloygen.errors import TooLarge

SHARE = 0.8  # of what is free that one call may take
SMALL = 16e6  # bytes that any machine has: what is free is not asked for
CLUSTERS = 5e6  # looked at while figures are made; each takes some 30 microseconds, so minutes
ATTEMPTS = 10**12  # of flips in one call of compiled code, for which Ctrl-C waits: some 20 hours of a core
CLOSE = 15 / 32  # of the pairs of points in a ball that are no farther apart than its radius


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
    free = available() if needed > SMALL else None
    if free is not None and needed > SHARE * free:
        raise TooLarge(
            f"expected what fits {free / 1e9:.3g} GB of free memory, got {what}, about {needed / 1e9:.3g} GB. {remedy}"
        )


def sample_bytes(n: int, n_sites: int, n_elements: int, many: bool = True) -> int:
    """Bytes of n independent configurations: occupations (int8, and int64 while they are drawn), energies, likelihoods, counts of atoms.

    many : drawn all at once, and not condition by condition
    """
    return n * (n_sites * (10 if many else 1) + 8 * (4 + n_elements))


def require_rows(n: int, numbers: int, what: str) -> None:
    """Refuse walkers, copies or draws, n of ``what`` with so many numbers each, that memory does not hold.

    Examples
    --------
    >>> require_rows(10, 64, "walkers")
    >>> require_rows(10**15, 64, "walkers")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    alloygen.errors.TooLarge: expected what fits ... GB of free memory, got 1000000000000000 walkers, about 1.02e+09 GB. Take fewer
    """
    require_memory(16.0 * n * numbers, f"{n} {what}", "Take fewer")


def require_attempts(sweeps: int, sites: int, remedy: str) -> None:
    """Refuse so many sweeps of the sites of all walkers in one call of compiled code that Ctrl-C would wait for days.

    Examples
    --------
    >>> require_attempts(10, 64, "")
    >>> require_attempts(10**15, 64, "Take fewer sweeps")
    Traceback (most recent call last):
    alloygen.errors.TooLarge: expected at most 1e+12 attempted flips at once, got 1000000000000000 sweeps of 64 sites. Take fewer sweeps
    """
    if sweeps * sites > ATTEMPTS:
        raise TooLarge(
            f"expected at most {ATTEMPTS:.0e} attempted flips at once, got {sweeps} sweeps of {sites} sites. {remedy}"
        )


def require_clusters(
    vectors: np.ndarray, n_sites: int, cutoffs: Sequence[float], what: str, remedy: str, pruned: bool = True
) -> None:
    """Refuse cutoffs of pairs, triplets, ... within which there are too many clusters to look at.

    A ball of radius c holds v(c) = rho V_d c^d sites, so that about v^(k-1) / (k-1)! clusters of k sites hold a given one; (15/32) to the number
    of their other pairs is the share in which all are within c of each other.

    vectors : periodic ones of the cell (d, 3), in the unit of the cutoffs; n_sites : in that cell; pruned : only that share is looked at

    Raises :class:`~alloygen.errors.TooLarge`, for cutoffs that are no finite numbers as well.

    Examples
    --------
    >>> require_clusters(np.eye(3), 1, [5.0, 3.0], "clusters", "")
    >>> require_clusters(np.eye(3), 1, [5.0, 300.0], "clusters within [5, 300]", "Take smaller cutoffs")
    Traceback (most recent call last):
    alloygen.errors.TooLarge: expected at most 5e+06 clusters to look at, got clusters within [5, 300], about 1e+16 of them. Take smaller cutoffs
    """
    d, found = len(vectors), 0.0
    if d:
        ball = math.pi ** (d / 2) / math.gamma(d / 2 + 1)
        density = n_sites * ball / math.sqrt(max(float(np.linalg.det(vectors @ vectors.T)), 1e-300))
        for k, c in enumerate(map(float, cutoffs), 2):
            if not math.isfinite(c):
                raise TooLarge(f"expected cutoffs of clusters as finite numbers, got {what}. {remedy}")
            log_v = math.log(density) + d * math.log(c) if c > 0 else 0.0
            apart = (k - 1) * (k - 2) / 2 * math.log(CLOSE) if pruned else 0.0
            found = max(found, 2 * log_v, (k - 1) * log_v - math.lgamma(k) + apart)
    found += math.log(n_sites)
    if found > math.log(CLUSTERS):
        raise TooLarge(
            f"expected at most {CLUSTERS:.0e} clusters to look at, got {what}, about 1e{found / math.log(10):+.0f} of them. {remedy}"
        )


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
