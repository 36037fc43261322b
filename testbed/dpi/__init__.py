"""The censor: a pure function with state. Bytes and the time go in, decisions come out."""
