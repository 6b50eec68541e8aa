"""The command line of Sansō: a convenience over Ansible and pytest, which do the work."""
