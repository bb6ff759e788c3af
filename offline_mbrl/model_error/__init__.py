"""How far a fitted world model can be trusted: its predictions against the true system."""
