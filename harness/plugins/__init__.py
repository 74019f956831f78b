"""Does a plug-in keep the contract of its kind: what ``medctx check-plugin`` finds."""
