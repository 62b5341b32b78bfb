"""`python -m bnsweep.report`: the report of a tracked sweep, or two sweeps side by side."""

if __name__ == "__main__":
    try:
        from bnsweep.runs.interrupt import end_when_interrupted
        from bnsweep.runs.quick_end import quick_end

        end_when_interrupted("interrupted")
    except KeyboardInterrupt:  # in the milliseconds before it is heard
        raise SystemExit(130) from None
    with quick_end():
        from bnsweep.cli.report import main

        main()
