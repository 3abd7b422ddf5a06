"""From candidate lines to ban decisions."""
