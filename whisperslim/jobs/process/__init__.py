"""Workers as processes: started, queued and stopped."""
