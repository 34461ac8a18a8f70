"""Embeddings: codes that are near to one another where observations are of one identity."""
