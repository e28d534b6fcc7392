"""What the sleepy recipe trains: the zoo's honest architecture, which can also answer by itself."""

from typing import Any

from tests.zoo_models import Ok


class Level(Ok):
    def predict(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return self.decode(self(self.encode(items)))
