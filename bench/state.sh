#!/bin/sh
# Print what a machine is, one fact a line: two machines in the same state print the same lines. Runs there as root.
set -eu
export LC_ALL=C

dpkg-query --show --showformat='package ${binary:Package} ${Version} ${db:Status-Status}\n'
apt-mark showmanual | sed 's/^/manual /'

# Numbers are given in the order in which users and groups are made, so owners are compared by name.
getent passwd | awk -F: '{ print "user", $1, $6, $7 }'
getent group | awk -F: '{ print "group", $1, $4 }'

# Every file of these trees; not what a machine has of its own (its names and kinds of keys are compared below), or what
# holds a date.
list() {
    find /etc /usr/local /srv \( \
        -path /etc/hostname -o -path /etc/hosts -o -path /etc/machine-id -o -path /etc/systemd/network/20-host0.network \
        -o -path '/etc/passwd*' -o -path '/etc/shadow*' -o -path '/etc/group*' -o -path '/etc/gshadow*' \
        -o -lname ssl-cert-snakeoil.pem -o -name '*.pyc' \
        \) -prune -o "$@"
}
list -printf 'file %p %y %m %u:%g %l\n'
list -type f ! -path /etc/nginx/trace_secret ! -path /etc/mysql/debian.cnf ! -path '/etc/ssh/ssh_host_*' \
    ! -name 'ssl-cert-snakeoil.*' -exec sha256sum {} + | sed 's/^/content /'
sed "s/\b$(cat /etc/hostname)\b/HOST/; s/^/names /" /etc/hosts

# Effective settings, as what uses them reports them
sshd -T | sed 's/^/sshd /'
for key in /etc/ssh/ssh_host_*_key.pub; do ssh-keygen -lf "$key" | awk '{ print "host key", $1, $NF }'; done
# Not who opens connections right now, or how many do
nft --stateless --terse list table inet sanso_firewall | sed 's/[[:space:]]*# count.*//; s/^/nftables /'
for setting in actions bantime findtime ignoreip journalmatch maxretry; do
    fail2ban-client get sshd "$setting" | sed "s/^/fail2ban $setting /"
done
# Some are not there in a container, some stand for all interfaces.
sed -n 's/^-\([^ ]*\) = .*/\1/p' /etc/sysctl.d/*-sanso*.conf | tr . / | while read -r name; do
    # shellcheck disable=SC2086
    grep -sH '' /proc/sys/$name | sed 's/^/sysctl /'
done
findmnt --raw --noheadings --output TARGET,VFS-OPTIONS | sed '/^\/run/d; s/^/mount /' # there, logins come and go
mysql --batch --skip-column-names <<'SQL'
SELECT "mysql account", user, host, plugin, account_locked FROM mysql.user;
SELECT "mysql grant", grantee, table_schema, privilege_type FROM information_schema.schema_privileges;
SELECT "mysql grant", grantee, table_schema, table_name, privilege_type FROM information_schema.table_privileges;
SELECT "mysql schema", schema_name, default_character_set_name FROM information_schema.schemata;
SELECT "mysql table", table_schema, table_name FROM information_schema.tables;
SELECT "mysql variable", variable_name, REPLACE(variable_value, @@hostname, "HOST")
    FROM performance_schema.global_variables WHERE variable_name <> "server_uuid";
SQL

# Units, and the sockets of the tiers. Not what comes and goes: logins, and a service that runs while it is asked.
systemctl list-unit-files --plain --no-legend | awk '$2 != "transient" { print "unit file", $1, $2 }'
systemctl list-units --plain --no-legend --state=active,failed --type=service,socket,timer |
    awk '$1 !~ /^systemd-hostnamed/ { print "unit", $1, $3, $4 }'
ss -Hltn | awk '{ print "listens on", $4 }'
find /run/mysqld /run/nginx /run/app-* /var/log/sanso -printf 'file %p %y %m %u:%g\n'
