"""Who is banned, until when."""
