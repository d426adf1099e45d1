"""What the fault tests share: services as processes, load, a log of what everybody saw, and the check of that log."""
