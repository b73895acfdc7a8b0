"""What traces say, as tidy tables: one short file a family of metrics, no model and no torch."""
