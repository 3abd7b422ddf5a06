"""Ask and command a running server."""
