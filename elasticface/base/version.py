"""The version of elasticface."""

__version__ = "0.1.0"
