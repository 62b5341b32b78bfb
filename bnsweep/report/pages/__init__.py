"""The report as HTML, Markdown, terminal, picture, JSON and CSV."""
