"""The tables that a page carries inside itself."""

from __future__ import annotations

import base64
import gzip
import re

from bnsweep.report import write_report
from bnsweep.report.pages import downloads

LINK = re.compile(r'<a class="download" download="([\w.]+)\.gz" href="data:application/gzip;base64,([^"]+)">\1</a>')


def test_every_table_beside_the_page_lies_inside_it_too(lecture_report):
    report = lecture_report
    inside = dict(LINK.findall(report.html.read_text(encoding="utf-8")))
    assert set(inside) == {p.name for p in report.files if p.name.startswith("table.") or p.suffix == ".csv"}
    for name, packed in inside.items():
        assert gzip.decompress(base64.b64decode(packed)) == report.file(name).read_bytes()


def test_a_table_that_would_swell_the_page_is_said_to_lie_beside_it(simulate, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "MOST", 10)
    page = write_report(simulate(factors={"bn": ["none", "before"]}), tmp_path).html.read_text(encoding="utf-8")
    assert not LINK.findall(page)
    assert re.search(r"<dt>runs.csv</dt>\s*<dd>one row a run \(\d+ kB\): too large to lie inside this page", page)
