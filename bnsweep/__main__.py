"""`python -m bnsweep`: one run, or a sweep with -m."""

from bnsweep.runs.interrupt import end_when_interrupted


def main() -> None:
    """Console entry."""
    end_when_interrupted("interrupted; the same command goes on from here")
    from bnsweep.cli.sweep import main  # takes a second: whoever stops the command meanwhile is heard

    main()


if __name__ == "__main__":
    main()
