"""Figures as files of their own: a column of a paper wide, readable there, and of no other report than the one beside
them."""

from __future__ import annotations

import io
import itertools
import re
import xml.etree.ElementTree as ET

import pytest
from markupsafe import escape
from PIL import Image

from bnsweep.catalogue.tasks import CLASSIFICATION
from bnsweep.config.checks import ConfigError
from bnsweep.report import write_report
from bnsweep.report.figures import figure_files, pictures
from bnsweep.report.figures.draw import FIGURES
from bnsweep.report.figures.heat import init_by_lr
from bnsweep.report.figures.layers import gradient_flow
from bnsweep.report.figures.style import IN_COLUMN, LETTER, ON_PAGE, PAPER, POINTS, Sheet, broken, panels, styled
from bnsweep.report.frame.figure_files import FigureFiles, listed
from bnsweep.report.frame.formats import rounded_apart
from bnsweep.report.frame.metrics import default_metric
from bnsweep.report.pages.write import build

NAMES = {"forest", "factors", "interaction", "curves", "heat", "gradients", "histograms"}
SVG = "{http://www.w3.org/2000/svg}"
GRID = {"activation": ["sigmoid", "relu"], "lr.value": [0.1, 1.0], "bn": ["none", "before"], "init": ["xavier", "he"]}
SEEDS = 8


def truth(run):
    return 0.9 + 0.03 * (run.get("bn") == "before") + 0.02 * (run.get("activation") == "relu")


@pytest.fixture(scope="module")
def written(simulate, tmp_path_factory):
    sweep = simulate(truth, GRID, seeds=SEEDS)
    return write_report(sweep, tmp_path_factory.mktemp("out"), figures=FigureFiles(("pdf",)))


@pytest.fixture(scope="module")
def few(simulate):
    """A small sweep's scene and verdicts."""
    content, scene = build(simulate(truth, GRID | {"activation": ["relu"]}, seeds=2), default_metric(CLASSIFICATION))
    return scene, content.verdicts


def test_every_figure_of_the_page_is_a_file(written):
    page = set(re.findall(r'<figure id="figure-([\w-]+)"', written.html.read_text(encoding="utf-8")))
    assert page >= NAMES
    assert {path.name for path in written.figures} == {f"{name}.pdf" for name in page}
    assert {path.parent for path in written.figures} == {written.html.parent / "figures"}
    assert not set(written.figures) & set(written.files), "MLflow keeps the report, not these"


def test_an_svg_stands_by_itself(few):
    for name, content in figure_files(*few, FigureFiles(("svg",)), "").items():
        text = content.decode()
        root = ET.fromstring(text)
        assert root.tag == f"{SVG}svg", "the name space of SVG"
        assert "var(--" not in text and "#0102" not in text, "no colour of the page's"
        assert root.find(f"{SVG}title").text
        assert "fill: #ffffff" in text, f"{name} is on white"
        assert len(list(root.iter(f"{SVG}text"))) > 3, "texts are texts"


def test_a_pdf_embeds_fonts_that_latex_takes_and_is_a_column_or_a_page_wide(written):
    for path in written.figures:
        held = path.read_bytes()
        assert b"/FontFile2" in held and b"/Type3" not in held
        left, _, right, _ = map(float, re.search(rb"/MediaBox \[ ([^\]]*) \]", held)[1].split())
        assert (right - left) / 72 in (pytest.approx(3.25, abs=0.01), pytest.approx(6.75, abs=0.01))
        if path.stem in ("gradients", "curves", "forest", "factors"):
            assert right - left < 3.3 * 72, "what a paper wants most fits a column"


def test_nothing_is_cut_off_and_letters_can_be_read(lecture):
    content, scene = build(lecture, default_metric(CLASSIFICATION))
    for drawing in pictures(scene, content.verdicts, IN_COLUMN):
        with styled(PAPER, IN_COLUMN):
            box = drawing.figure.get_tightbbox()
            sizes = {text.get_fontsize() for ax in drawing.figure.axes for text in ax.get_xticklabels()}
        assert box.x0 >= 0 and box.x1 <= drawing.figure.get_figwidth(), drawing.name
        assert min(sizes) >= 7 and max(sizes) <= 8, drawing.name


def test_a_figure_can_be_drawn_alone(few):
    names = [drawing.name for drawing in pictures(*few)]
    assert [[drawing.name for drawing in pictures(*few, name=name)] for name in names] == [[name] for name in names]
    assert any(name.startswith("claim-") for name in names) and {*FIGURES} & {*names}


def test_a_png_is_white_and_sharp(few):
    (png,) = figure_files(*few, FigureFiles(("png",), ("curves",)), "digest").values()
    with Image.open(io.BytesIO(png)) as image:
        assert image.width == pytest.approx(3.25 * 300, abs=2)
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_the_same_numbers_are_the_same_bytes(few):
    wanted = FigureFiles(("svg", "pdf", "png"), ("forest",))
    one, two = (figure_files(*few, wanted, "digest") for _ in range(2))
    assert one == two


def test_a_figure_is_found_by_a_part_of_its_name_and_a_wrong_name_is_one_line(few, simulate, tmp_path):
    wanted = FigureFiles(listed("pdf"), listed("flow, heat"))
    assert list(figure_files(*few, wanted, "")) == ["figures/gradients.pdf", "figures/heat.pdf"]
    wrong = r"^only=flaw: must be one of the figures of this sweep: forest \(Arms"
    with pytest.raises(ConfigError, match=wrong) as error:
        write_report(simulate(truth, {"bn": ["none"]}, 1), tmp_path / "out", figures=FigureFiles(("pdf",), ("flaw",)))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists(), "nothing is written"


def test_without_a_result_there_is_no_figure_to_write(simulate):
    frame = simulate(truth, {"bn": ["none", "before"]}, seeds=1)
    frame.runs = frame.runs.assign(status="failed", final_val_accuracy=float("nan"))
    content, scene = build(frame, default_metric(CLASSIFICATION))
    with pytest.raises(ConfigError, match=r"^figures=pdf: must be of a sweep that has something to draw; no arm is"):
        figure_files(scene, content.verdicts, FigureFiles(("pdf",)), "")


@pytest.mark.parametrize(
    ("formats", "only", "says"),
    [
        ("jpg", "", r"^figures=jpg: must be one or several of svg, pdf, png"),
        ("", "flow", r"^only=flow: must come with figures=svg,pdf,png or one of them$"),
    ],
)
def test_what_cannot_be_written_is_one_line(formats, only, says):
    with pytest.raises(ConfigError, match=says):
        FigureFiles(listed(formats), listed(only))


@pytest.mark.slow
def test_a_figure_of_other_numbers_does_not_stay(simulate, tmp_path):
    frame = simulate(truth, {"bn": ["none", "before"]}, seeds=2)
    flow, forest = (FigureFiles(("svg", "pdf"), (name,)) for name in ("flow", "forest"))
    write_report(frame, tmp_path, figures=flow)
    mine = tmp_path / "figures" / "mine.pdf"
    mine.write_bytes(b"of mine")
    write_report(frame, tmp_path, figures=forest)
    there = {path.name for path in (tmp_path / "figures").iterdir()}
    assert there == {"gradients.svg", "gradients.pdf", "forest.svg", "forest.pdf", "mine.pdf"}, "of the same numbers"
    frame.runs.loc[0, "final_val_accuracy"] += 0.001
    write_report(frame, tmp_path)
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["mine.pdf"]


def test_a_panel_too_narrow_for_a_column_takes_the_page():
    with styled(PAPER, IN_COLUMN):
        widths = [panels(1, columns, Sheet((2.0, 1.0)))[0].get_figwidth() for columns in (1, 3, 6, 12)]
    assert widths[:3] == [pytest.approx(3.25), pytest.approx(3.25), pytest.approx(6.75)]
    assert widths[3] > 6.75, "never narrower than can be read"


def test_a_figure_of_many_rows_fits_a_page():
    with styled(PAPER, IN_COLUMN):
        heights = [panels(rows, 2, Sheet((2.0, 1.0)))[0].get_figheight() for rows in (2, 8)]
    assert heights[0] > 2 and heights[1] == pytest.approx(9)


def test_a_long_title_breaks_on_paper_alone():
    title = "sigmoid · xavier · learning rate 0.1"
    assert broken(title, 1.0) == title
    with styled(PAPER, IN_COLUMN):
        lines = broken(title, 1.5).split("\n")
    assert len(lines) > 1 and all(len(line) * LETTER <= 1.5 for line in lines)
    assert POINTS > IN_COLUMN.points >= 7


def test_alt_texts_say_what_figures_show(written):
    content = written.content
    best = content.best.iloc[0]
    alt = {drawing.name: drawing.alt for drawing in content.drawings}
    assert alt["forest"].startswith(f"{best['arm']} is first with {content.metric.text(best['score'])} (")
    share = content.analysis.table.iloc[0]["omega2"]
    assert f"{100 * share:.1f} %" in alt["factors"]
    assert re.search(r"From lr 0.1 to lr 1 \(learning rate\): sigmoid from \d+\.\d % to \d+\.\d %", alt["interaction"])
    assert re.search(r"no BN between \d+\.\d % and \d+\.\d %, BN before between", alt["curves"])
    assert "× 0.1" in alt["gradients"], "the simulated gradient falls by 10 a layer"
    assert re.search(r"Best: \d+\.\d % with \w+ at lr [\d.]+ in ", alt["heat"])
    assert re.search(r"\d+ % in ", alt["histograms"])
    faster = next(v for v in content.verdicts if v.key == "bn-faster")
    assert alt["claim-bn-faster"].startswith(faster.verdict.capitalize())
    assert f"as claimed in {faster.evidence[0].ahead} of {SEEDS} seeds" in alt["claim-bn-faster"]


def test_the_page_reads_the_alt_text_aloud(written):
    page = written.html.read_text(encoding="utf-8")
    said = re.findall(r'<div class="scroll"[^>]* role="img" aria-label="([^"]*)"', page)
    drawings = written.content.drawings
    assert len(said) == len(drawings)
    assert {str(escape(f"{d.title}. {d.alt}")) for d in drawings} == set(said)


def overlapping(figure):
    """Pairs of tick labels of one axis that run into each other."""
    figure.draw_without_rendering()
    found = []
    for ax in figure.axes:
        texts = [text for text in ax.get_xticklabels() if text.get_text()]
        boxes = [text.get_window_extent() for text in texts]
        found += [
            (a.get_text(), b.get_text())
            for (a, b), (one, other) in zip(itertools.pairwise(texts), itertools.pairwise(boxes), strict=True)
            if one.x1 > other.x0
        ]
    return found


@pytest.mark.parametrize("size", [ON_PAGE, IN_COLUMN])
@pytest.mark.parametrize("hidden", [2, 10, 56])
def test_layers_can_be_read_however_many(simulate, size, hidden):
    frame = simulate(truth, {"bn": ["none", "before"], "init": ["normal", "xavier", "he"]}, seeds=1)
    frame.hidden, frame.runs["model.hidden"] = hidden, "-".join(["32"] * hidden)
    scene = build(frame, default_metric(CLASSIFICATION))[1]
    with styled(PAPER, size):
        figure = gradient_flow(scene).figure
        labels = [text.get_text() for text in figure.axes[0].get_xticklabels()]
        assert not overlapping(figure)
    assert (labels[0], labels[-1]) == ("1", "out") and len(labels) >= 3
    assert len({int(b) - int(a) for a, b in itertools.pairwise(labels[:-1])}) <= 1, "at even distances"


@pytest.mark.parametrize("size", [ON_PAGE, IN_COLUMN])
def test_a_map_of_many_rates_can_be_read(simulate, size):
    rates = [10.0 ** (k / 4) for k in range(-12, 4)]
    frame = simulate(truth, {"activation": ["relu", "tanh"], "init": ["xavier", "he", "lecun"], "lr.value": rates}, 1)
    scene = build(frame, default_metric(CLASSIFICATION))[1]
    with styled(PAPER, size):
        figure = init_by_lr(scene).figure
        figure.draw_without_rendering()
        boxes = [text.get_window_extent() for ax in figure.axes[:2] for text in ax.get_xticklabels()]
    assert all(one.x1 < other.x0 for one, other in itertools.pairwise(boxes)), "nor into the next panel's"


def test_numbers_are_short_where_they_stay_apart():
    assert rounded_apart(["lr 0.001", "lr 5.623413251903491", "lr 1e-05"]) == ["lr 0.001", "lr 5.62", "lr 1e-05"]
    alike = ["lr 0.10001", "lr 0.10002"]
    assert rounded_apart(alike) == alike
