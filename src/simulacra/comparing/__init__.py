"""Many models under one budget."""
