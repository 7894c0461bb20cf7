#!/usr/bin/env bash
# Measures what a cache hit costs: bare fasthttp answering from memory, nginx
# with a cache keyed on the request body, and jaegis-proxy, side by side in one
# run, before the same slow upstream that counts its calls. One wrk thread, 64
# connections. Writes results/<date>.md and a plot beside it.
#
#   ROUNDS=5 SECONDS_EACH=3 SERVERS="barefast nginx jaegis" benchmarks/run.sh
#
# About 3 minutes. All of it stays on 127.0.0.1.
set -euo pipefail
cd "$(dirname "$0")/.."

ROUNDS="${ROUNDS:-5}"
SECONDS_EACH="${SECONDS_EACH:-3}"
SERVERS="${SERVERS:-barefast nginx jaegis}"
CONNECTIONS=64
BODIES="${BODIES:-300B 2KB 16KB 200KB}"
export GOFLAGS="${GOFLAGS:-} -buildvcs=false"

OUT="${OUT:-benchmarks/results}"
DIR="$(mktemp -d)"
PIDS=()
# Ends what was started here, by process id and nothing else.
finish() {
	local pid
	for pid in "${PIDS[@]}"; do kill "$pid" 2>/dev/null || true; done
	for pid in "${PIDS[@]}"; do wait "$pid" 2>/dev/null || true; done
	rm -rf "$DIR"
}
trap finish EXIT
trap 'exit 130' INT TERM

fail() { echo "bench: $*" >&2; exit 1; }

install_tools() {
	local need=""
	command -v nginx >/dev/null || need="$need nginx-light"
	command -v wrk >/dev/null || need="$need wrk"
	command -v curl >/dev/null || need="$need curl"
	[ -n "$need" ] || return 0
	command -v apt-get >/dev/null || fail "please install:$need"
	[ "$(id -u)" = 0 ] || fail "please run, as root: apt-get update && apt-get install -y$need"
	apt-get update -q
	# shellcheck disable=SC2086 # a list
	DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -q -y --no-install-recommends $need
}

# The bodies are JSON, as an SDK would send it. The answer is 1,000 bytes:
# below the size from which answers are kept compressed, since wrk takes none.
make_bodies() {
	local spec size
	for spec in 300B:300 2KB:2048 16KB:16384 200KB:204800; do
		size="${spec#*:}"
		{
			printf '{"model":"bench","temperature":0,"messages":[{"role":"user","content":"'
			head -c $((size - 75)) < <(while :; do printf 'the quick brown fox jumps over the lazy dog '; done)
			printf '"}]}'
		} >"$DIR/${spec%%:*}.json"
	done
	{
		printf '{"answer":"'
		head -c 987 < <(while :; do printf 'identical work is done once '; done)
		printf '"}'
	} >"$DIR/answer.json"
}

build() {
	go build -o "$DIR/" ./benchmarks/barefast ./benchmarks/origin ./benchmarks/report
	case " $SERVERS " in
	*" jaegis "*) CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "$DIR/jaegis-proxy" ./cmd/jaegis-proxy ;;
	esac
}

# start NAME COMMAND... runs a server in the background; its id is in PID_NAME.
start() {
	local name="$1"
	shift
	"$@" >"$DIR/$name.out" 2>&1 &
	PIDS+=("$!")
	printf -v "PID_$name" %d "$!"
}

# await NAME URL waits until a server answers, for at most ten seconds.
await() {
	local name="$1" pid="PID_$1" tries
	for ((tries = 0; tries < 100; tries++)); do
		curl -s -o /dev/null --max-time 1 "$2" && return 0
		kill -0 "${!pid}" 2>/dev/null || break
		sleep 0.1
	done
	cat "$DIR/$name.out" >&2
	fail "$name does not answer at $2"
}

fill_in() {
	sed -e "s|@DIR@|$DIR|g; s|@ORIGIN@|$ORIGIN|g; s|@LISTEN@|$2|g; s|@ADMIN@|${3:-}|g" "$1"
}

# free_port prints a port that nothing listens on, and never one twice.
PORT=$((20000 + $$ % 10000))
next_port() {
	PORT=$((PORT + 1))
	while (exec 3<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; do PORT=$((PORT + 1)); done
}

start_all() {
	next_port; ORIGIN="127.0.0.1:$PORT"
	start origin "$DIR/origin" -listen "$ORIGIN" -body "$DIR/answer.json"
	await origin "http://$ORIGIN/count"
	local server
	for server in $SERVERS; do
		next_port; printf -v "AT_$server" %s "127.0.0.1:$PORT"
		local at="AT_$server"
		case "$server" in
		barefast) start barefast "$DIR/barefast" -listen "${!at}" -body "$DIR/answer.json" ;;
		nginx)
			chmod 755 "$DIR" # its workers are another user
			fill_in benchmarks/nginx.conf.in "${!at}" >"$DIR/nginx.conf"
			start nginx nginx -c "$DIR/nginx.conf" -g 'daemon off;'
			;;
		jaegis)
			next_port
			fill_in benchmarks/jaegis.yaml.in "${!at}" "127.0.0.1:$PORT" >"$DIR/jaegis.yaml"
			start jaegis "$DIR/jaegis-proxy" serve --config "$DIR/jaegis.yaml"
			;;
		*) fail "no such server: $server" ;;
		esac
		await "$server" "http://${!at}/count"
	done
}

# server_pids NAME prints the processes whose CPU time counts.
server_pids() {
	local pid="PID_$1" child
	echo "${!pid}"
	[ "$1" = nginx ] || return 0
	for child in $(cat "/proc/${!pid}/task/${!pid}/children"); do
		if grep -aq 'worker process' "/proc/$child/cmdline"; then echo "$child"; fi
	done
}

# cpu_us NAME prints the CPU time, user and system, in microseconds.
HZ="$(getconf CLK_TCK)"
cpu_us() {
	local pid ticks=0 stat
	for pid in $(server_pids "$1"); do
		stat="$(<"/proc/$pid/stat")"
		# shellcheck disable=SC2086 # fields
		set -- ${stat##*) }
		ticks=$((ticks + ${12} + ${13}))
	done
	echo $((ticks * 1000000 / HZ))
}

upstream_calls() { curl -s "http://$ORIGIN/count"; }

load() { # load ADDRESS BODY SECONDS
	BENCH_BODY="$DIR/$2.json" wrk -t1 -c"$CONNECTIONS" -d"$3"s -s benchmarks/post.lua "http://$1" | grep ^RESULT
}

# check asks each server for each body twice: the answer must be the right one.
check() {
	local server body at try
	for server in $SERVERS; do
		at="AT_$server"
		for body in $BODIES; do
			for try in 1 2; do
				curl -s --max-time 10 -H 'Content-Type: application/json' -H 'Authorization: Bearer benchmark' \
					-H 'Expect:' --data-binary "@$DIR/$body.json" "http://${!at}/convert/bench" |
					cmp -s - "$DIR/answer.json" || fail "$server: wrong answer to $body (request $try)"
			done
			load "${!at}" "$body" 1 >/dev/null
		done
	done
}

measure() { # measure ROUND SERVER BODY
	local at="AT_$2" cpu calls result
	sleep 0.3 # let the last load's unanswered requests end, so that they count for nobody
	calls="$(upstream_calls)" cpu="$(cpu_us "$2")"
	result="$(load "${!at}" "$3" "$SECONDS_EACH")"
	cpu=$(($(cpu_us "$2") - cpu)) calls=$(($(upstream_calls) - calls))
	printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "${result#RESULT$'\t'}" "$cpu" "$calls" | tee -a "$DIR/raw.tsv"
}

# The servers take turns, and a round begins with another one each time, so
# that what else the machine does falls on all of them.
measure_all() {
	local round body server order
	read -ra order <<<"$SERVERS"
	echo $'round\tserver\tbody\trequests\tseconds\tp50_us\tp99_us\tfailed\tcpu_us\tupstream' | tee "$DIR/raw.tsv"
	for ((round = 1; round <= ROUNDS; round++)); do
		for body in $BODIES; do
			for server in "${order[@]}"; do measure "$round" "$server" "$body"; done
		done
		order=("${order[@]:1}" "${order[0]}")
	done
}

versions() {
	echo "go $(go env GOVERSION | sed s/^go//), fasthttp $(go list -m -f '{{.Version}}' github.com/valyala/fasthttp), $(nginx -v 2>&1 | sed 's/^nginx version: //'), $(wrk -v 2>&1 | sed -n '1s/ Copyright.*//p'), jaegis-proxy $(git describe --tags --always --dirty 2>/dev/null || echo unknown)"
}

install_tools
LOAD_BEFORE="$(cut -d' ' -f1 /proc/loadavg)"
make_bodies
build
start_all
check
measure_all
mkdir -p "$OUT"
"$DIR/report" -out "$OUT/$(date -u +%Y-%m-%d)" \
	-command "ROUNDS=$ROUNDS SECONDS_EACH=$SECONDS_EACH SERVERS=\"$SERVERS\" benchmarks/run.sh" \
	-machine "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $(nproc) cores, Linux $(uname -r), load average before $LOAD_BEFORE" \
	-versions "$(versions)" <"$DIR/raw.tsv"
