"""What a person runs: order, retries, limits, schedules. Thin; the work is in `aria_data` and `classifiers`."""
