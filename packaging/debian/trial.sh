# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# The steps of packaging/try-packages, each a function; they run in this order on a machine that has booted.

examples=/usr/share/doc/isthmus/examples

# Repeat a command for a minute, until it succeeds.
soon() {
  local until=$((SECONDS + 60)) said
  until said=$("$@" 2>&1); do
    if ((SECONDS > until)); then
      printf '%s\n' "$said" "for a minute it did not come true: $*"
      journalctl --no-pager --lines 30 --unit 'isthmus-*'
      return 1
    fi
    sleep 0.5
  done
}

# `set -e` does not look at a command after "!".
not() {
  if "$@"; then
    echo "it came true: $*"
    return 1
  fi
}

is_running() { systemctl --quiet is-active isthmus-controller isthmus-agent; }

install_them_without_a_network() {
  not ip route get 198.51.100.1
  apt-get -q -y install ./packages/isthmus_*.deb ./packages/isthmus-{controller,agent}_*.deb
  isthmus --help
  isthmus version
  not isthmus lab status # the lab is a package of its own
  # Whatever else of Python there is on a machine, it is neither seen nor disturbed.
  mkdir -p /tmp/astray
  echo 'raise SystemExit("astray")' | tee /tmp/astray/typer.py >/tmp/astray/isthmus.py
  (cd /tmp/astray && PYTHONPATH=/tmp/astray setpriv --reuid=nobody --clear-groups isthmus version)
  dpkg --verify isthmus isthmus-controller isthmus-agent
  test -z "$(find / -xdev -name '*.py' -path '*isthmus*' -not -path '/usr/lib/isthmus/*' -not -path '/tmp/*')"
}

nothing_starts_before_it_is_configured() {
  systemctl is-active openvswitch-switch
  not systemctl --quiet is-enabled isthmus-controller
  not systemctl --quiet is-enabled isthmus-agent
  systemctl start isthmus-controller isthmus-agent # systemd looks whether there is a configuration, and lets it be
  not systemctl --quiet is-active isthmus-controller
  not systemctl --quiet is-active isthmus-agent
  not test -e /etc/isthmus
  not test -e /var/lib/isthmus/north.db
  not ovs-vsctl br-exists br-int
  systemd-analyze verify --man=no isthmus-controller.service isthmus-agent.service
}

# The provider address is on a bridge of type netdev: without the kernel's module Open vSwitch needs it there.
uplink() {
  ovs-vsctl --may-exist add-br br-uplink -- set bridge br-uplink datapath_type=netdev
  soon ip address add 192.0.2.1/24 dev br-uplink
  ip link set br-uplink up
}

init_configures_and_starts() {
  uplink
  isthmus init --host first --provider-address 192.0.2.1
  systemctl is-enabled isthmus-controller isthmus-agent
  soon is_running
  soon isthmus status
  not test -e /etc/systemd/system/isthmus-agent.service # the unit is that of the package
}

# A guest in a namespace of its own, by DHCP.
plug() {
  local mac
  mac=$(isthmus get "/networkInterfaces/$1" --json | sed -nE 's/.*"privateMacAddress": "([^"]+)".*/\1/p' |
    sed -E 's/[-:]//g; s/../&:/g; s/:$//')
  cat >/tmp/lease <<'LEASE'
#!/bin/sh
if [ "$1" = bound ]; then ip address add "$ip/$mask" dev "$interface"; fi
LEASE
  chmod +x /tmp/lease
  ip netns add "$1"
  ovs-vsctl add-port br-int "$1" -- set interface "$1" type=internal external_ids:iface-id="$1"
  soon ip link set "$1" netns "$1"
  ip -n "$1" link set "$1" address "$mac" up
  soon ip netns exec "$1" udhcpc -q -n -t 3 -T 1 -i "$1" -s /tmp/lease
}

has_succeeded() { isthmus get "/networkInterfaces/$1" --json | tr -d '\n ' | grep -q '"configurationState":{"status":"Success"'; }

two_guests_get_addresses_and_talk() {
  isthmus apply -f "$examples/two-subnets.yaml" --watch
  plug web1
  plug web2
  isthmus get /networkInterfaces
  isthmus explain port web1
  soon has_succeeded web1
  local address
  address=$(ip -n web2 -4 -oneline address show dev web2 | sed -nE 's/.*inet ([0-9.]+).*/\1/p')
  soon ip netns exec web1 ping -c 3 -i 0.2 "$address"
  isthmus trace web1 web2
  isthmus status
}

all_is_there_after_a_restart_of_the_machine() {
  uplink
  soon is_running
  soon isthmus status
  isthmus get /networkInterfaces/web1
}

an_upgrade_restarts_the_daemons_and_no_store() {
  local controller agent store
  controller=$(systemctl show --property MainPID --value isthmus-controller)
  agent=$(systemctl show --property MainPID --value isthmus-agent)
  store=$(cat /run/isthmus/north.pid)
  apt-get -q -y install --reinstall ./packages/isthmus_*.deb ./packages/isthmus-{controller,agent}_*.deb
  soon is_running
  soon isthmus status
  not test "$controller" = "$(systemctl show --property MainPID --value isthmus-controller)"
  not test "$agent" = "$(systemctl show --property MainPID --value isthmus-agent)"
  test "$store" = "$(cat /run/isthmus/north.pid)"
  test -e "/proc/$store"
}

removed_they_run_no_more_and_keep_their_data() {
  local said
  said=$(apt-get -q -y remove isthmus)
  echo "$said"
  [[ $said == *"stores in /var/lib/isthmus stay"* && $said == *"/etc/isthmus stays"* && $said == *"br-int"* ]]
  not pgrep -f isthmus
  test -s /var/lib/isthmus/north.db
  test -s /etc/isthmus/isthmus.toml
  test -s /etc/isthmus/tls/authority.pem
  not test -e /usr/lib/isthmus
  ovs-vsctl br-exists br-int
}

they_come_back_with_their_data() {
  apt-get -q -y install ./packages/isthmus_*.deb ./packages/isthmus-{controller,agent}_*.deb
  soon is_running
  soon isthmus status
  isthmus get /networkInterfaces/web1
}

a_lab_is_a_cloud_on_this_machine() {
  apt-get -q -y install ./packages/isthmus-lab_*.deb
  isthmus lab up
  export ISTHMUS_URL=unix:/run/isthmus-lab/lab/controller/rest.sock
  isthmus apply -f "$examples/two-subnets.yaml" --watch
  isthmus lab plug web1 h1
  isthmus lab plug web2 h3
  isthmus lab ping web1 web2
  isthmus status
  isthmus lab down
  unset ISTHMUS_URL
  isthmus status # the machine's own is another, and was not touched
}

purged_they_leave_nothing() {
  local said
  said=$(apt-get -q -y purge 'isthmus*')
  echo "$said"
  [[ $said == *"removing /var/lib/isthmus"* && $said == *"removing /etc/isthmus"* ]]
  not pgrep -f isthmus
  test -z "$(find / -xdev -name '*isthmus*' -not -path '/srv/*' -not -path '/proc/*' -not -path '/tmp/*' \
    -not -path '/var/cache/*' -not -path '/var/lib/apt/*' -not -path '/var/log/*' | tee /dev/stderr)"
  not dpkg-query -W 'isthmus*'
  not systemctl --no-pager --failed --no-legend --quiet is-failed '*'
}
