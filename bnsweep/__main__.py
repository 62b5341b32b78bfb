"""`python -m bnsweep`: one run, or a sweep with -m."""


def main() -> None:
    """Console entry."""
    try:
        from bnsweep.runs.interrupt import end_when_interrupted
        from bnsweep.runs.quick_end import quick_end

        end_when_interrupted("interrupted; the same command goes on from here")
    except KeyboardInterrupt:  # in the milliseconds before it is heard
        raise SystemExit(130) from None
    with quick_end():
        from bnsweep.cli.sweep import main  # takes a second: whoever stops the command meanwhile is heard

        main()


if __name__ == "__main__":
    main()
