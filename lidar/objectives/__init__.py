"""What is predicted from a volume: rendered range (TREND), or occupancy along the ray (ALSO)."""
