"""Compiled networks: one Engine for each runtime, the models on top of them, and the model zoo."""
