#!/bin/sh
# Counts steps at its agent, from a shell: `buf curl` speaks gRPC over the agent's unix socket and knows the messages by reflection.
# Killed at any moment it goes on with the step that was not answered, and counts none twice: the request id is the step's name.
set -u
buf=${BUF:-buf}

# call SERVICE/METHOD JSON: one call as this workload. The token goes in by stdin: what is an argument can be read by others.
call() {
  printf 'authorization: Bearer %s\n' "$BLUEFLAME_TOKEN" |
    "$buf" curl --http2-prior-knowledge --protocol grpc --unix-socket "$BLUEFLAME_SOCKET" -H @- -d "$2" \
      "http://localhost/blueflame.node.v1.$1"
}

# field NAME: the value of a field in the JSON on stdin.
field() { sed -n "s/.*\"$1\": *\"\\{0,1\\}\\([^\",}]*\\).*/\\1/p" | head -n 1; }

while :; do
  if kept=$(call StateService/Get '{"key":"steps"}' 2>&1); then
    n=$(printf '%s' "$kept" | field value | base64 -d)
    revision=$(printf '%s' "$kept" | field revision)
    break
  fi
  case $kept in *not_found*) n=0 revision=0 && break ;; esac
  sleep 1 # the agent is away; it comes back
done
echo "go on after step $n"

while :; do
  step=$((n + 1))
  count=$(printf '%s' "$step" | base64)
  line=$(printf 'step %s' "$step" | base64)
  commit='{"requestId":"step-'$step'","operations":[
    {"put":{"key":"steps","value":"'$count'","expectedRevision":"'$revision'"}},
    {"append":{"log":"steps","entries":["'$line'"]}}]}'
  if call StateService/Commit "$commit" >/dev/null 2>&1; then
    n=$step revision=$step
    echo "step $n"
  fi
  call BeatService/Beat '{"status":"step '"$n"'"}' >/dev/null 2>&1
  sleep "${PAUSE_S:-1}"
done
