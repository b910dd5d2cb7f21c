"""Vectors for texts: from the local model, or from a hosted one when EMBEDDING_URL is set.

`EMBEDDING_URL=https://host/v1` with EMBEDDING_MODEL and EMBEDDING_API_KEY (or _FILE) speaks the OpenAI embeddings
protocol: `POST /embeddings {"model", "input", "dimensions"}`.
"""

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import NamedTuple

from clarifai.environment import number, setting
from clarifai.notes import embedding

BATCH = 64


class EmbeddingUnavailable(Exception):
    """The hosted model did not answer; what should have been embedded stays stale and is tried again."""


class Embedder(NamedTuple):
    dimensions: int
    url: str = ""
    model: str = embedding.MODEL
    api_key: str = ""

    @property
    def name(self) -> str:
        """What is written beside every vector; another name makes the vector stale."""
        return f"{self.model}/{self.dimensions}"

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        if not self.url:
            return [embedding.embed(text, self.dimensions) for text in texts]
        vectors: list[list[float]] = []
        for start in range(0, len(texts), BATCH):
            vectors += self.ask(texts[start : start + BATCH])
        return vectors

    def ask(self, texts: Sequence[str]) -> list[list[float]]:
        body = json.dumps({"model": self.model, "input": list(texts), "dimensions": self.dimensions}).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.api_key}"}
        request = urllib.request.Request(f"{self.url.rstrip('/')}/embeddings", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                rows = json.load(answer)["data"]
        except (OSError, ValueError, KeyError, urllib.error.URLError) as error:
            raise EmbeddingUnavailable(f"{self.url}: {error}") from error
        vectors = [row["embedding"] for row in sorted(rows, key=lambda row: row["index"])]
        if len(vectors) != len(texts) or any(len(vector) != self.dimensions for vector in vectors):
            raise EmbeddingUnavailable(f"{self.url}: not {len(texts)} vectors of {self.dimensions} dimensions")
        return vectors


def from_environment() -> Embedder:
    dimensions = int(number("EMBEDDING_DIMENSIONS", 384))
    url = setting("EMBEDDING_URL", "")
    if not url:
        return Embedder(dimensions)
    return Embedder(dimensions, url, setting("EMBEDDING_MODEL"), setting("EMBEDDING_API_KEY", ""))


def as_vector(numbers: Sequence[float]) -> str:
    """pgvector's text form."""
    return "[" + ",".join(f"{number:.6g}" for number in numbers) + "]"
