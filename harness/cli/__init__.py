"""The command ``medctx``: reads arguments, calls :mod:`harness.commands`, prints."""
