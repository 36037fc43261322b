"""The command line, one verb a file; imported by nobody."""
