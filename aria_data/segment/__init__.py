"""Cut a recording into segments of solo piano, from the classifier's scores.

In: window scores (`classifiers.predict`). Out: `Segment`s.
Rejections: `no_solo_piano`, `segment_shorter_than_min`, `audio_score_below_min`.

`segmentation` finds and judges segments, `edges` follows pieces to their ends, `identity` numbers them; `accuracy`
measures how well they fit the true ones.
"""

from aria_data.segment.segmentation import Scored, SegmentConfig, find_segments

__all__ = ["Scored", "SegmentConfig", "find_segments"]
