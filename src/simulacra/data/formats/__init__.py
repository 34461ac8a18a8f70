"""The bytes of one file, trusted in nothing."""
