"""Where a backbone's weights come from, in which names they come, and how they are checked."""
