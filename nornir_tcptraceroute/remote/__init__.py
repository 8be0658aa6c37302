"""Carries the probe to a managed host over SSH, runs it there, and brings its traces back."""
