#!/bin/sh
# Installs what pip and npm cannot bring, where it is missing and where this may be done: on Debian and its kin, as root
# or with a sudo that asks nothing. Elsewhere it says what to install. It never fails: what is missing shows later.
#
#     system_packages.sh venv PYTHON    the modules that `PYTHON -m venv` needs
#     system_packages.sh browser        Node.js, npm and Chromium, for the tests
#     system_packages.sh services       RabbitMQ, Redis and PostgreSQL, for the tests and the bench, which start their own
#     system_packages.sh proxies        nginx, haproxy and Apache, for the tests, which start their own
#     system_packages.sh operations     systemd's tools, logrotate, Prometheus, zsh, fish and groff, for the tests of deploy/
#     system_packages.sh packaging      debootstrap, lintian, podman, podman-compose and runc, for the tests of package and image
#     system_packages.sh clock          libfaketime, for the tests that set a daemon's clock
#     system_packages.sh disk           a C compiler, for the library of a slow disk
#     system_packages.sh readme         Debian's Python and make, from which a test makes a bare machine
set -u

wanted=""
case "${1:-}" in
    venv)
        version=$("$2" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        "$2" -c 'import ensurepip, venv' 2>/dev/null || wanted="python$version-venv"
        ;;
    browser)
        command -v node >/dev/null || wanted="$wanted nodejs"
        command -v npm >/dev/null || wanted="$wanted npm"
        command -v chromium >/dev/null || command -v chromium-browser >/dev/null ||
            command -v google-chrome >/dev/null || wanted="$wanted chromium"
        ;;
    services)
        # RabbitMQ's program is in its own directory, and on the path only of root.
        test -x /usr/lib/rabbitmq/bin/rabbitmq-server || wanted="$wanted rabbitmq-server"
        command -v redis-server >/dev/null || wanted="$wanted redis-server"
        command -v curl >/dev/null || wanted="$wanted curl"
        # Its programs are in a directory of its version, and on nobody's path.
        ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || command -v postgres >/dev/null ||
            wanted="$wanted postgresql"
        ;;
    proxies)
        # Their programs are on the path only of root.
        test -x /usr/sbin/nginx || wanted="nginx-light"
        test -x /usr/sbin/haproxy || wanted="$wanted haproxy"
        test -x /usr/sbin/apache2 || wanted="$wanted apache2-bin"
        ;;
    operations)
        command -v systemd-analyze >/dev/null || wanted="systemd"
        test -x /usr/sbin/logrotate || wanted="$wanted logrotate"
        command -v promtool >/dev/null || wanted="$wanted prometheus"
        command -v zsh >/dev/null || wanted="$wanted zsh"
        command -v fish >/dev/null || wanted="$wanted fish"
        command -v groff >/dev/null || wanted="$wanted groff-base"
        ;;
    packaging)
        test -x /usr/sbin/debootstrap || wanted="debootstrap"
        command -v lintian >/dev/null || wanted="$wanted lintian"
        command -v podman >/dev/null || wanted="$wanted podman"
        command -v podman-compose >/dev/null || wanted="$wanted podman-compose"
        test -x /usr/sbin/runc || command -v runc >/dev/null || wanted="$wanted runc"
        ;;
    clock)
        # Its library alone, which lies in a directory of the machine's kind.
        find /usr/lib /usr/lib64 -name libfaketimeMT.so.1 2>/dev/null | grep -q . || wanted="libfaketime"
        ;;
    disk)
        command -v cc >/dev/null || wanted="gcc libc6-dev"
        ;;
    readme)
        # Debian's own, whatever Python runs the tests. On other systems that test is skipped.
        command -v dpkg-query >/dev/null || exit 0
        for name in python3 python3-venv make ca-certificates; do
            dpkg-query --show --showformat='${db:Status-Abbrev}' "$name" 2>/dev/null | grep -q '^ii' || wanted="$wanted $name"
        done
        ;;
    *)
        echo "usage: $0 venv PYTHON | browser | services | proxies | operations | packaging | clock | disk | readme" >&2
        exit 2
        ;;
esac
test -n "$wanted" || exit 0

as_root=""
if [ "$(id -u)" != 0 ]; then
    as_root="sudo -n"
    sudo -n true 2>/dev/null || as_root="no"
fi
if [ "$as_root" = no ] || ! command -v apt-get >/dev/null; then
    echo "please install:$(printf ' %s' $wanted)" >&2
    exit 0
fi
echo "installing:$(printf ' %s' $wanted)"
log=$(mktemp)
# One list of packages is tried first; a fresh image has none, then it is fetched.
install="$as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $wanted"
$install >"$log" 2>&1 || { $as_root apt-get update >"$log" 2>&1 && $install >"$log" 2>&1; } || {
    tail -n 5 "$log" >&2
    echo "could not install:$(printf ' %s' $wanted)" >&2
}
rm -f "$log"
exit 0
