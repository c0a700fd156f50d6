"""The version of this distribution; all three are released together."""

__version__ = "0.1.0"
