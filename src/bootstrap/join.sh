#!/bin/bash
# Makes this VM a K3s agent. Made by slicer-cloud-provider; Slicer runs it once, after the first boot.
# Log: /var/log/slicer-cloud-provider-join.log; the stages also on /dev/console (Slicer's serial log).
# Needs bash, coreutils, grep, systemctl, and curl or wget. A second run with the same values changes nothing.
#
# Exit codes: 0 the agent is active, 10 unusable hostname, 11 no join token, 12 no installer, 13 installer failed,
# 14 agent not active in time, 15 anything else. After a failure the agent is stopped and disabled: a VM that was
# given up must not join later.
# shellcheck disable=SC2317,SC2329 # retry and trap call functions by name

# POSIX up to here: whoever ignores the first line may have used sh.
if [ -z "${BASH_VERSION:-}" ]; then
  # Through standard input or -c, $0 is the shell itself.
  grep -qs '^# Makes this VM a K3s agent' "$0" && exec /bin/bash "$0" "$@"
  echo 'this script needs bash' >&2
  exit 15
fi
set +x -euo pipefail # +x: a trace would show the token
set +o posix

# SLICER_JOIN_* are for tests: a directory that stands for /, what PATH holds after it, shorter waits in seconds.
root=${SLICER_JOIN_ROOT:-}
PATH=$root/usr/local/bin:$root/usr/bin:${SLICER_JOIN_PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}
deadline=${SLICER_JOIN_DEADLINE:-600} # for everything; the cluster-autoscaler gives up after 900
network_wait=${SLICER_JOIN_NETWORK_WAIT:-30}
secret_wait=${SLICER_JOIN_SECRET_WAIT:-120}
agent_wait=${SLICER_JOIN_AGENT_WAIT:-300}
pause_ms=${SLICER_JOIN_PAUSE_MS:-1000} # first pause between attempts
export PATH LC_ALL=C
umask 022

# --- values of this VM; empty if not known ---
k3s_url=@K3S_URL@
version=@VERSION@
channel=@CHANNEL@
install_url=@INSTALL_URL@
artifact_url=@ARTIFACT_URL@
secret_name=@TOKEN_SECRET@
launch=@LAUNCH@
# All of K3s's configuration but its end, which needs the hostname. It stops inside the list of node labels.
config=@CONFIG@
# --- end of values ---

log=$root/var/log/slicer-cloud-provider-join.log
console=$root/dev/console
secret=$root/run/slicer/secrets/$secret_name
token_file=$root/etc/rancher/k3s/agent-token
config_file=$root/etc/rancher/k3s/config.yaml
# Exists while the files above may be newer than what the agent has read.
pending=$root/etc/rancher/k3s/.join-pending
k3s=$root/usr/local/bin/k3s
stage=begin
work='' # private directory
failure='' # exit code that a stage chose
SECONDS=0

say() {
  local line
  line=$(TZ=UTC printf '%(%FT%TZ)T slicer-join [%s] %s' -1 "$stage" "$*")
  echo "$line"
  to_console "$line"
}

to_console() {
  [[ ! -w $console ]] || { echo "$1" >>"$console"; } 2>/dev/null || true
}

fail() {
  failure=$1
  say "$2"
  exit "$1"
}

finish() {
  local code=$?
  trap - EXIT
  set +e
  [[ -z $work ]] || rm -rf "$work"
  ((code != 0)) || exit 0
  code=${failure:-15}
  # What the failing program said: only the console can be read from outside.
  to_console "$(tail -n 8 "$log" 2>/dev/null)"
  say "failed with exit code $code, stopping and disabling the agent"
  timeout 60 systemctl stop k3s-agent
  timeout 60 systemctl disable k3s-agent
  exit "$code"
}

# left N: N, or the seconds left of the deadline if fewer, but at least 1 (`timeout 0` waits for ever).
left() {
  local rest=$((deadline - SECONDS))
  echo $((rest > $1 ? $1 : rest < 1 ? 1 : rest))
}

# pause N: 2^N (at most 16) times the first pause, plus up to half of that: many VMs may start at once.
pause() {
  local ms=$((pause_ms << ($1 < 4 ? $1 : 4)))
  ms=$((ms + RANDOM % (ms / 2 + 1)))
  sleep "$(printf '%d.%03d' $((ms / 1000)) $((ms % 1000)))"
}

# retry N COMMAND: until it succeeds, N times at most. COMMAND runs without `set -e`.
retry() {
  local attempts=$1 n
  for ((n = 1; ; n++)); do
    if "${@:2}"; then return 0; fi
    say "attempt $n of $attempts failed"
    if ((n >= attempts || SECONDS >= deadline)); then return 1; fi
    pause $((n - 1))
  done
}

# fetch URL FILE: one attempt. -g: curl must not expand {} and [] in a URL.
fetch() {
  if command -v curl >/dev/null; then
    curl -gfsSL --connect-timeout 10 --max-time "$(left 60)" -o "$2" "$1"
  else
    timeout "$(left 60)" wget -q -T 10 -t 1 -O "$2" "$1"
  fi
}

# cut_name N TEXT: at most N characters, with a letter or digit at the end.
cut_name() {
  local text=${2:0:$1}
  while [[ $text == *[.-] ]]; do text=${text%?}; done
  echo "$text"
}

# The hostname is all that the guest adds. Node names are labels, too: at most 63 characters.
name_node() {
  stage=hostname
  local part='[a-z0-9]([a-z0-9-]*[a-z0-9])?'
  host=$(hostname 2>/dev/null || uname -n)
  host=${host,,}
  if [[ $host == localhost || $host == localhost.* || ! $host =~ ^$part(\.$part)*$ ]]; then
    fail 10 "'$host' cannot name a Node"
  fi
  node_name=$(cut_name $((62 - ${#launch})) "$host")-$launch
  host=$(cut_name 63 "$host")
  say "joining $k3s_url as $node_name"
}

# Any answer will do, even an error: names resolve and packets pass.
server_answers() {
  local code=0
  fetch "$k3s_url/ping" "$work/ping" || code=$?
  # curl 6, 7, 28, wget 4, timeout 124: name not found, refused, too slow.
  case $code in 4 | 6 | 7 | 28 | 124) return 1 ;; esac
}

# No failure of its own: whatever needs the network tries again, and tells more exactly what is wrong.
wait_for_network() {
  stage=network
  local end n
  end=$((SECONDS + $(left "$network_wait")))
  for ((n = 0; ; n++)); do
    if server_answers; then return; fi
    if ((SECONDS >= end)); then break; fi
    pause $((n > 2 ? 2 : n))
  done
  say "$k3s_url does not answer, going on"
}

wait_for_secret() {
  stage=secret
  local end synced=''
  end=$((SECONDS + $(left "$secret_wait")))
  until grep -qs '[^[:space:]]' "$secret"; do
    if [[ -z $synced ]] && command -v slicer-agent >/dev/null; then
      synced=yes
      say "no $secret_name yet, asking slicer-agent for it"
      timeout 30 slicer-agent secrets sync >/dev/null 2>&1 || say 'slicer-agent secrets sync failed'
      continue
    fi
    ((SECONDS < end)) || fail 11 "no secret $secret_name after $secret_wait s"
    pause 0
  done
}

# replace FILE: FILE.new takes the place of FILE in one step, unless both say the same.
replace() {
  if [[ -f $1 && $(<"$1") == "$(<"$1.new")" ]]; then
    rm -f "$1.new"
    return
  fi
  : >"$pending"
  mv -f "$1.new" "$1"
}

# The token goes from file to file only: others can read environments and arguments.
write_config() {
  stage=configure
  mkdir -p "${config_file%/*}"
  install -m 0600 "$secret" "$token_file.new"
  replace "$token_file"
  (
    umask 077
    printf '%s\n' "$config" "  - \"slicer/hostname=$host\"" "node-name: \"$node_name\"" >"$config_file.new"
  )
  replace "$config_file"
}

agent_state() {
  local state
  if state=$(systemctl is-active k3s-agent 2>/dev/null); then state=active; fi
  echo "$state"
}

# Whether the image brought the exact version that is wanted.
has_version() {
  local text
  [[ -n $version && -x $k3s ]] && text=$(timeout 30 "$k3s" --version 2>/dev/null) &&
    [[ $text == "k3s version $version" || $text == "k3s version $version"[[:space:]]* ]]
}

is_joined() {
  [[ ! -e $pending && $(agent_state) == active ]]
}

# Not `curl | sh`: without network that installs nothing and succeeds.
get_installer() {
  case $install_url in
    /*) install -m 0700 "$root$install_url" "$work/install.sh" || return ;;
    *) fetch "$install_url" "$work/install.sh" || return ;;
  esac
  if [[ $(head -c 2 "$work/install.sh") != '#!' ]]; then
    say 'what came is no script'
    return 1
  fi
  chmod 0700 "$work/install.sh"
}

run_installer() {
  timeout -k 10 "$(left 300)" env "$@" "$work/install.sh" agent
}

install_k3s() {
  local values=(INSTALL_K3S_SKIP_START=true) # its start waits for ever if the agent cannot join
  stage=download
  retry 8 get_installer || fail 12 'no installer'
  stage=install
  if [[ -n $version ]]; then
    say "K3s $version"
    values+=("INSTALL_K3S_VERSION=$version")
  else
    say "no exact version known, the channel $channel decides"
    values+=("INSTALL_K3S_CHANNEL=$channel")
  fi
  [[ -z $artifact_url ]] || values+=("INSTALL_K3S_ARTIFACT_URL=$artifact_url")
  if has_version; then values+=(INSTALL_K3S_SKIP_DOWNLOAD=true); fi
  retry 3 run_installer "${values[@]}" || fail 13 'the installer failed'
}

start_agent() {
  stage=start
  local end verb=start
  # An agent that runs already, or still tries, has read an older configuration.
  case $(agent_state) in active | activating) verb=restart ;; esac
  systemctl "$verb" --no-block k3s-agent || fail 14 "systemctl cannot $verb the agent"
  end=$((SECONDS + $(left "$agent_wait")))
  while :; do
    # Also before the first look: until systemd begins the job, it tells the old state.
    pause 1
    case $(agent_state) in
      active) return ;;
      failed) break ;;
    esac
    if ((SECONDS >= end)); then break; fi
  done
  # The agent's own words tell why. A line with the token would be left out.
  if command -v journalctl >/dev/null; then
    timeout 10 journalctl -u k3s-agent -n 5 --no-pager -o cat | grep -vFf "$token_file" || true
  fi
  fail 14 "the agent is $(agent_state)"
}

main() {
  mkdir -p "${log%/*}" "$root/var/lib" || true
  if { : >>"$log"; } 2>/dev/null; then exec >>"$log" 2>&1; fi
  work=$(mktemp -d "$root/var/lib/slicer-join.XXXXXX") # /run and /tmp are often noexec
  name_node
  wait_for_network
  wait_for_secret
  write_config
  if is_joined; then
    say 'joined already, nothing changed'
    return
  fi
  install_k3s
  start_agent
  rm -f "$pending"
  stage=end
  say 'the agent is active'
}

trap finish EXIT
trap 'exit 15' HUP INT TERM
main </dev/null
exit 0
