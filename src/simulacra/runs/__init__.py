"""A training on disk; the zoo; the hub."""
