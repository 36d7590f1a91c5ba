"""Where trials run: connecting to Ray, resources."""
