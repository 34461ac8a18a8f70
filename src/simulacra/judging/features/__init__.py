"""What samples are seen by."""
