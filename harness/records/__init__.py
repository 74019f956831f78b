"""What trials leave on disk: its schema, who may write it, and what is done about faults."""
