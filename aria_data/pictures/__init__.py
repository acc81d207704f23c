"""Pictures of figures, all in one style: SVG files that are read in light and dark, with their content in words.

In: numbers. Out: SVG. They need no other file and run nothing. matplotlib draws; colours and fonts are the report's.
"""

from aria_data.pictures.intervals import Interval, intervals_svg
from aria_data.pictures.style import COLOURS, GREY, TEXT, canvas, require_folder, saved, svg

__all__ = ["COLOURS", "GREY", "TEXT", "Interval", "canvas", "intervals_svg", "require_folder", "saved", "svg"]
