"""One run: the country brought up, the timeline played, the outcome judged and written down."""
