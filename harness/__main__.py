"""``python -m harness`` is ``medctx``."""

from harness.cli.app import main

main()
