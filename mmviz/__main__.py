"""python -m mmviz COMMAND: what can be done without a notebook."""
from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

from .capture import page_table
from .capture.load import load_capture
from .capture.replay import Score, replay
from .errors import MmvizError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 if all is well."""
    parser = argparse.ArgumentParser(prog="python -m mmviz", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("replay", help="run captures of a real kernel and compare every answer",
                                  description="One line a capture; exit status 1 on any miss.")
    command.add_argument("files", nargs="+", metavar="FILE", help="*.json.gz, *.snaps.gz, or a list *.ops")
    command.add_argument("--verbose", action="store_true", help="show each miss and the states that differ")
    command.add_argument("--resync", action="store_true", help="after a miss, take the truth and go on")
    command.set_defaults(run=_replay)
    arguments = parser.parse_args(argv)
    return int(arguments.run(arguments))


def _replay(arguments: argparse.Namespace) -> int:
    exact = True
    for path in arguments.files:
        try:
            for score in _scores(path, arguments.resync):
                exact &= score.perfect
                print(score, flush=True)
                if arguments.verbose or not score.compared:
                    print("".join(f"  {line}\n" for line in score.lines()), end="")
        except MmvizError as error:
            exact = False
            print(error, file=sys.stderr)
    return 0 if exact else 1


def _scores(path: str, resync: bool) -> Iterator[Score | page_table.Score]:
    if path.endswith(".ops"):
        yield page_table.replay_operations(page_table.load_operations(path))
    else:
        yield from (replay(capture, resync=resync) for capture in load_capture(path))


if __name__ == "__main__":
    sys.exit(main())
