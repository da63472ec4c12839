"""Units for the machines: each finds its own address, and hands it to etcd and fleet.

The address is the one from which the machine would reach the world; nothing is sent to 192.0.2.1.
`{members}` stands for the arguments by which etcd finds the others.
"""

# Flatcar: etcd in a container, its settings as arguments.
ADDRESS = """\
[Unit]
Description=Note the address of this machine for etcd
Wants=network-online.target
After=network-online.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'until ip -4 route get 192.0.2.1 | grep -o "src [0-9.]*" \
| sed "s/src /ETCD_IP=/" | grep . >/run/etcd-address.env; do sleep 1; done'
"""
MEMBER = """\
[Unit]
Requires=etcd-address.service
After=etcd-address.service
[Service]
EnvironmentFile=/run/etcd-address.env
ExecStart=
ExecStart=/usr/lib/flatcar/etcd-wrapper $ETCD_OPTS \\
  --listen-peer-urls=http://${ETCD_IP}:2380 \\
  --listen-client-urls=http://0.0.0.0:2379 \\
  --initial-advertise-peer-urls=http://${ETCD_IP}:2380 \\
  --advertise-client-urls=http://${ETCD_IP}:2379 \\
  {members}
"""

# With a name given, Flatcar's etcd-wrapper takes ETCD_NAME away, as etcd refuses both; it hands on
# the rest of ETCD_* and the host's network (flatcar/scripts, app-admin/etcd-wrapper). One too many
# fails, and is no proxy.
BY_TOKEN = "--name=%m --discovery={url} --discovery-fallback=exit"

# CoreOS of 2014: its coreos-cloudinit knows no drop-ins of units, so they are written as files.
# Where $private_ipv4 is empty, they win over its 20-cloudinit.conf: an EnvironmentFile always does.
PLAIN_SCRIPT = """\
#!/bin/sh
until ip=$(ip -4 route get 192.0.2.1 | grep -o 'src [0-9.]*'); do sleep 1; done
ip=${ip#src }
cat >/run/cluster-address.env <<END
ETCD_ADDR=$ip:4001
ETCD_PEER_ADDR=$ip:7001
FLEET_PUBLIC_IP=$ip
END
"""
PLAIN_ADDRESS = """\
[Unit]
Description=Note the address of this machine for etcd and fleet
Wants=network-online.target
After=network-online.target
Before=etcd.service fleet.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh /opt/bin/note-address
"""
PLAIN_DROP_IN = """\
[Unit]
Requires=cluster-address.service
After=cluster-address.service
[Service]
EnvironmentFile=/run/cluster-address.env
"""
