#!/bin/sh
# apk for Alpine's tags, which stand on Debian here: `apk add` and `apk del` by a table of names
# (/usr/share/cais/apk-packages). A name that is not in the table is an error: guessing would install something else.
set -eu
table=/usr/share/cais/apk-packages
virtuals=/var/lib/cais/apk
command='' virtual='' names=''

while [ $# -gt 0 ]; do
  case $1 in
    -t | --virtual) virtual=$2; shift ;;
    --virtual=*) virtual=${1#*=} ;;
    -X | --repository | --repositories-file | -p | --root | --arch | --keys-dir | --cache-dir | --wait | --timeout) shift ;;
    -V | --version) command=version ;;
    -*) ;;
    *) if [ -z "$command" ]; then command=$1; else names="$names $1"; fi ;;
  esac
  shift
done

# Debian's names for one of Alpine's, without its version (`nodejs~=20`) and repository (`vim@edge`).
translated() {
  plain=${1%%[<>=~@]*}
  if ! awk -v name="$plain" '$1 == name { $1 = ""; print; found = 1 } END { exit !found }' "$table"; then
    echo "apk: cannot install $plain: this Alpine tag stands on Debian, and the table of names does not have it" >&2
    echo "apk: use the image's Debian tag (-slim) and apt-get install, or name its Debian package there" >&2
    exit 1
  fi
}

apt() {
  DEBIAN_FRONTEND=noninteractive apt-get -q "$@"
}

# Where Alpine has them. Images name these paths in ENTRYPOINT, and nothing stands in the way of what is there already.
paths() {
  while read -r path debian; do
    [ ! -x "$debian" ] || [ -e "$path" ] || ln -s "$debian" "$path"
  done <<'END'
/sbin/su-exec /usr/sbin/gosu
/sbin/tini /usr/bin/tini
/usr/bin/chromium-browser /usr/bin/chromium
/usr/bin/vim /usr/bin/vim.tiny
/usr/bin/yarn /usr/bin/yarnpkg
END
}

case $command in
  add)
    wanted=''
    for name in $names; do
      case $name in
        .*) [ -f "$virtuals/$name" ] && continue ;;
      esac
      debian=$(translated "$name")
      wanted="$wanted $debian"
    done
    wanted=$(echo $wanted)
    if [ -n "$virtual" ]; then
      mkdir -p "$virtuals"
      # What is there already was not brought by this name and does not go with it.
      new=''
      for package in $wanted; do
        dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -q '^installed$' || new="$new $package"
      done
      echo $new >"$virtuals/$virtual"
    fi
    if [ -n "$wanted" ]; then
      [ -n "$(find /var/lib/apt/lists -name '*Packages*' -print -quit)" ] || apt update
      apt install -y --no-install-recommends $wanted
      paths
      rm -rf /var/lib/apt/lists/*Packages*
    fi
    ;;
  del)
    gone=''
    for name in $names; do
      if [ -f "$virtuals/$name" ]; then
        gone="$gone $(cat "$virtuals/$name")"
        rm -f "$virtuals/$name"
      else
        debian=$(translated "$name")
        gone="$gone $debian"
      fi
    done
    gone=$(echo $gone)
    [ -z "$gone" ] || apt purge -y --auto-remove $gone
    ;;
  update | upgrade | fix | cache | '') ;;
  info) dpkg-query -W -f '${Package}\n' $names ;;
  version) echo "apk-tools (a stand-in on Debian)" ;;
  *)
    echo "apk: cannot do '$command' here: this Alpine tag stands on Debian; use the image's Debian tag" >&2
    exit 1
    ;;
esac
