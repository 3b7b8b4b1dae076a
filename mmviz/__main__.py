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
    command = commands.add_parser("grade", help="check a class list of quiz codes",
                                  description="Scores, before and after, and the wrong ideas, the frequent ones first.")
    command.add_argument("file", metavar="CODES.csv", help="columns: name, code, and when (before, after)")
    command.set_defaults(run=_grade)
    command = commands.add_parser("coverage", help="which function runs each line of the outline, in which lesson",
                                  description="A table in Markdown; exit status 1 if a line is recorded nowhere.")
    command.set_defaults(run=_coverage)
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


def _grade(arguments: argparse.Namespace) -> int:
    from .explore.grade import grade, read_codes  # it needs the drawings, which take a while to load
    try:
        report = grade(read_codes(arguments.file))
    except MmvizError as error:
        print(error, file=sys.stderr)
        return 1
    print(report)
    return 1 if report.problems else 0


def _coverage(arguments: argparse.Namespace) -> int:
    from .explore.outline import coverage, table  # it needs the drawings, which take a while to load
    lines = coverage()
    print(table(lines))
    missing = sum(not line.recorded for line in lines)
    print(f"{len(lines) - missing} of {len(lines)} lines are recorded in a lesson")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
