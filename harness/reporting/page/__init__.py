"""The page of a report: its answer, template, script and slice viewer."""
