"""Command lines of benchmarks that compare models, one row each, on data sets."""

import argparse


def rows_and_sets(about: str, out: str) -> argparse.ArgumentParser:
    """Options for the rows, the data and the result, which is stored as `out` unless named."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--row", action="append", required=True, metavar="NAME=MODEL")
    parser.add_argument("--baseline", required=True, help="row the others are tested against")
    parser.add_argument("--data", action="append", required=True, metavar="PATH[#SPLIT]")
    parser.add_argument("--language", default="hi")
    parser.add_argument("--window", default="fit", help="fit or 30s; of an export also trim")
    parser.add_argument("--limit", type=int, default=0, help="clips of each set; 0 is all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", default=out, help="name of the result")
    parser.add_argument("--note", default="", help="free text stored with the record")
    return parser


def numbers(text: str) -> list[float]:
    """Of `1,0.5`: the type of an option."""
    return [float(number) for number in text.split(",")]


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The command line; ends the program when the baseline is not one of the rows."""
    arguments = parser.parse_args()
    if arguments.baseline not in [row.split("=", 1)[0] for row in arguments.row]:
        parser.error(f"the baseline {arguments.baseline!r} is not among the rows")
    return arguments
