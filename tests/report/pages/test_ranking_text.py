"""What stands beside a ranking: why its letters are out of order."""

from __future__ import annotations

import pandas as pd
import pytest

from bnsweep.report import write_report
from bnsweep.report.pages import sentences

ARMS = {"activation": ["sigmoid", "relu"], "bn": ["none", "before", "after"]}


def ranked(*groups):
    return pd.DataFrame({"rank": [float(i + 1) for i in range(len(groups))], "group": groups})


@pytest.mark.parametrize("groups", [(1, 1, 2, 2, 3), (0, 0, 0), ()])
def test_letters_in_their_order_need_no_word(groups):
    assert sentences.out_of_order(ranked(*groups)) == ""


def test_whose_letter_stands_too_early_is_named_with_the_reason():
    says = "A better arm beats it beyond the seeds' luck"
    assert sentences.out_of_order(ranked(1, 2, 1, 2)).startswith(
        f"Before arms of an earlier letter: rank 2 (B). {says}"
    )
    assert "ranks 2 (C), 3 (B). " in sentences.out_of_order(ranked(1, 3, 2, 1, 3))


def test_a_better_arm_beats_whose_letter_stands_too_early_and_the_seeds_agree_less_on_those_below(simulate, tmp_path):
    """The reason that the page gives, held against the numbers."""
    frame = simulate(lambda run: 0.85, ARMS, noise=0.001)
    runs, index = frame.runs, frame.runs.index
    level = 0.9 - 0.004 * (runs["activation"] == "relu") - 0.001 * runs["bn"].map({"none": 0, "before": 1, "after": 2})
    far = (runs["activation"] == "relu") & (runs["bn"] == "after")
    runs["final_val_accuracy"] = level - 0.02 * far + far * 0.04 * ((-1.0) ** runs["seed"]) + 0.0001 * (index % 7)
    report = write_report(frame, tmp_path)
    best = report.content.best
    early = [i for i in range(len(best)) if best["group"][i] > best["group"][i:].min()]
    assert early, "the erratic arm below is of group A"
    for i in early:
        later = next(j for j in range(i, len(best)) if best["group"][j] < best["group"][i])
        width = [best["behind_high"][k] - best["behind_low"][k] for k in (i, later)]
        assert best["behind_low"][i] > 0, "the top arm beats it"
        assert best["behind_low"][later] < 0 < best["behind"][i] < best["behind"][later]
        assert width[0] < width[1]
    assert "Before arms of an earlier letter: " in report.file("report.md").read_text(encoding="utf-8")
