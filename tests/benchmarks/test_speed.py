"""Speed of neural sampling, in one run. Monte Carlo beside its rivals is in rivals.py. Run: make benchmark"""

import time

import torch

import alloygen


def _rate(function, amount: int, repeats: int = 5) -> float:
    """Best rate per second of ``repeats`` runs."""
    best = 0.0
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        best = max(best, amount / (time.perf_counter() - start))
    return best


def test_sampling_speed(benchmark, capsys):
    """1000 configurations of 64 sites with the cache, and without it: a full pass for every step."""
    torch.set_num_threads(2)
    model = alloygen.load("cuau_4x4x4")
    n = 1000
    at = model.hamiltonian.condition(600.0, [0.0, 0.02]).expand(n)
    from alloygen.models.draw import trained_orders

    order = trained_orders(model, n, torch.Generator().manual_seed(0))
    draw = lambda: model.sample(at, order, torch.Generator().manual_seed(1))  # noqa: E731
    draw()
    cached = 1 / _rate(draw, 1, 3)
    few = 100

    def recompute():
        occ = torch.zeros(few, model.hamiltonian.n_sites, dtype=torch.long)
        with torch.no_grad():
            for t in range(model.hamiltonian.n_sites):
                logp = model.log_conditionals(occ, at[:few], order[:few])[:, t]
                site = order[:few, t : t + 1]
                occ.scatter_(1, site, torch.multinomial(logp.exp(), 1))

    plain = n / few / _rate(recompute, 1, 1)
    with capsys.disabled():
        print(
            f"\nsampling {n} configurations of 64 sites: {cached:.2f} s with the cache, {plain:.1f} s by full passes "
            f"(estimated from {few}), ratio {plain / cached:.1f} (two cores)"
        )
    benchmark.extra_info.update(cached_s=cached, recomputed_s=plain, ratio=plain / cached)
    benchmark.pedantic(draw, rounds=1)
