"""Multi-spin coded Metropolis for the square-lattice Ising model: one instruction moves one spin of hundreds of replicas.

    H = -J sum_<ij> s_i s_j - h sum_i s_i,     periodic, each bond counted once, dimensionless (kB = 1).

Bit b of a 64-bit word is the spin of one replica, and ``WORDS`` words lie side by side, so that the inner loops run over
words and become SIMD instructions (Jacobs and Rebbi, J. Comput. Phys. 41, 203 (1981); Block, Virnau and Preis, Comput.
Phys. Commun. 181, 1549 (2010)). The replicas share the order of the sites and nothing else: each has its own temperature,
its own field and its own random bits.

*The move.* Sites are visited one after the other in a fixed order, valid for every side L >= 2. With n the sum of the
four neighbours and e = J n + h, a spin flips with

    (1 - 2^-4) min(1, exp(-2 s e / T)),

Metropolis with one attempt in 16 left out. Each visit keeps p(x) ~ exp(-H / T) by detailed balance, and so does their
sequence (global balance: p P = p), though a sweep as a whole is not reversible. The attempts left out make the sweep
ergodic: in a fixed order with moves of dE = 0 always accepted it is not (on 2 x 2 and 3 x 3 at h = 0 the states fall
into 3 and 5 classes that never meet).

*The random numbers.* u < p is decided bit by bit from the highest down: a plane of random bits against the same plane of
the thresholds settles half of the replicas that are still open, and the visit ends when none is (12 planes for 1024
replicas, 64 at most, so p is good to 2^-64). The planes come from xoshiro256++ (Blackman and Vigna, ACM Trans. Math.
Softw. 47, 36 (2021)), one generator for each word.
"""

from __future__ import annotations

import numpy as np

from alloygen.arguments import whole_number
from alloygen.compiled import njit
from alloygen.errors import AlloygenError, BadCondition
from alloygen.hamiltonian.kernels import put
from alloygen.types import ArrayLike

WORDS = 16
BLOCK = 64 * WORDS
PLANES = 64
_STEP = 4  # planes a call; a favourable flip is left out when the _STEP bits of the last call are all set
_ATTEMPT = 1.0 - 0.5**_STEP
_FIRST = 3 * _STEP  # planes before the first look at what is still open
# Rows of the scratch array: generator (4), neighbour count in binary, favoured spin, what is aligned, and the outcome.
_ONE, _TWO, _FOUR, _FAVOURED, _ALIGNED, _OPEN, _ACCEPT, _SKIP = (WORDS * k for k in range(4, 12))
_ROWS = 12
_0, _17, _19, _23, _41, _45 = (np.uint64(k) for k in (0, 17, 19, 23, 41, 45))
_ALL = ~np.uint64(0)


@njit()
def _look(left, right, up, down, own, favoured, work):
    """Count the + neighbours (0 to 4, in binary), choose the favoured spin of that count, open what is aligned with it."""
    for w in range(WORDS):
        a, b = left[w] ^ right[w], left[w] & right[w]
        c, d = up[w] ^ down[w], up[w] & down[w]
        one, two, four = a ^ c, b ^ d ^ (a & c), b & d
        low = (favoured[w] & ~one) | (favoured[WORDS + w] & one)
        high = (favoured[2 * WORDS + w] & ~one) | (favoured[3 * WORDS + w] & one)
        s = (low & ~two) | (high & two)
        s = (s & ~four) | (favoured[4 * WORDS + w] & four)
        aligned = ~(own[w] ^ s)
        work[_ONE + w], work[_TWO + w], work[_FOUR + w] = one, two, four
        work[_FAVOURED + w], work[_ALIGNED + w] = s, aligned
        work[_OPEN + w], work[_ACCEPT + w] = aligned, _0


@njit()
def _compare(thresholds, work):
    """The next ``_STEP`` planes of u against the thresholds of the class at hand, for the replicas still open.

    Offsets from one array are constants, which is what lets LLVM see that nothing overlaps and vectorise over words.
    """
    for w in range(WORDS):
        s0, s1, s2, s3 = work[w], work[WORDS + w], work[2 * WORDS + w], work[3 * WORDS + w]
        one, two, four = work[_ONE + w], work[_TWO + w], work[_FOUR + w]
        undecided, accept, skip = work[_OPEN + w], work[_ACCEPT + w], _ALL
        for k in range(_STEP):
            x = s0 + s3
            random = ((x << _23) | (x >> _41)) + s0
            x = s1 << _17
            s2 ^= s0
            s3 ^= s1
            s1 ^= s2
            s0 ^= s3
            s2 ^= x
            s3 = (s3 << _45) | (s3 >> _19)
            j = 5 * WORDS * k + w
            low = (thresholds[j] & ~one) | (thresholds[j + WORDS] & one)
            high = (thresholds[j + 2 * WORDS] & ~one) | (thresholds[j + 3 * WORDS] & one)
            p = (low & ~two) | (high & two)
            p = (p & ~four) | (thresholds[j + 4 * WORDS] & four)
            accept |= undecided & p & ~random
            undecided &= ~(p ^ random)
            skip &= random
        work[w], work[WORDS + w], work[2 * WORDS + w], work[3 * WORDS + w] = s0, s1, s2, s3
        work[_OPEN + w], work[_ACCEPT + w], work[_SKIP + w] = undecided, accept, skip


@njit()
def _any_open(work):
    left = _0
    for w in range(WORDS):
        left |= work[_OPEN + w]
    return left != _0


@njit()
def _store(own, work):
    """Aligned spins leave the favoured state where accepted; the others enter it unless the attempt is left out.

    What is open after all planes has u equal to the threshold, the largest u that is accepted. The bits behind ``skip``
    belong to replicas that were never open, so that they had no say in how many planes were drawn.
    """
    for w in range(WORDS):
        stays = (work[_ACCEPT + w] | work[_OPEN + w]) | (work[_SKIP + w] & ~work[_ALIGNED + w])
        own[w] = work[_FAVOURED + w] ^ stays


@njit()
def sweep_block(
    words: np.ndarray,
    rng: np.ndarray,
    thresholds: np.ndarray,
    favoured: np.ndarray,
    order: np.ndarray,
    neighbours: np.ndarray,
    n: int,
) -> None:
    """``n`` sweeps of one block in place.

    words (N, WORDS) and rng (4 * WORDS,) uint64 are the whole state; thresholds (PLANES * 5 * WORDS,) and favoured
    (5 * WORDS,) hold the acceptance by number of + neighbours; order (N,), neighbours (N, 4) int64.
    """
    work = np.zeros(_ROWS * WORDS, dtype=np.uint64)
    put(rng, work)
    for _ in range(n):
        for m in range(len(order)):
            i = order[m]
            j = neighbours[i]
            own = words[i]
            _look(words[j[0]], words[j[1]], words[j[2]], words[j[3]], own, favoured, work)
            k = 0
            while k < _FIRST or (k < PLANES and _any_open(work)):
                _compare(thresholds[5 * WORDS * k :], work)
                k += _STEP
            _store(own, work)
    put(work[: 4 * WORDS], rng)


@njit()
def _add(counter, carry):
    """Add one bit per replica, ``carry`` (WORDS,), to binary counters (P, WORDS); ``carry`` is used up."""
    for p in range(counter.shape[0]):
        row = counter[p]
        for w in range(WORDS):
            bit = row[w]
            row[w] = bit ^ carry[w]
            carry[w] &= bit


@njit()
def _tally(words, neighbours, plus, unlike):
    """Per replica the number of + spins and of unlike bonds, as binary counters: planes (P, WORDS) by carry."""
    carry = np.empty(WORDS, dtype=np.uint64)
    for i in range(words.shape[0]):
        for kind in range(3):  # the spin itself, the bond to neighbour 1, the bond to neighbour 2
            counter, other = (plus if kind == 0 else unlike), words[neighbours[i, kind]]
            for w in range(WORDS):
                carry[w] = words[i, w] if kind == 0 else words[i, w] ^ other[w]
            _add(counter, carry)


@njit()
def _tally_unlike(words, other, unlike):
    """Per replica the number of sites at which two configurations differ, as :func:`_tally` counts."""
    for i in range(words.shape[0]):
        _add(unlike, words[i] ^ other[i])


def _pack(bits: np.ndarray) -> np.ndarray:
    """(..., R) zeros and ones -> (..., R / 64) uint64, bit b of word k being replica 64 k + b."""
    bits = bits.astype(np.uint8, order="C")  # packbits keeps the order of axes
    return np.packbits(bits, axis=-1, bitorder="little").view("<u8").astype(np.uint64)


def _unpack(words: np.ndarray) -> np.ndarray:
    """The inverse of ``_pack``: (..., K) -> uint8 (..., 64 K)."""
    return np.unpackbits(np.ascontiguousarray(words).astype("<u8").view(np.uint8), axis=-1, bitorder="little")


def _by_block(words: np.ndarray) -> np.ndarray:
    """(..., blocks * WORDS) -> (blocks, everything else)."""
    split = words.reshape(-1, words.shape[-1] // WORDS, WORDS).transpose(1, 0, 2)
    return split.reshape(split.shape[0], -1)


class PackedIsing:
    """Replicas of one L x L Ising torus, each at its own temperature and field, moved together.

    Parameters
    ----------
    L : side, at least 2, odd or even
    T, h : temperature and field (kB = 1), numbers or arrays that broadcast to (R,); J : coupling of either sign
    seed : the same seed and arguments give the same run
    replicas : R where T and h are single numbers; a full block of 1024 if not given
    occ : starting occupations (N,) or (R, N) of 0 and 1 (random if not given)

    Replicas are moved in blocks of 1024, so that R = 1024 k wastes nothing. Sites are numbered as in
    :func:`alloygen.hamiltonian.ising.ising`, i = x L + y. ``words`` (blocks, N, WORDS) and ``rng`` (blocks, 4 *
    WORDS), both uint64, are the whole state: put back into an object with the same arguments they continue a run bit for bit.

    Raises :class:`BadCondition` for T <= 0 (infinity is allowed) and :class:`AlloygenError` for other bad arguments.

    Examples
    --------
    >>> run = PackedIsing(4, T=np.linspace(2, 3, 2048), h=0.1)
    >>> run.sweep(10)
    >>> run.spins().shape, run.energy().shape, run.magnetisation().dtype
    ((2048, 16), (2048,), dtype('int64'))
    """

    def __init__(
        self,
        L: int,
        T: ArrayLike,
        h: ArrayLike = 0.0,
        J: float = 1.0,
        seed: int = 0,
        replicas: int | None = None,
        occ: ArrayLike | None = None,
    ):
        self.L = whole_number(L, "side L", 2)
        if not np.isfinite(J):
            raise AlloygenError(f"expected a finite coupling J, got {J!r}")
        self.J, self.n_sites = float(J), self.L**2
        self.n_replicas = _number(T, h, replicas)
        self._order, self._neighbours = _torus(self.L)
        blocks = -(-self.n_replicas // BLOCK)
        start, stream = np.random.SeedSequence(seed).spawn(2)
        self.rng = stream.generate_state(blocks * 4 * WORDS, np.uint64).reshape(blocks, -1)
        if occ is None:
            size = blocks * self.n_sites * WORDS
            self.words = start.generate_state(size, np.uint64).reshape(blocks, self.n_sites, WORDS)
        else:
            self.words = self._packed(occ)
        self.set_conditions(T, h)

    # ------------------------------------------------------------------ conditions
    def set_conditions(self, T: ArrayLike, h: ArrayLike = 0.0) -> None:
        """New temperatures and fields, numbers or (R,), for the replicas as they are."""
        T, h = (np.broadcast_to(np.asarray(x, dtype=float), self.n_replicas) for x in (T, h))
        bad = ~((T > 0) & np.isfinite(h))
        if bad.any():
            raise BadCondition(f"expected temperatures above 0 and finite fields, got T={T[bad][0]} with h={h[bad][0]}")
        self.T, self.h = T.copy(), h.copy()
        T, h = self._pad(self.T), self._pad(self.h)
        local = self.J * np.arange(-4, 5, 2)[:, None] + h  # e of each number of + neighbours, (5, R)
        p = _ATTEMPT * np.exp(-2.0 * np.abs(local) / T)
        largest = np.maximum(np.ceil(p * 2.0**PLANES), 1.0).astype(np.uint64) - np.uint64(1)  # u <= largest accepts
        planes = [_pack(largest >> np.uint64(PLANES - 1 - k) & np.uint64(1)) for k in range(PLANES)]
        self._thresholds = _by_block(np.stack(planes))
        self._favoured = _by_block(_pack(local >= 0))

    def _pad(self, values: np.ndarray) -> np.ndarray:
        """The last replica fills up the last block."""
        return np.pad(values, (*[(0, 0)] * (values.ndim - 1), (0, -self.n_replicas % BLOCK)), mode="edge")

    # ------------------------------------------------------------------ moves
    def sweep(self, n: int = 1) -> None:
        """``n`` attempts on every site of every replica, sites in a fixed order."""
        n = whole_number(n, "n sweeps", 0)
        for b, words in enumerate(self.words):
            tables = self._thresholds[b], self._favoured[b], self._order, self._neighbours
            sweep_block(words, self.rng[b], *tables, n)

    # ------------------------------------------------------------------ what there is to see
    def spins(self) -> np.ndarray:
        """Occupations int8 (R, N): 0 for s = -1, 1 for s = +1."""
        bits = _unpack(self.words.transpose(1, 0, 2).reshape(self.n_sites, -1))
        return np.ascontiguousarray(bits[:, : self.n_replicas].T).astype(np.int8)

    def magnetisation(self) -> np.ndarray:
        """sum_i s_i of each replica, int64 (R,)."""
        return 2 * self._counts()[0] - self.n_sites

    def energy(self) -> np.ndarray:
        """H of each replica, float64 (R,), per supercell and with the field: that of ``ising(L, h, J)``."""
        plus, unlike = self._counts()
        return -self.J * (2 * self.n_sites - 2 * unlike) - self.h * (2 * plus - self.n_sites)

    def bond_energy(self) -> np.ndarray:
        """H of each replica without the field, float64 (R,): that of ``ising(L, J=J)``."""
        return -self.J * (2 * self.n_sites - 2 * self._counts()[1])

    def _counts(self) -> tuple[np.ndarray, np.ndarray]:
        """The number of + spins and of unlike bonds of each replica, int64 (R,)."""
        planes = self._counters(2)
        for b, words in enumerate(self.words):
            _tally(words, self._neighbours, planes[0, b], planes[1, b])
        plus, unlike = self._numbers(planes)
        return plus, unlike

    def flipped(self, before: np.ndarray) -> np.ndarray:
        """At how many sites each replica differs from what it was, ``words`` of then, int64 (R,)."""
        planes = self._counters(1)
        for b, words in enumerate(self.words):
            _tally_unlike(words, before[b], planes[0, b])
        return self._numbers(planes)[0]

    def _counters(self, n: int) -> np.ndarray:
        """Binary counters of up to 2 N per replica, (n, blocks, planes, WORDS), at zero."""
        return np.zeros((n, len(self.words), (2 * self.n_sites).bit_length(), WORDS), dtype=np.uint64)

    def _numbers(self, planes: np.ndarray) -> np.ndarray:
        """What counters hold, int64 (n, R)."""
        n, _, depth, _ = planes.shape
        bits = _unpack(planes.swapaxes(1, 2).reshape(n, depth, -1)).astype(np.int64)
        return np.tensordot(bits, 1 << np.arange(depth), (1, 0))[:, : self.n_replicas]

    def _packed(self, occ) -> np.ndarray:
        occ = np.asarray(occ)
        if occ.shape not in {(self.n_sites,), (self.n_replicas, self.n_sites)} or not np.isin(occ, (0, 1)).all():
            raise AlloygenError(
                f"expected occupations 0 and 1 of shape ({self.n_sites},) or ({self.n_replicas}, {self.n_sites}), got "
                f"shape {occ.shape} with values from {np.unique(occ)[:5].tolist()}"
            )
        bits = self._pad(np.broadcast_to(occ, (self.n_replicas, self.n_sites)).T)
        return _by_block(_pack(bits)).reshape(-1, self.n_sites, WORDS)


def _number(T, h, replicas) -> int:
    """How many replicas, from the shapes of T and h."""
    try:
        shape = np.broadcast_shapes(np.shape(T), np.shape(h), () if replicas is None else (replicas,))
    except (ValueError, TypeError) as error:
        raise AlloygenError(
            f"expected T and h as numbers or as arrays of one length R, got shapes {np.shape(T)} and {np.shape(h)} "
            f"with replicas={replicas!r}"
        ) from error
    if len(shape) > 1 or 0 in shape:
        raise AlloygenError(f"expected T and h that broadcast to (R,) with R >= 1, got shape {shape}; flatten them")
    return shape[0] if shape else BLOCK


def _torus(L: int) -> tuple[np.ndarray, np.ndarray]:
    """The order of visits, (N,), and the four neighbours of each site, (N, 4); column 1 and 2 count each bond once.

    Sites with x + y even come first: one after the other all the same, but neighbours in time rarely touch in space.
    """
    x, y = np.divmod(np.arange(L * L), L)
    at = lambda a, b: (a % L) * L + b % L  # noqa: E731
    neighbours = np.column_stack([at(x - 1, y), at(x + 1, y), at(x, y + 1), at(x, y - 1)])
    return np.argsort((x + y) % 2, kind="stable"), neighbours.astype(np.int64)
