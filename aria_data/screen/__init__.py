"""Judge by its text how likely a candidate is solo piano, 1 to 5. Nothing is fetched.

In: `Candidate`s. Out: `Screening`s.
Rejection: `relevance_score_below_min`.
"""

from aria_data.screen.screening import ScreenConfig, probability_of_solo_piano, score_titles, screen, screen_many

__all__ = ["ScreenConfig", "probability_of_solo_piano", "score_titles", "screen", "screen_many"]
