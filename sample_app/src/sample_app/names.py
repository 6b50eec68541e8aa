"""The names in URLs."""

import re

from werkzeug.exceptions import NotFound
from werkzeug.routing import BaseConverter


class Name(BaseConverter):
    """`<name:…>` in a route: ASCII only, as the columns are (MySQL refuses to compare them with anything else)."""

    def to_python(self, value: str) -> str:
        if not re.fullmatch("[a-z0-9-]{1,64}", value):
            raise NotFound("A name is 1 to 64 of a-z, 0-9 and -.")
        return value
