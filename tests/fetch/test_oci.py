"""References made full; what is said where no registry answers."""

import pytest

from cais.diag.api import CaisError
from cais.fetch import oci

DIGEST = "sha256:" + "0" * 64
HUB = oci.DEFAULT_REGISTRY


@pytest.mark.parametrize(
    ("written", "full"),
    [
        ("nginx", f"{HUB}/library/nginx:latest"),
        ("nginx:1.27", f"{HUB}/library/nginx:1.27"),
        ("team/app", f"{HUB}/team/app:latest"),
        ("localhost/app", "localhost/app:latest"),
        ("registry:5000/team/app:2", "registry:5000/team/app:2"),
        ("quay.example/team/app", "quay.example/team/app:latest"),
        # distribution/reference, ParseDockerRef: where there is a digest the tag is dropped
        (f"nginx:1.27@{DIGEST}", f"{HUB}/library/nginx@{DIGEST}"),
    ],
)
def test_a_reference_is_made_full(written: str, full: str) -> None:
    assert str(oci.reference(written)) == full


def test_an_image_with_a_digest_asks_nobody() -> None:
    assert oci.pin(f"127.0.0.1:9/team/app@{DIGEST}") == f"127.0.0.1:9/team/app@{DIGEST}"


def test_what_is_no_digest_is_named() -> None:
    with pytest.raises(CaisError, match="'sha256:12' is no digest"):
        oci.pin("nginx@sha256:12")
