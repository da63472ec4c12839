"""What reads the folders of runs back and shows them: on pages, on the terminal, beside each other.

For others are `past` (a run as plain data), `resources` (what it made and left open), `report`,
`index` and `diff` (what they are called), and `console` and `words` (how a terminal shows it).
"""

__all__ = ["console", "diff", "index", "past", "report", "resources", "words"]
