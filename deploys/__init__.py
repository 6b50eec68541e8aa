"""The second engine: what playbooks/ and roles/ do, by pyinfra. One module per layer, in the playbooks' order."""
