"""Flows: invertible maps to a simple density."""
