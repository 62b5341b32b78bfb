"""`python -m bnsweep.report`: the report of a tracked sweep, or two sweeps side by side."""

if __name__ == "__main__":
    try:
        from bnsweep.runs.interrupt import end_when_interrupted

        end_when_interrupted("interrupted")
    except KeyboardInterrupt:  # in the milliseconds before it is heard
        raise SystemExit(130) from None
    from bnsweep.cli.report import main

    main()
