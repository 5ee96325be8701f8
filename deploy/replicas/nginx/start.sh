#!/bin/sh
# Starts nginx with the name server of where it runs, which Docker, podman and Kubernetes write into resolv.conf: nginx itself
# does not read that file. REPLICAS is the replicas' name and port. nginx knows no search list: in Kubernetes it is the whole
# name, such as passthrough.default.svc.cluster.local:4000.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
place=/tmp/nginx                     # as in nginx.conf: all that nginx writes, for a read-only root
resolv=${RESOLV_CONF:-/etc/resolv.conf}
server=
# The first server that nginx can ask, as other programs do. Given several, it would ask them in turn, also one that does not
# know the name.
while read -r word address _ || [ -n "$word" ]; do
    case $word:$address in
        nameserver:*%*) ;;                                      # an address with a zone, which nginx cannot ask
        nameserver:*:*:*) server="[$address]"; break ;;         # IPv6
        nameserver:?*) server=$address; break ;;
    esac
done < "$resolv"
if [ -z "$server" ]; then
    echo "start.sh: $resolv names no server that nginx can ask." >&2
    exit 1
fi
mkdir -p "$place"
cat > "$place/names.conf" <<EOF
resolver $server valid=2s ipv6=off;
map "" \$replicas { default "${REPLICAS:-passthrough:4000}"; }
EOF
exec nginx -e stderr -p "$place" -c "$here/nginx.conf" "$@"
