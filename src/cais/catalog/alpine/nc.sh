#!/bin/sh
# nc as Alpine's BusyBox has it (networking/nc_bloaty.c): -z, -v, -n, -k, -s, -u, and the end of what it reads is told to
# the other side. Debian's BusyBox is built without those, OpenBSD's nc has them and lacks only -e.
set -eu
case " $* " in
  *' -e '*)
    # The other way round: Debian's BusyBox has -e, calls -lk -ll, and says nothing in any case.
    options=yes
    for word; do
      shift
      case $options$word in
        yes-lk | yes-kl) word=-ll ;;
        yes-v | yes-n) continue ;;
        yes-e) options='' ;;
      esac
      set -- "$@" "$word"
    done
    exec busybox nc "$@"
    ;;
esac
exec nc.openbsd -N "$@"
