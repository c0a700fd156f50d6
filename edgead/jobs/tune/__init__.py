"""Which setting of a detector holds a latency budget here, and how far each is from the full one."""
