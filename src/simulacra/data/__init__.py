"""Observations to learn from: named sets, folders of images, arrays, and their splits."""
