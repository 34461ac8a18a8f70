"""A model learning under a plan; no files, no screen."""
