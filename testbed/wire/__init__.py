"""Bytes to fields, with `struct` over memoryviews. Pure; only `ValueError` escapes, whatever the bytes."""
