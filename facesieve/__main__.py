"""Entry point of the command line: `facesieve` and `python -m facesieve`."""

import io
import os
import sys


def main() -> None:
    """Run the command line. A Ctrl-C while it is being loaded ends it as one later does: by exit code 130."""
    _settle_standard_streams()
    try:
        from .cli import main as start
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    start()


def _settle_standard_streams() -> None:
    """Whoever starts the program may have closed them, or speak an encoding that not every name fits into.

    A closed descriptor is opened on the null device: else the next file opened, of results perhaps, would get
    its number, and with it whatever a library of C prints.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - for the life of the process
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - for the life of the process
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    main()
