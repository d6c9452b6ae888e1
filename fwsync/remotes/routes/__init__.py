"""The ways up: each takes files whose containers are there, and says what became of each."""
