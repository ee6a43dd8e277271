# Sourced by the scripts beside it: packages of any Debian release without being root and without touching the machine's
# own apt. `debian_open SUITE` makes a private apt in a temporary directory (signatures are checked against Debian's
# keys on this machine); then `debian_apt get …`, `debian_apt cache …` and `debian_unpack DIRECTORY PACKAGE …` work on
# that release; `debian_close` removes it.
#
# Environment: PDATA_DEBIAN_MIRROR, an archive's address; without it the one this machine's apt already uses.

pdata_cache=${PDATA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pdata}

debian_mirror() {
  if [ -n "${PDATA_DEBIAN_MIRROR:-}" ]; then echo "$PDATA_DEBIAN_MIRROR"; return; fi
  local mirror
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 2>/dev/null | grep -E '/debian/?$' | sort -u | sed -n 1p || true)
  if [ -z "$mirror" ]; then
    echo "this machine's apt names no Debian archive: set PDATA_DEBIAN_MIRROR to the address of one" >&2
    return 1
  fi
  echo "$mirror"
}

debian_open() { # SUITE
  local keys=/usr/share/keyrings/debian-archive-keyring.gpg
  [ -s "$keys" ] || { echo "Debian's keys ($keys) are missing: install the package debian-archive-keyring" >&2; return 1; }
  debian_dir=$(mktemp -d)
  chmod 755 "$debian_dir" # apt's own user reads it when the caller is root
  mkdir -p "$debian_dir"/{lists/partial,cache/archives/partial,debs}
  : > "$debian_dir/status"
  local mirror
  mirror=$(debian_mirror) || return 1
  echo "deb [signed-by=$keys] $mirror $1 main" > "$debian_dir/sources.list"
  # Quiet while all goes well; a failure shows what apt said.
  debian_apt get update > "$debian_dir/log" 2>&1 || { cat "$debian_dir/log" >&2; return 1; }
  ! grep -q '^[EW]: .*Failed' "$debian_dir/log" || { cat "$debian_dir/log" >&2; return 1; }
}

debian_apt() { # get|cache ARGUMENT …
  local tool=$1
  shift
  "apt-$tool" -o Dir::Etc::sourcelist="$debian_dir/sources.list" -o Dir::Etc::sourceparts=- \
    -o Dir::State::Lists="$debian_dir/lists" -o Dir::Cache="$debian_dir/cache" \
    -o Dir::State::status="$debian_dir/status" -o APT::Sandbox::User= -q "$@"
}

debian_unpack() { # DIRECTORY PACKAGE …
  local into=$1 package
  shift
  mkdir -p "$into"
  for package in "$@"; do
    rm -f "$debian_dir"/debs/*.deb
    (cd "$debian_dir/debs" && debian_apt get download "$package") > "$debian_dir/log" 2>&1 || { cat "$debian_dir/log" >&2; return 1; }
    dpkg -x "$debian_dir"/debs/*.deb "$into"
  done
}

debian_close() { rm -rf "$debian_dir"; }
