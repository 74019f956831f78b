"""Tables of a study as plain cells; :mod:`harness.reporting.formats` writes them."""
