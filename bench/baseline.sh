#!/bin/sh
# The floor of bench/provision: what site.yml does to a fresh machine, written by hand for that one machine, in as few
# steps as an administrator in a hurry would take who still tries what he changes.
#
#   baseline.sh HOST_NAME APP RELEASE SERVER_NAME
#
# Runs as root in a folder that holds files.tar (the rendered files, from / on), hardening.tar (those of them that have
# to be there before the packages) and release.tar.gz.
set -eu
host_name=$1 app=$2 release=$3 server_name=$4
home=/srv/$app
directory=$home/releases/$release

# Packages, in one call. Lists that are younger than a day will do. The settings first that hold back what would fail when
# its package starts it, as auditd in a container; dpkg leaves alone what is there.
tar -xpf hardening.tar -C /
export DEBIAN_FRONTEND=noninteractive
[ "$(find /var/lib/apt/lists -maxdepth 0 -mtime -1)" ] || apt-get update -qq
# shellcheck source=/dev/null
. /etc/os-release
case $VERSION_CODENAME in resolute) time_daemon=chrony ;; *) time_daemon=systemd-timesyncd ;; esac
apt-get install -qq --yes --no-install-recommends -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold \
    fail2ban logrotate nftables openssh-server sudo unattended-upgrades "$time_daemon" \
    aide apparmor auditd debsums libpam-pwquality needrestart \
    python3 python3-venv nginx ssl-cert mysql-server uwsgi-core uwsgi-plugin-python3 >/dev/null

# Users, groups, folders
[ "$(cat /etc/hostname)" = "$host_name" ] || hostnamectl set-hostname "$host_name"
grep -qx "127.0.1.1 $host_name" /etc/hosts || echo "127.0.1.1 $host_name" >>/etc/hosts
groupadd --system mysql-clients
useradd --system --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin --groups mysql-clients sanso-trace
useradd --system --home-dir "$home" --no-create-home --shell /usr/sbin/nologin "$app"
install -d -m 0751 -o root -g "$app" "$home" "$home/releases" "$directory"
install -d -m 0750 -o "$app" -g "$app" "$home/shared"

# Files, with their owners and modes; each is tried before a service takes it.
tar -xpf files.tar -C /
echo "\"$(cat /proc/sys/kernel/random/uuid)\" 1;" | install -m 0640 -g sanso-trace /dev/stdin /etc/nginx/trace_secret
systemd-tmpfiles --create /etc/tmpfiles.d/sanso-nginx.conf /etc/tmpfiles.d/sanso-hardening.conf
rm -f /etc/ssh/ssh_host_*dsa_key* /etc/ssh/ssh_host_rsa_key*
ssh-keygen -q -t rsa -b 4096 -N '' -f /etc/ssh/ssh_host_rsa_key
awk '/^#/ || $5 >= 3071' /etc/ssh/moduli >/etc/ssh/moduli.sanso
visudo -cqf /etc/sudoers.d/90-sanso-admins
sshd -t
fail2ban-client -t >/dev/null
nft -c -f /etc/nftables.conf
nginx -t -q
mysqld --validate-config --user=mysql --log-error-verbosity=1

# Services
systemctl daemon-reload
systemctl enable --quiet --now nftables sanso-hardening.target
systemctl enable --quiet fail2ban
systemctl reload ssh
/usr/lib/systemd/systemd-sysctl
systemctl restart systemd-journald fail2ban mysql nginx # a reload would leave nginx its master, which is root's

mysql <<SQL
CREATE SCHEMA \`$app\` CHARACTER SET utf8mb4;
CREATE USER '$app'@'localhost' IDENTIFIED WITH auth_socket;
GRANT ALL ON \`$app\`.* TO '$app'@'localhost';
CREATE USER 'sanso-trace'@'localhost' IDENTIFIED WITH auth_socket;
GRANT SELECT ON performance_schema.events_statements_history_long TO 'sanso-trace'@'localhost';
GRANT SELECT ON performance_schema.events_statements_current TO 'sanso-trace'@'localhost';
GRANT SELECT ON performance_schema.threads TO 'sanso-trace'@'localhost';
GRANT SELECT ON performance_schema.session_connect_attrs TO 'sanso-trace'@'localhost';
ALTER USER IF EXISTS 'debian-sys-maint'@'localhost' IDENTIFIED WITH auth_socket AS 'root';
SQL

# The release: unpacked; the rest is the tool's, which came with the files
tar -xpf release.tar.gz -C "$directory"
chgrp -R "$app" "$directory"
head -n 2 "$directory/environment" | install -m 0600 /dev/stdin "$directory/secrets" # none: just the lines that say who manages it
/usr/local/sbin/sanso-app release "$app" "$release" --host="$server_name" --seconds=30 --kept=5
systemctl enable --quiet "app-$app@current.service" "app-$app@current.socket"
