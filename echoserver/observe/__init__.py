"""What the server tells of itself: counters and logs."""
