"""From a data configuration to tokenized, split, cached examples."""
