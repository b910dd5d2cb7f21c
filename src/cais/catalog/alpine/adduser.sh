#!/bin/sh
# BusyBox's adduser, addgroup, deluser, delgroup (busybox 1.37, loginutils/) in terms of useradd and groupadd.
# Debian's own programs of these names are found behind this one in PATH; its packages call them with long options.
set -eu
self=${0##*/}
for word; do
  case $word in
    --force-badname | --allow-badname | --quiet | --disabled-login | --group) exec "/usr/sbin/$self" "$@" ;;
  esac
done

home='' gecos='' shell='' group='' uid='' gid='' system='' make_home=yes names=''
while [ $# -gt 0 ]; do
  case $1 in
    -h | --home) home=$2; shift ;;
    -g | --gecos | --gid) if [ "$self" = addgroup ]; then gid=$2; else gecos=$2; fi; shift ;;
    -s | --shell) shell=$2; shift ;;
    -G | --ingroup) group=$2; shift ;;
    -u | --uid) uid=$2; shift ;;
    -k | --skel) shift ;;
    -S | --system) system=yes ;;
    -H | --no-create-home) make_home= ;;
    -D | --disabled-password | --remove-home | --empty-password) ;;
    -*)
      # Options may be written together: -SDH, -DHG app.
      letters=${1#-}
      shift
      rest=''
      while [ -n "$letters" ]; do
        letter=${letters%"${letters#?}"}
        letters=${letters#?}
        case $letter in
          S) system=yes ;;
          H) make_home= ;;
          D) ;;
          [hgsGuk])
            value=$letters
            letters=''
            if [ -z "$value" ]; then value=$1; shift; fi
            case $letter in
              h) home=$value ;;
              g) if [ "$self" = addgroup ]; then gid=$value; else gecos=$value; fi ;;
              s) shell=$value ;;
              G) group=$value ;;
              u) uid=$value ;;
            esac
            ;;
          *) echo "$self: unrecognized option: $letter" >&2; exit 1 ;;
        esac
      done
      continue
      ;;
    *) names="$names $1" ;;
  esac
  shift
done
set -- $names
name=${1:?"$self: a name is needed"}

case $self in
  addgroup)
    if [ $# -eq 2 ]; then exec usermod -a -G "$2" "$1"; fi
    exec groupadd ${system:+-r} ${gid:+-g "$gid"} "$name"
    ;;
  adduser)
    if [ $# -eq 2 ]; then exec usermod -a -G "$2" "$1"; fi
    # Without -G: a group of its own name, but for system users, who are nobody's.
    if [ -n "$group" ]; then set -- -N -g "$group"
    elif [ -n "$system" ]; then
      if getent group "$name" >/dev/null; then set -- -N -g "$name"; else set -- -N -g nogroup; fi
    elif getent group "$name" >/dev/null; then set -- -N -g "$name"
    else
      groupadd ${uid:+-g "$uid"} "$name"
      set -- -N -g "$name"
    fi
    if [ -z "$shell" ]; then
      if [ -n "$system" ]; then shell=/sbin/nologin; else shell=/bin/sh; fi
    fi
    [ "$shell" != /sbin/nologin ] || shell=/usr/sbin/nologin
    if [ -n "$make_home" ]; then set -- "$@" -m; else set -- "$@" -M; fi
    exec useradd ${system:+-r} ${uid:+-u "$uid"} -c "$gecos" -d "${home:-/home/$name}" -s "$shell" "$@" "$name"
    ;;
  deluser)
    if [ $# -eq 2 ]; then exec gpasswd -d "$1" "$2"; fi
    exec userdel "$name"
    ;;
  delgroup) exec groupdel "$name" ;;
esac
