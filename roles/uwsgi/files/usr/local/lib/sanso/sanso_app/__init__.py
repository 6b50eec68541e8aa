# Managed by Sansō: changes made here are lost on the next run.
# Source: roles/uwsgi/files/usr/local/lib/sanso/sanso_app/__init__.py
"""The server's own tool, /usr/local/sbin/sanso-app: it releases an app, rolls it back, and asks one for a page.

What is in /srv/APP:

    incoming/ID.tar.gz, ID.secrets    a release as an engine brought it
    releases/ID    one release, whole from the moment it has that name; record.json says what became of it
    releases/ID/served       in those alone that have answered as the current one: a link that says ID
    releases/ID/withdrawn    in those that somebody went back from: a link that says ID
    venvs/DIGEST   what releases with the same lock file run with
    assets         the static files of all kept releases together
    current        the release that app-APP@current runs
    candidate      the one that is tried, or serves while the current one changes
    before         where a release that doesn't serve well leads back to
    lock           held by the run that changes any of this

And in /run/app-APP: current.sock and candidate.sock, which are systemd's; app.sock, a link to that which nginx reaches.
"""
