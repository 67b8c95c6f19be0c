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

# recall: how far it has come, and the revision that the next count is put on.
recall() {
  if kept=$(call StateService/Get '{"key":"steps"}' 2>&1); then
    n=$(printf '%s' "$kept" | field value | base64 -d)
    revision=$(printf '%s' "$kept" | field revision)
  else
    n=0 revision=0
    case $kept in *not_found*) ;; *) return 1 ;; esac
  fi
}

# advance: takes the step after $n.
advance() {
  step=$((n + 1))
  count=$(printf '%s' "$step" | base64)
  line=$(printf 'step %s' "$step" | base64)
  commit='{"requestId":"step-'$step'","operations":[
    {"put":{"key":"steps","value":"'$count'","expectedRevision":"'$revision'"}},
    {"append":{"log":"steps","entries":["'$line'"]}}]}'
  call StateService/Commit "$commit" >/dev/null 2>&1
}

# What is kept decides, not what this script remembers. An agent that is away comes back; without one it is over: the agent starts
# what has ended, and nobody is left behind by an agent that is gone.
failed=0
while [ "$failed" -lt "${GIVE_UP_AFTER:-60}" ]; do
  if recall && advance; then
    failed=0
    echo "step $step"
  else
    failed=$((failed + 1))
  fi
  call BeatService/Beat '{"status":"after step '"$n"', '"$failed"' failed"}' >/dev/null 2>&1
  sleep "${PAUSE_S:-1}"
done
echo "no step came through in $failed tries" >&2
exit 1
