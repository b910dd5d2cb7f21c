"""Debian's files, read without apt."""

import lzma
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from cais.diag.api import CaisError
from cais.fetch.debian import dpkg, index, ldcache, resolve, sources, userland
from cais.fetch.debian.version import Version
from cais.fetch.names import LIBRARIES


@pytest.mark.parametrize(
    ("smaller", "larger"),
    [  # the examples of deb-version(7) and of dpkg's own tests
        ("1.0~beta1~svn1245", "1.0~beta1"),
        ("1.0~beta1", "1.0"),
        ("1.0", "1.0a"),
        ("1.2.3", "1.2.10"),
        ("2.36-9+deb12u9", "2.36-9+deb12u14"),
        ("9:1", "10:0"),
        ("1.0-1", "1.0-1.1"),
        ("1.0~rc1-1", "1.0-1"),
        ("7.0.15-1~deb12u3", "7.0.15-1"),
        ("0.4a6", "0.4a6-2"),
        ("3.0~rc2-1", "3.0-1"),
        ("a", "a+"),
    ],
)
def test_versions_have_the_order_dpkg_gives_them(smaller: str, larger: str) -> None:
    assert Version(smaller) < Version(larger)
    assert not Version(larger) < Version(smaller)
    assert Version(larger).meets(">>", smaller) and Version(smaller).meets("<=", larger)


def test_equal_versions_may_be_written_differently() -> None:
    assert Version("1.0") == Version("0:1.0") == Version("1.00") == Version("1.0-0")


PACKAGES = b"""Package: libc6
Version: 2.36
Architecture: amd64
Priority: required
Filename: pool/libc6.deb
Size: 10
SHA256: aa

Package: base
Essential: yes
Version: 1
Architecture: all
Pre-Depends: libc6 (>= 2.30)
Depends: awk
Filename: pool/base.deb
Size: 10
SHA256: bb

Package: gawk
Version: 5
Architecture: amd64
Priority: optional
Provides: awk
Filename: pool/gawk.deb
Size: 1
SHA256: cc

Package: mawk
Version: 1
Architecture: amd64
Priority: required
Provides: awk (= 1)
Filename: pool/mawk.deb
Size: 1
SHA256: dd

Package: app
Version: 7
Architecture: amd64
Depends: libssl:any (>= 9) | tls, base, libc6
Filename: pool/app.deb
Size: 1
SHA256: ee

Package: tls
Version: 1
Architecture: amd64
Depends: app
Filename: pool/tls.deb
Size: 1
SHA256: ff

Package: broken
Version: 1
Architecture: amd64
Depends: nothing-here
Filename: pool/broken.deb
Size: 1
SHA256: 00
"""
UPDATES = PACKAGES.split(b"\n\n")[0].replace(b"2.36", b"2.36-u1").replace(b"pool/", b"updates/") + b"\n"


@pytest.fixture
def suite() -> index.Index:
    return index.Index("bookworm", [("http://main", PACKAGES), ("http://security", UPDATES)])


def test_the_newest_version_of_all_archives_is_taken_from_its_own(suite: index.Index) -> None:
    package = suite.package("libc6")
    assert package is not None
    assert (package.version, package.url) == ("2.36-u1", "http://security/updates/libc6.deb")


def test_a_closure_has_every_dependency_once(suite: index.Index) -> None:
    assert sorted(p.name for p in resolve.closure(suite, ["app"])) == ["app", "base", "libc6", "mawk", "tls"]


def test_what_is_there_already_is_not_taken(suite: index.Index) -> None:
    have = {"libc6": "2.36", "base": "1", "mawk": "1"}
    assert sorted(p.name for p in resolve.closure(suite, ["app"], have)) == ["app", "tls"]


def test_a_choice_already_made_is_kept(suite: index.Index) -> None:
    assert "mawk" not in [p.name for p in resolve.closure(suite, ["gawk", "base"])]


def test_required_and_essential_are_found(suite: index.Index) -> None:
    found = suite.every(lambda p: True, (b"Priority: required", b"Essential: yes"))
    assert [p.name for p in found] == ["base", "libc6", "mawk"]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("redis", "cannot take redis from Debian bookworm: the suite has no package of that name"),
        ("app (>= 8)", "cannot take app (>= 8) from Debian bookworm: it has 7 now"),
        ("broken", "cannot take broken from Debian bookworm: it depends on nothing-here"),
    ],
)
def test_what_cannot_be_taken_is_named(suite: index.Index, wanted: str, words: str) -> None:
    with pytest.raises(CaisError) as caught:
        resolve.closure(suite, [wanted])
    assert caught.value.message.startswith(words)


def test_sources_come_from_this_machines_apt(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text("# deb http://old bookworm main\ndeb http://vendor.test/apt nodistro main\n")
    (tmp_path / "sources.list.d/debian.sources").write_text(
        "Types: deb\nURIs: http://mirror.test/debian/\nSuites: bookworm\n bookworm-updates\nComponents: main\n\n"
        "# a comment\nTypes: deb\nURIs: http://mirror.test/security\nSuites: bookworm-security\nComponents: main\n"
    )
    (tmp_path / "apt.conf.d").mkdir()
    (tmp_path / "apt.conf.d/10x").write_text(
        'Acquire::Check-Valid-Until "false";\nAcquire::http::Proxy "http://proxy:3142";\n'
    )
    apt = sources.read(tmp_path)
    assert apt == ("http://mirror.test/debian", "http://mirror.test/security", False, (("http", "http://proxy:3142"),))
    assert [a.suite for a in sources.archives("trixie", apt)] == ["trixie", "trixie-updates", "trixie-security"]
    assert sources.archives("sid", apt) == (("http://mirror.test/debian", "sid"),)


def test_one_line_sources_and_security_beside_the_archive(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text("deb [signed-by=/x arch=amd64] http://mirror.test/debian trixie main\n")
    apt = sources.read(tmp_path)
    assert (apt.archive, apt.security) == ("http://mirror.test/debian", "http://mirror.test/debian-security")
    assert apt.check_dates


def test_a_machine_without_apt_takes_debians_own_mirror(tmp_path: Path) -> None:
    apt = sources.read(tmp_path)
    assert apt.archive.endswith("/debian") and apt.security.endswith("/debian-security")


RELEASE = (
    b"Origin: Debian\nSuite: oldstable\nCodename: bookworm\nValid-Until: Fri, 27 Nov 2020 00:12:41 UTC\n"
    b"SHA256:\n aa 1 x\n"
)


@pytest.fixture
def signed(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """RELEASE, signed by a key that is made for the test and trusted in it."""
    import pysequoia

    key = pysequoia.Tsk.generate("Tests <tests@example.org>")
    monkeypatch.setattr(index, "_keys", [key.extract_certificate()])
    return bytes(pysequoia.sign(key.signer(), RELEASE, mode=pysequoia.SignatureMode.CLEAR))


def test_a_signed_release_is_read(signed: bytes) -> None:
    assert index.verified(signed, "bookworm", check_dates=False).startswith("Origin: Debian")


def test_a_changed_release_is_refused(signed: bytes) -> None:
    with pytest.raises(CaisError, match="signature of its Release file is not one of Debian's"):
        index.verified(signed.replace(b" aa 1 x", b" ab 1 x"), "bookworm", check_dates=False)


def test_text_around_the_signed_part_does_not_count(signed: bytes) -> None:
    text = index.verified(b"SHA256:\n ff 1 evil\n\n" + signed, "bookworm", check_dates=False)
    assert "evil" not in text


def test_a_release_of_another_key_is_refused(signed: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "_keys", [])
    with pytest.raises(CaisError, match="not one of Debian's"):
        index.verified(signed, "bookworm", check_dates=False)


def test_a_well_signed_release_of_another_suite_is_refused(signed: bytes) -> None:
    with pytest.raises(CaisError, match="sent the Release file of oldstable / bookworm"):
        index.verified(signed, "trixie", check_dates=False)


def test_an_expired_release_is_refused_unless_apt_allows_it(signed: bytes) -> None:
    with pytest.raises(CaisError, match="was valid until"):
        index.verified(signed, "bookworm", check_dates=True)


def test_the_keys_are_those_that_the_readme_lists() -> None:
    text = Path(str(index.__file__)).parent.parent.joinpath("keys/README.md").read_text()
    shipped = {str(c.fingerprint).upper() for c in index.certificates()}  # type: ignore[attr-defined]
    assert len(shipped) == 6
    assert shipped == {word for word in text.split() if len(word) == 40}


def test_every_suite_has_its_libraries() -> None:
    assert set(LIBRARIES) == set(sources.SUITES)


@pytest.mark.skipif(not os.path.exists("/sbin/ldconfig"), reason="no ldconfig to read the cache back")
def test_ldconfig_reads_the_cache_we_write(tmp_path: Path) -> None:
    home = next(p for p in Path("/usr/lib").glob("*-linux-gnu") if (p / "libc.so.6").exists())
    layer = tmp_path / "layer"
    inside = layer / str(home).lstrip("/")
    inside.mkdir(parents=True)
    for name in ("libc.so.6", "libm.so.6", "libpthread.so.0", "libz.so.1"):
        shutil.copy(home / name, inside / name)
    (inside / "libz.so.1").rename(inside / "libz.so.1.99.0")
    (inside / "libz.so.1").symlink_to("libz.so.1.99.0")
    (inside / "libno.so").write_text("/* a linker script */")
    conf = layer / "etc/ld.so.conf.d"
    conf.mkdir(parents=True)
    (conf / "x.conf").write_text(f"# a comment\n{home}\n")
    cache = tmp_path / "cache"
    cache.write_bytes(ldcache.build([str(layer)]))
    said = subprocess.run(["/sbin/ldconfig", "-p", "-C", str(cache)], capture_output=True, text=True, check=True).stdout
    lines = said.splitlines()
    assert lines[0].startswith("4 libs found")
    assert [line.split()[0] for line in lines[1:5]] == ["libz.so.1", "libpthread.so.0", "libm.so.6", "libc.so.6"]
    assert f"=> {home}/libz.so.1" in lines[1]


def test_an_alternative_is_two_links_and_a_note(tmp_path: Path) -> None:
    (tmp_path / "usr/bin").mkdir(parents=True)
    dpkg.alternative(tmp_path, "awk", "/usr/bin/awk", "/usr/bin/mawk", 5, [("nawk", "/usr/bin/nawk", "/usr/bin/mawk")])
    assert os.readlink(tmp_path / "usr/bin/awk") == "/etc/alternatives/awk"
    assert os.readlink(tmp_path / "etc/alternatives/nawk") == "/usr/bin/mawk"
    note = (tmp_path / "var/lib/dpkg/alternatives/awk").read_text()
    assert note == "auto\n/usr/bin/awk\nnawk\n/usr/bin/nawk\n\n/usr/bin/mawk\n5\n/usr/bin/mawk\n\n"


def test_the_index_survives_its_compression() -> None:
    again = index.Index("x", [("http://main", lzma.decompress(lzma.compress(PACKAGES)))])
    assert again.package("tls") is not None


def test_the_archives_own_release_does_not_stand_in_for_its_security_fixes(signed: bytes) -> None:
    with pytest.raises(CaisError, match="sent the Release file of oldstable / bookworm"):
        index.verified(signed, "bookworm-security", check_dates=False)


def test_no_password_of_a_mirror_is_in_the_userland(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = "https://mirror.test/debian"
    apt = sources.Apt(address.replace("//", "//user:hush@"), "https://user:hush@mirror.test:8443/debian-security")
    monkeypatch.setattr(sources, "read", lambda: apt)
    (tmp_path / "usr/sbin").mkdir(parents=True)
    userland._apt(tmp_path, "bookworm")
    written = "".join(file.read_text() for file in tmp_path.rglob("*") if file.is_file())
    assert f"URIs: {address}\n" in written and "URIs: https://mirror.test:8443/debian-security\n" in written
    assert "hush" not in written and "user:" not in written
