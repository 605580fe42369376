"""One run: its folder, log, callbacks, loggers, and how commands start it."""
