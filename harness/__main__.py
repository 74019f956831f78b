"""``python -m harness`` is ``medctx``."""

from harness.cli import main

main()
