"""What is fitted to the data before a run's first step."""
