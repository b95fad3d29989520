"""Workers that come and go with the work."""
