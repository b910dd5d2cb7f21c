#!/bin/sh
# Upstream's prometheus keeps its data below the working directory when no path is given; Debian's in /var/lib, which
# is not the user's here and no volume.
path=--storage.tsdb.path=data/
case " $* " in *" --agent "* | *" --enable-feature="*agent*) path=--storage.agent.path=data-agent/ ;; esac
case " $*" in *" ${path%%=*}"*) exec /bin/prometheus "$@" ;; esac
exec /bin/prometheus "$@" "$path"
