#!/usr/bin/env bash
# Measures large uploads: how fast their parts are found and hashed, beside
# sha256sum in the same run; what processor time a hit on a large upload costs
# the proxy; and the memory of sixteen at once. Writes results/uploads-<date>.md.
#
#   MEGABYTES=100 HITS=10 benchmarks/uploads.sh
#
# About a minute. All of it stays on 127.0.0.1.
set -euo pipefail
cd "$(dirname "$0")/.."

MEGABYTES="${MEGABYTES:-100}"
HITS="${HITS:-10}"
OUT="${OUT:-benchmarks/results}"
export GOFLAGS="${GOFLAGS:-} -buildvcs=false"

DIR="$(mktemp -d "${TMPDIR:-/tmp}/jaegis-uploads-XXXXXX")"
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

PORT=$((20000 + $$ % 10000))
next_port() {
	PORT=$((PORT + 1))
	while (exec 3<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; do PORT=$((PORT + 1)); done
}

await() {
	local tries
	for ((tries = 0; tries < 100; tries++)); do
		curl -s -o /dev/null --max-time 1 "$1" && return 0
		sleep 0.1
	done
	echo "uploads: nothing answers at $1" >&2
	exit 1
}

# ticks PID prints the processor time that a process has used, in ticks.
ticks() { awk '{print $14 + $15}' "/proc/$1/stat"; }

gbps() { awk -v bytes="$1" -v seconds="$2" 'BEGIN { printf "%.2f", bytes / seconds / 1e9 }'; }

# rate BYTES COMMAND... prints how many GB a command takes for each second of
# processor time.
rate() {
	local bytes="$1" spent
	shift
	TIMEFORMAT='%U %S'
	spent="$({ time "$@" >/dev/null; } 2>&1 | awk '{print $1 + $2}')"
	gbps "$bytes" "$spent"
}

head -c "$((MEGABYTES * 1000000))" /dev/urandom >"$DIR/file.pdf"
for _ in 1 2 3 4 5; do cat "$DIR/file.pdf"; done >"$DIR/five"
echo '{"answer":"done"}' >"$DIR/answer.json"
CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "$DIR/" ./benchmarks/origin ./cmd/jaegis-proxy
go test -c -o "$DIR/cachekey.test" ./cachekey

sum="$(for _ in 1 2 3; do rate "$((5 * MEGABYTES * 1000000))" sha256sum "$DIR/five"; echo; done | sort -n | tail -1)"
bench="$(cd cachekey && "$DIR/cachekey.test" -test.run '^$' -test.bench BenchmarkDigest -test.benchtime 30x -test.cpu 1 | awk '/^BenchmarkDigest/ { sub("BenchmarkDigest/", "", $1); for (i = 2; i <= NF; i++) if ($i == "GB/core-s") printf "| %s | %.2f |\n", $1, $(i - 1) }' | sort)"

next_port; origin="127.0.0.1:$PORT"
"$DIR/origin" -listen "$origin" -body "$DIR/answer.json" & PIDS+=("$!")
next_port; listen="127.0.0.1:$PORT"
next_port
sed -e "s|@ORIGIN@|$origin|; s|@LISTEN@|$listen|; s|@ADMIN@|127.0.0.1:$PORT|" benchmarks/jaegis.yaml.in >"$DIR/jaegis.yaml"
"$DIR/jaegis-proxy" serve --config "$DIR/jaegis.yaml" & proxy="$!"; PIDS+=("$proxy")
await "http://$origin/count"; await "http://$listen/count"

ask() { curl -sS -o /dev/null -w '%header{x-cache} %{time_total}\n' -F "file=@$DIR/file.pdf" "http://$listen/convert/a"; }
miss="$(ask)"
calls="$(curl -s "http://$origin/count")"
before="$(ticks "$proxy")"
hits="$(for ((i = 0; i < HITS; i++)); do ask; done)"
spent="$(($(ticks "$proxy") - before))"
[ "$(grep -c '^HIT' <<<"$hits")" = "$HITS" ] && [ "$calls" = "$(curl -s "http://$origin/count")" ] || { echo "uploads: not all were hits: $hits" >&2; exit 1; }
hit_seconds="$(awk -v hz="$(getconf CLK_TCK)" -v t="$spent" 'BEGIN { print t / hz }')"
memory="$(go test -count=1 -run TestLargeUploadsTakeLittleMemory -v ./cmd/jaegis-proxy | sed -n 's/.*go:[0-9]*: \(.*MiB at most.*\)/- \1/p')"

report="$OUT/uploads-$(date +%Y-%m-%d).md"
cat >"$report" <<END
# Large uploads, $(date +%Y-%m-%d)

    benchmarks/uploads.sh

On $(awk -F': ' '/model name/ { print $2; exit }' /proc/cpuinfo), $(nproc) cores, $(go version | cut -d' ' -f3,4); everything ran on that machine, in this order. GB/s are 10^9 bytes for each second of processor time.

| hashing, one core | GB/s |
| --- | --- |
| sha256sum of a file, best of 3 | $sum |
$bench

\`multipart/X\` finds the parts of a form of random bytes by the boundary of client X, and hashes them, while it comes in pieces of 32 KiB; \`dashes/X\` is a file of dashes, the worst for the search; \`sha256\` is Go's SHA-256 alone.

| an upload of $MEGABYTES MB by curl | |
| --- | --- |
| miss, seconds | ${miss#* } |
| hit, seconds, median of $HITS | $(awk '{print $2}' <<<"$hits" | sort -n | sed -n "$(((HITS + 1) / 2))p") |
| processor time of a hit in the proxy, all of it (socket, file, hash) | $(gbps "$((HITS * MEGABYTES * 1000000))" "$hit_seconds") GB/s |
| sent upstream by $HITS hits | nothing |

Resident memory with sixteen uploads of 100 MB at once:

$memory
END
cat "$report"
