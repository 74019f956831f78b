"""From records to tables, figures and one page. ``frames`` alone reads records."""
