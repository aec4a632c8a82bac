#!/bin/sh
# Installs the Debian packages that a group of goals needs and this machine does not have.
#
#   deploy/install-deps.sh [-n] [GROUP...]     -n: only say what is missing (status 1 if anything is)
#
# Groups: build (make), check (make check, fuzz and chaos as well), clients (make check-clients); default: build.
# A thing is looked for by using it - the command, the header, the pkg-config module - not by asking dpkg, so that
# a Java, Go or Node.js from somewhere else on PATH is respected. If nothing is missing, nothing is done.
set -eu

# group  package  how to see that it is there: command / pkg-config module / header / a function below
table='
build    gcc                    cmd gcc
build    libc6-dev              hdr stdio.h
build    binutils               cmd ar
build    make                   cmd make
build    pkg-config             cmd pkg-config
build    autoconf               cmd autoconf
build    protobuf-compiler      cmd protoc
build    protobuf-c-compiler    cmd protoc-c
build    libprotobuf-c-dev      pc  libprotobuf-c
build    libevent-dev           pc  libevent_pthreads
build    liblmdb-dev            pc  lmdb
build    check                  pc  check
build    zlib1g-dev             pc  zlib
build    libdeflate-dev         hdr libdeflate.h
build    uthash-dev             hdr uthash.h
check    clang                  cmd clang
check    libclang-rt-dev        has libfuzzer
check    clang-format           cmd clang-format
check    python3                cmd python3
check    curl                   cmd curl
check    procps                 cmd ps
check    util-linux             cmd setarch
check    iproute2               cmd ip
check    nftables               cmd nft
clients  curl                   cmd curl
clients  default-jdk-headless   cmd javac
clients  maven                  cmd mvn
clients  golang-go              cmd go
clients  nodejs                 cmd node
clients  npm                    cmd npm
'

# Tools for the administrator live in directories that a user's PATH may lack.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

has_libfuzzer()
{
    echo 'int LLVMFuzzerTestOneInput(const char *d, unsigned long n); int LLVMFuzzerTestOneInput(const char *d,
          unsigned long n) { return d && n ? 0 : 0; }' |
        clang -fsanitize=fuzzer,address -x c -o /dev/null - 2>/dev/null
}

present()
{
    case $1 in
    cmd) command -v "$2" >/dev/null ;;
    pc) command -v pkg-config >/dev/null && pkg-config --exists "$2" ;;
    hdr) test -e "/usr/include/$2" || test -e "/usr/local/include/$2" ;;
    has) "has_$2" ;;
    esac
}

only_say=no
if [ "${1:-}" = -n ]; then
    only_say=yes
    shift
fi
[ $# -gt 0 ] || set -- build

missing=
for group; do
    case $group in
    build | check | clients) ;;
    *)
        echo "install-deps: unknown group \"$group\"; there are: build check clients" >&2
        exit 2
        ;;
    esac
    while read -r row package kind what; do
        [ "$row" = "$group" ] || continue
        present "$kind" "$what" || missing="$missing $package"
    done <<END
$table
END
done
[ -n "$missing" ] || exit 0

missing=$(printf '%s\n' $missing | sort -u | tr '\n' ' ')
echo "install-deps: missing for $*: $missing"
[ $only_say = no ] || exit 1

if ! command -v apt-get >/dev/null; then
    echo "install-deps: no apt-get here; please install what these Debian packages hold, then run make again" >&2
    exit 1
fi
if [ "$(id -u)" -eq 0 ]; then
    as_root=
elif command -v sudo >/dev/null; then
    as_root=sudo
else
    echo "install-deps: neither root nor sudo; as root, run: apt-get install $missing" >&2
    exit 1
fi

# The package lists may be missing or too old to name files that still exist: refresh them once, when needed.
install="$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends"
quietly()
{
    "$@" </dev/null >"$log" 2>&1
}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "install-deps: installing with apt-get"
if ! quietly $install $missing; then
    echo "install-deps: refreshing the package lists"
    quietly $as_root apt-get update -q || { tail -n 20 "$log" >&2; exit 1; }
    quietly $install $missing || { tail -n 20 "$log" >&2; exit 1; }
fi
echo "install-deps: done"
