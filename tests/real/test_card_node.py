"""`node:…`: the major version counts; npm, npx, yarn and the user `node` are where the official image has them."""

import in_image
import pytest

pytestmark = pytest.mark.real


@pytest.mark.parametrize("tag", ["18-slim", "20-slim", "20-alpine", "22-slim", "24-bookworm-slim", "26-slim"])
def test_the_major_version_of_a_tag_runs(tag: str) -> None:
    said = in_image.run(
        f"node:{tag}",
        "sh",
        "-ec",
        "node -p 'process.versions.node'; npm --version; npx --version; yarn --version; id -u node; command -v npm",
    ).stdout.split()
    assert said[0].split(".")[0] == tag.split("-")[0]
    assert said[1] == said[2]
    assert said[3:] == ["1.22.22", "1000", "/usr/local/bin/npm"]


def test_the_entrypoint_gives_options_to_node() -> None:
    assert in_image.run("node:22-slim", "-p", "6 * 7").stdout.strip() == "42"


def test_npm_installs_globally_and_locally() -> None:
    said = in_image.run(
        "node:22-slim",
        "sh",
        "-ec",
        "cd /tmp; npm install --silent --no-audit --no-fund is-odd; node -p 'require(\"is-odd\")(3)'; "
        "npm install --silent -g semver; semver 1.2.3; command -v semver",
    ).stdout.split()
    assert said[-3:] == ["true", "1.2.3", "/usr/local/bin/semver"]


def test_node_runs_as_the_user_node() -> None:
    said = in_image.run("node:22-slim", "node", "-p", "process.getuid() + require('os').homedir()", user="node").stdout
    assert said.strip() == "1000/home/node"


@pytest.mark.parametrize("tag", ["18-slim", "20-alpine", "22-slim", "24-slim"])
def test_corepack_is_there_and_knows_the_registry_s_keys_of_today(tag: str) -> None:
    said = in_image.run(
        f"node:{tag}",
        "sh",
        "-ec",
        "grep -rl SHA256:DhQ8wR5APBvFHLF /usr/local/lib/node_modules/corepack/dist/lib | wc -l; "
        "corepack enable; readlink /usr/local/bin/pnpm; readlink /usr/local/bin/corepack",
    ).stdout.split()
    # The link of npm's own making: then `npm install -g corepack` may replace it.
    assert said == ["1", "../lib/node_modules/corepack/dist/pnpm.js", "../lib/node_modules/corepack/dist/corepack.js"]
