"""What a person runs: recipes, commands, retries, schedules. The work itself is in `aria_data` and `classifiers`."""
