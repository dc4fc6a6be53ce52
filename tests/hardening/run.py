"""The whole harness: damaged files, kills, bad arguments. Prints the tables of docs/files.md; exit code 1 where something went wrong.

Run: python tests/hardening/run.py [--cases 150] [--kills 50] [--only files|kills|arguments] [--every 1] [--seed 0]
"""

from __future__ import annotations

import argparse
import sys
import warnings

import bad_arguments
import files
import kills
import torch


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--cases", type=int, default=150, help="damages at random of each file; crafted ones come on top")
    p.add_argument("--kills", type=int, default=50, help="of each run")
    p.add_argument("--only", choices=("files", "kills", "arguments"))
    p.add_argument("--every", type=int, default=1, help="every so many of the bad arguments")
    p.add_argument("--target", default="", help="files whose name has this in it")
    p.add_argument("--seed", type=int, default=0)
    args = p.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    wrong = 0
    if args.only in (None, "arguments"):
        counts, bad = bad_arguments.attack(args.every)
        print(f"{sum(counts.values())} bad arguments: {dict(counts)}", flush=True)
        wrong += len(bad)
    if args.only in (None, "kills"):
        wrong += kills.table(args.kills, args.seed)[1]
    if args.only in (None, "files"):
        wrong += files.table(args.cases, args.seed, args.target)[1]
    print(f"{wrong} of all went wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
