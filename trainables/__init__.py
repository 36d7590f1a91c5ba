"""One trial: from a trial document to its metrics."""
