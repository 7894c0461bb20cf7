#!/bin/sh
# make-certs.sh DIR [HOST...] makes an authority, a certificate for the servers
# (of localhost, 127.0.0.1 and each HOST) and one for the proxy, as files in DIR:
# ca.crt, server.crt, server.key, client.crt, client.key. For trials, and as an
# example: the authority's key, ca.key, belongs elsewhere.
set -eu
dir=${1:?usage: make-certs.sh DIR [HOST...]}
shift
mkdir -p "$dir"
umask 077

names="DNS:localhost,IP:127.0.0.1"
for host in "$@"; do
	names="$names,DNS:$host"
done

new_key() { openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1" 2>/dev/null || openssl ecparam -genkey -name prime256v1 -noout -out "$1"; }

new_key "$dir/ca.key"
openssl req -x509 -new -key "$dir/ca.key" -sha256 -days 3650 -subj "/CN=jaegis redis ca" -out "$dir/ca.crt"

issue() { # NAME SUBJECT USAGE NAMES
	new_key "$dir/$1.key"
	openssl req -new -key "$dir/$1.key" -subj "/CN=$2" -out "$dir/$1.csr"
	printf 'extendedKeyUsage=%s\n%s\n' "$3" "$4" >"$dir/$1.ext"
	openssl x509 -req -in "$dir/$1.csr" -CA "$dir/ca.crt" -CAkey "$dir/ca.key" -CAcreateserial -sha256 -days 825 \
		-extfile "$dir/$1.ext" -out "$dir/$1.crt" 2>/dev/null
	rm -f "$dir/$1.csr" "$dir/$1.ext"
}

# Servers are each other's clients.
issue server redis "serverAuth,clientAuth" "subjectAltName=$names"
issue client jaegis-proxy clientAuth ""
chmod 644 "$dir"/*.crt
