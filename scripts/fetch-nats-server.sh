#!/usr/bin/env bash
# Puts a recent nats-server (Debian sid's package, unpacked, nothing installed) into DIR, through the mirror that this machine's apt is set up with.
# usage: fetch-nats-server.sh DIR        exit 0 and the path of the binary on stdout, or 1 and the reason on stderr
set -euo pipefail
dir=$(mkdir -p "${1:?usage: fetch-nats-server.sh DIR}" && cd "$1" && pwd)
if [ -x "$dir/nats-server" ]; then
  echo "$dir/nats-server"
  exit 0
fi
fail() {
  echo "$1" >&2
  exit 1
}
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || fail 'no apt-get here: install nats-server 2.15.1 or newer yourself'
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | grep -E '/debian/?$' | head -n 1 || true)
[ -n "$mirror" ] || fail 'apt knows no Debian mirror (run apt-get update first)'
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/archives/partial"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror sid main" >"$work/sources.list"
# Lists and cache of its own: the machine's apt stays as it is.
apt=(apt-get -q -oDir::Etc::SourceList="$work/sources.list" -oDir::Etc::SourceParts=/dev/null -oDir::State::Lists="$work/lists"
  -oDir::Cache::Archives="$work/archives" -oDir::Cache::pkgcache= -oDir::Cache::srcpkgcache= -oAPT::Sandbox::User=root)
"${apt[@]}" update >&2
(cd "$work" && "${apt[@]}" download nats-server >&2 && dpkg-deb -x nats-server_*.deb unpacked)
install -m 755 "$(find "$work/unpacked" -type f -name nats-server -perm -u+x | head -n 1)" "$dir/nats-server"
echo "$dir/nats-server"
