"""The long run: random sequences until so many commands were played, every defect shrunk and shown once.

    cd tests/python && python3 -m differential --commands 1000000
    ... --seed 7-123            one sequence again, in full and shrunk
    ... --families strings,keys    only these
    ... --graven target/release/graven

The exit status is 0 when nothing differed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from differential.run import Run  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(prog="differential", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--commands", type=int, default=1_000_000)
    parser.add_argument("--seed", default=str(int(time.time())), help="of the run, or of one sequence (run-number)")
    parser.add_argument("--length", type=int, default=150, help="commands of a sequence")
    parser.add_argument("--families", help="comma-separated; default all")
    parser.add_argument("--graven", help="the binary under test")
    parser.add_argument("--most", type=int, default=25, help="stop after so many different defects")
    arguments = parser.parse_args()
    only = arguments.families.split(",") if arguments.families else None
    with tempfile.TemporaryDirectory() as directory:
        run = Run(Path(directory), binary=arguments.graven, only=only, say=lambda text: print(text, flush=True))
        with run:
            if "-" in arguments.seed:
                return 1 if run.one(arguments.seed, arguments.length) else 0
            found = run.many(arguments.seed, arguments.commands, length=arguments.length, most=arguments.most)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
