# Managed by Sansō: changes made here are lost on the next run.
# Source: roles/uwsgi/files/usr/local/lib/sanso/sanso_app/__init__.py
"""The server's own tool, /usr/local/sbin/sanso-app: it releases an app, and asks one for a page.

What is in /srv/APP, each release in a folder of its own in releases/:

    current      the release that app-APP@current runs, and nginx reaches
    candidate    the one that is tried, or was
    before       where a release that doesn't serve well leads back to
    releases/ID/served    in those alone that are whole and have answered as the current one: a link that says ID
"""
