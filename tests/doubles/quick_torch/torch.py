"""In the place of torch for the process that calls vbench's double: as much as it needs, at once."""


class cuda:  # noqa: N801
    @staticmethod
    def is_available():
        return False


device = str
