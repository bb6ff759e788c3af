"""Which of many trained policies to deploy: estimates without the simulator, and a budget of episodes in it."""
