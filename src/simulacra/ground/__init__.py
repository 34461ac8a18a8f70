"""What everything stands on: errors, the form of data, randomness, files whole or absent."""
