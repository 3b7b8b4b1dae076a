"""python -m mmviz COMMAND: what can be done without a notebook."""
from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from .capture.load import load_capture
from .capture.replay import Score, replay
from .capture.slub import SlubScore, replay_slub
from .capture.slub_rows import load_slub
from .errors import MmvizError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 if all is well."""
    parser = argparse.ArgumentParser(prog="python -m mmviz", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("replay", help="run captures of a real kernel and compare every answer",
                                  description="One line a capture; exit status 1 on any miss.")
    command.add_argument("files", nargs="+", metavar="FILE", help="*.json.gz or *.snaps.gz")
    command.add_argument("--verbose", action="store_true", help="show each miss and the states that differ")
    command.add_argument("--resync", action="store_true", help="after a miss, take the truth and go on")
    command.set_defaults(run=_replay)
    arguments = parser.parse_args(argv)
    return int(arguments.run(arguments))


def _replay(arguments: argparse.Namespace) -> int:
    exact = True
    for path in arguments.files:
        try:
            for capture in load_capture(path):
                score = replay(capture, resync=arguments.resync)
                exact &= score.perfect
                print(score, flush=True)
                if arguments.verbose:
                    _explain(score)
            for objects in (each for capture in load_slub(path) for each in replay_slub(capture)):
                exact &= objects.perfect
                print(objects, flush=True)
                if arguments.verbose:
                    _explain(objects)
        except MmvizError as error:
            exact = False
            print(error, file=sys.stderr)
    return 0 if exact else 1


def _explain(score: Score | SlubScore) -> None:
    for miss in score.misses:
        print(f"  event {miss.number}, {miss.what}: predicted {miss.predicted}, truth {miss.truth}")
    for difference in score.final[:1 if score.misses else None]:
        print(f"  {difference}")


if __name__ == "__main__":
    sys.exit(main())
