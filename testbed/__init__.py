"""A country's Internet on one machine: a slow national link and a state's DPI around unmodified programs."""

__version__ = "0.1.0"
