"""The one exception that is meant for the user's eyes."""


class SnowmapError(Exception):
    """Something the user can mend: names the file or key, what was found, what was expected and the way out.

    The commands print it without a traceback and end with status 1.
    """
