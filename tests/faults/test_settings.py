"""A setting that can't be never replaces one that works: the run fails, says why, and the server goes on as before."""

import subprocess

import pytest

# Layer, what is set, the file that must stay, and what the tier itself says about it.
BROKEN = [
    ("web", {"nginx_extra_server": "nonsense on;"}, "/etc/nginx/conf.d/sites.conf", 'unknown directive "nonsense"'),
    ("web", {"nginx_extra_http": "nonsense on;"}, "/etc/nginx/nginx.conf", 'unknown directive "nonsense"'),
    ("database", {"mysql_extra_settings": "nonsense = 1"}, "/etc/mysql/mysql.conf.d/zz-sanso.cnf", "nonsense"),
]


@pytest.mark.parametrize(("layer", "variables", "path", "reason"), BROKEN, ids=lambda value: str(value)[:40])
def test_broken_setting_is_refused_with_the_tiers_own_words(server, play, layer, variables, path, reason):
    before = server.host.file(path).content_string
    done = play(layer, **variables)
    assert done.failed, done.said
    assert reason in done.said
    assert server.host.file(path).content_string == before


@pytest.fixture
def certificates(tmp_path):
    """certificates("a", days) makes a.crt and a.key there."""

    def make(name, days):
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-subj", f"/CN={name}", "-days", str(days), "-keyout", f"{name}.key", "-out", f"{name}.crt"]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

    make("a", 1)
    make("b", 1)
    return tmp_path


def test_certificate_that_does_not_fit_its_key_never_replaces_the_one_that_serves(server, app, play, certificates):
    path = f"/etc/nginx/tls/{app.name}.pem"
    before = server.host.file(path).sha256sum
    files = {"nginx_tls_certificate": f"{certificates}/a.crt", "nginx_tls_key": f"{certificates}/b.key"}
    done = play("web", **files)
    assert done.failed, done.said
    assert "the certificate and the key do not belong together" in done.said
    assert server.host.file(path).sha256sum == before


def test_misspelt_variable_stops_the_run_before_it_touches_the_server(play):
    done = play("web", nginx_tls_profil="modern")
    assert done.failed, done.said
    assert "did you mean nginx_tls_profile?" in done.said
    assert not done.changed
    assert "Packages" not in done.said
