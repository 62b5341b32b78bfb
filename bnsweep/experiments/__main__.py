"""`python -m bnsweep.experiments`: expected numbers beside ours."""

if __name__ == "__main__":
    try:
        from bnsweep.runs.interrupt import end_when_interrupted
        from bnsweep.runs.quick_end import quick_end

        end_when_interrupted("interrupted; the experiments that were over are in the table")
    except KeyboardInterrupt:  # in the milliseconds before it is heard
        raise SystemExit(130) from None
    with quick_end():
        from bnsweep.cli.experiments import main

        main()
