"""What a trained policy is worth when the world, its sensors or its opponent differ from training."""
