"""How good a model is, measured on data that it never saw."""
