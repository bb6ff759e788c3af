"""What the robustness records of runs say: tables, curves and heat maps, all systems side by side."""
