"""Samples of several states as they come in time: checked, with their inefficiencies and blocks of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alloygen.arguments import whole_number
from alloygen.errors import AlloygenError
from alloygen.estimate import chains as markov
from alloygen.types import ArrayLike

BLOCKS = 32  # of time, for bootstrap factors


@dataclass(frozen=True, kw_only=True, eq=False)
class Memory:
    """How the samples of a state hang together.

    n_chains : chains of equal length whose samples follow one another
    least : (K,) inefficiencies that each state has at least where samples of several states are weighed against each other: a phase that
        the chain of a cold state meets only when a replica brings it leaves no trace in the series of one that brought none

    Examples
    --------
    >>> Memory().n_chains
    1
    """

    n_chains: int = 1
    least: ArrayLike | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_chains", whole_number(self.n_chains, "n_chains"))


def series_of(
    beta: np.ndarray,
    beta_mu: np.ndarray,
    energy: Sequence[ArrayLike] | np.ndarray,
    counts: Sequence[ArrayLike] | np.ndarray,
) -> list[np.ndarray]:
    """K arrays (n_k, 1 + E) of energies and counts, checked."""
    k = len(beta)
    if beta_mu.ndim != 2 or len(beta_mu) != k or len(energy) != k or len(counts) != k:
        raise AlloygenError(
            f"expected beta (K,), beta_mu (K, E) and K arrays of energies and of counts, got shapes {beta.shape}, "
            f"{beta_mu.shape} and {len(energy)}, {len(counts)} arrays"
        )
    out = []
    for i, (e, n) in enumerate(zip(energy, counts, strict=True)):
        e, n = np.asarray(e, dtype=np.float64), np.asarray(n, dtype=np.float64)
        if e.ndim != 1 or len(e) == 0 or n.shape != (len(e), beta_mu.shape[1]):
            raise AlloygenError(
                f"expected energies (n,) with n >= 1 and counts (n, {beta_mu.shape[1]}) for state {i}, got shapes "
                f"{e.shape} and {n.shape}; leave out states without samples and ask for them with log_z"
            )
        out.append(np.column_stack([e, n]))
    if not (np.isfinite(beta).all() and np.isfinite(beta_mu).all() and all(np.isfinite(x).all() for x in out)):
        raise AlloygenError("expected finite beta, beta mu, energies and counts, got nan or inf; T = inf is beta = 0")
    return out


def inefficiencies(
    given: ArrayLike | str | None,
    series: list[np.ndarray],
    slope: np.ndarray,
    n_chains: int,
    inside: Sequence | None = None,
) -> np.ndarray:
    """(K,) as they are given, 1 without any, or "measure": the largest of E, each N and the reduced potential of the state."""
    if given is None:
        return np.ones(len(series))
    if isinstance(given, str) and given == "measure":
        if any(len(x) % n_chains for x in series):
            raise AlloygenError(f"expected every state to hold {n_chains} chains of equal length; check n_chains")

        def largest(x, row, kept) -> float:  # what is left of a restricted state is one series
            x, chains = (x, n_chains) if kept is None or kept.all() else (x[kept], 1)
            return max(markov.inefficiency(y.reshape(chains, -1)) for y in (*x.T, x @ row))

        kept = [None] * len(series) if inside is None else inside
        return np.array([largest(x, row, k) for x, row, k in zip(series, slope, kept, strict=True)])
    g = np.asarray(given, dtype=np.float64)
    if g.shape != (len(series),) or not (g >= 1).all():
        raise AlloygenError(f'expected {len(series)} inefficiencies of at least 1 or "measure", got {given!r}')
    return g


def blocks_of(lengths: Sequence[int], chains: int) -> tuple[np.ndarray, list[int]]:
    """The block (n,) of each sample, and how many blocks there are in each set that is drawn anew together: one set of blocks of time that all states
    share where ``chains`` of each ran side by side (0: they did not), else one of each state.

    Examples
    --------
    >>> [x.tolist() if isinstance(x, np.ndarray) else x for x in (*blocks_of([2, 2], 1), *blocks_of([2, 1], 0))]
    [[0, 1, 0, 1], [2], [0, 1, 2], [2, 1]]
    """
    if chains and len(set(lengths)) == 1:
        per_chain = max(1, min(BLOCKS // chains, lengths[0] // chains))
        time = np.arange(lengths[0] // chains) * per_chain // (lengths[0] // chains)
        block = (np.arange(chains)[:, None] * per_chain + time).ravel()
        return np.tile(block, len(lengths)), [per_chain * chains]
    sizes = [min(BLOCKS, n) for n in lengths]
    first = np.cumsum([0, *sizes])
    parts = [start + np.arange(n) * size // n for start, n, size in zip(first, lengths, sizes, strict=False)]
    return np.concatenate(parts), sizes
