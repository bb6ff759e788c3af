"""Policies scored in MuJoCo."""
