"""Cais: run, check and ship the stack you already describe in compose.yaml."""

__version__ = "0.1.0"
