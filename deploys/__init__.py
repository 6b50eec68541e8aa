"""The second engine: what playbooks/ and roles/ do, by pyinfra. One module per layer, in the playbooks' order."""

import sanso.connector  # noqa: F401 -- knows how to import Ansible within pyinfra, so it comes before whoever else does
