"""Studies: from a YAML file to an ordered list of trials."""
