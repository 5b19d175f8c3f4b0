"""How long a test waits for another process or thread: what has not come by then hangs, however slow the machine."""

HANGS = 600.0  # seconds
