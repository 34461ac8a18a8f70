"""Mixtures of simple densities."""
