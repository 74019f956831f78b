"""Plain tables as Markdown, CSV, LaTeX and HTML."""
