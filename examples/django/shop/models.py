"""What the shop keeps."""

from django.db import models


class Order(models.Model):
    """Something somebody has bought."""

    item = models.CharField(max_length=100)
    state = models.CharField(max_length=20, default="new")
    tries = models.IntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.item}: {self.state} at try {self.tries}"
