#!/bin/sh
# tools/holdfast.service is a unit that systemd takes without a word, were the binary installed.
if ! command -v systemd-analyze >/dev/null; then
	echo "SKIP: systemd-analyze is not installed"
	exit 77
fi
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
sed 's#^ExecStart=/usr/local/bin/holdfast#ExecStart=/bin/true#' tools/holdfast.service >"$dir/holdfast.service"
said=$(systemd-analyze verify --man=no "$dir/holdfast.service" 2>&1)
status=$?
echo "$said"
[ $status -eq 0 ] && [ -z "$said" ]
