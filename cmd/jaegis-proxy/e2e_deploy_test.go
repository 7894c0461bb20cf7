package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"jaegis-proxy/store/storetest"
)

// The tests here run Redis with the very files of deploy/redis, on other ports
// and in other folders.

func deployed(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("../../deploy/redis", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// deployRedis starts a server with redis.conf and users.acl, and what opts say.
// Sentinels have servers write down what they are in the file that they were
// started with: that is one that includes ours.
func deployRedis(t *testing.T, opts storetest.ServerOptions) *storetest.RedisServer {
	t.Helper()
	if opts.Config == "" {
		opts.Config = including(t, "redis.conf")
	}
	opts.ACLFile = deployed(t, "users.acl")
	return storetest.StartServer(t, opts)
}

// asAdmin gives a client of the user admin.
func asAdmin(t *testing.T, server *storetest.Server) *goredis.Client {
	t.Helper()
	c := goredis.NewClient(&goredis.Options{Addr: server.Addr, Username: "admin", Password: "change-me-admin", Protocol: 2, DisableIdentity: true})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// redisYAML is a configuration whose routes are in Redis alone; redis is the
// content of cache.redis.
func redisYAML(redis string) string {
	return fmt.Sprintf(`
upstreams: {origin: {url: ORIGIN}}
cache:
  redis: {%s}
  compression: {enabled: false}
  memory: {max_bytes: 0}
routes:
  - {name: cached, match: {path: /c/*}, ttl: 1h}
`, redis)
}

const asJaegis = "username: jaegis, password: change-me-jaegis"

// useAll stores answers of all kinds, has them from Redis, and purges.
func (r *rig) useAll(t *testing.T) {
	t.Helper()
	for _, path := range []string{"/c/small", "/c/large?pad=3000000"} {
		r.fromRedis(t, path)
		r.purge(t, `{"route":"cached"}`)
		if got := r.whole(t, send("POST", path, "hello")); got.xCache() != "MISS" {
			t.Errorf("%s after a purge: %s", path, got.status())
		}
	}
}

// Under the rules of the guide everything works, and Redis denies nothing.
func TestTheDeployedUserMayDoAllThatIsNeeded(t *testing.T) {
	server := deployRedis(t, storetest.ServerOptions{})
	admin := asAdmin(t, server.Server)
	r := e2e(t, redisYAML(fmt.Sprintf("url: %q, %s", server.URL, asJaegis)))
	r.useAll(t)
	r.fromRedis(t, "/c/small")
	if denied, err := admin.Do(t.Context(), "acl", "log").Slice(); err != nil || len(denied) != 0 {
		t.Errorf("denied: %v, %v", denied, err)
	}
	for name, want := range map[string]string{"maxmemory-policy": "allkeys-lru", "save": "", "replica-serve-stale-data": "no"} {
		if got, err := admin.ConfigGet(t.Context(), name).Result(); err != nil || got[name] != want {
			t.Errorf("%s is %q, %v; want %q", name, got[name], err, want)
		}
	}
	if got := r.readyz(t); got.Status != "ok" {
		t.Errorf("%+v", got)
	}
	if strings.Contains(r.Log(), "change-me") {
		t.Error("the log has a password")
	}
}

// Whatever permission is missing, the log says which rule to add, and requests
// are served.
func TestTheLogSaysWhichPermissionIsMissing(t *testing.T) {
	t.Parallel() // it waits, mostly
	f := func(what, rule string, change ...any) {
		t.Run(what, func(t *testing.T) {
			server := deployRedis(t, storetest.ServerOptions{})
			admin := asAdmin(t, server.Server)
			if err := admin.Do(t.Context(), append([]any{"acl", "setuser", "jaegis"}, change...)...).Err(); err != nil {
				t.Fatal(err)
			}
			yaml := redisYAML(fmt.Sprintf("url: %q, %s", server.URL, asJaegis))
			r := e2e(t, strings.Replace(yaml, "cache:\n", "cache:\n  shared_fills: {enabled: true}\n", 1))
			want := "the user lacks a permission: add " + rule + " to its ACL rules"
			storetest.Eventually(t, patience, want, func() bool {
				r.whole(t, send("POST", fmt.Sprintf("/c/%d", time.Now().UnixNano()), "hello"))
				return strings.Contains(r.Log(), want)
			})
		})
	}
	f("to read", "+getrange", "-getrange")
	f("to write", "+set", "-set")
	f("to read the ledger", "+xread", "-xread")
	f("to write the ledger", "+eval", "-eval")
	f("to write the ledger in a script", "+xrevrange +xadd", "-xadd")
	f("to fetch for all nodes", "+time +get +set", "-time")
	f("on the names", "~jaegis:*", "resetkeys", "~others:*")
	f("on the names of the ledger", "~jaegis:*", "resetkeys", "~jaegis:default:*", "~jaegis:probe")
}

// deployCerts runs make-certs.sh.
func deployCerts(t *testing.T, names ...string) *storetest.Certs {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command(deployed(t, "make-certs.sh"), append([]string{dir}, names...)...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	certs, err := storetest.LoadCerts(dir)
	if err != nil {
		t.Fatal(err)
	}
	return certs
}

// including gives a configuration file that includes others of deploy/redis.
func including(t *testing.T, names ...string) string {
	t.Helper()
	var conf strings.Builder
	for _, name := range names {
		fmt.Fprintf(&conf, "include %s\n", deployed(t, name))
	}
	file := filepath.Join(t.TempDir(), "redis.conf")
	if err := os.WriteFile(file, []byte(conf.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestTheDeployedTLS(t *testing.T) {
	t.Parallel() // it waits, mostly
	certs := deployCerts(t, "redis.internal")
	server := deployRedis(t, storetest.ServerOptions{Config: including(t, "redis.conf", "tls.conf"), TLS: certs})
	with := func(tls string) string {
		return redisYAML(fmt.Sprintf("url: %q, %s, tls: {%s}", server.URL, asJaegis, tls))
	}
	own := fmt.Sprintf("ca_file: %q, cert_file: %q, key_file: %q", certs.CAFile, certs.ClientCertFile, certs.ClientKeyFile)
	for _, tls := range []string{own, own + ", server_name: redis.internal"} {
		r := e2e(t, with(tls))
		r.useAll(t)
		r.Stop()
	}
	f := func(tls, why string) {
		t.Helper()
		r := e2e(t, with(tls))
		r.awaitReadyz(t, "degraded", patience)
		r.whole(t, send("POST", "/c/a", "hello"))
		if got := r.readyz(t); !strings.Contains(got.Degraded[0].Error, why) {
			t.Errorf("%s: %q, want %q", tls, got.Degraded[0].Error, why)
		}
		r.Stop()
	}
	f(own+", server_name: other.internal", "not other.internal")
	f(fmt.Sprintf("ca_file: %q", certs.CAFile), "") // what the proxy sees of it is the end of the connection
	f(fmt.Sprintf("ca_file: %q, cert_file: %q, key_file: %q", deployCerts(t).CAFile, certs.ClientCertFile, certs.ClientKeyFile), "unknown authority")
}

// deploySentinel starts a primary, two replicas and three sentinels.
func deploySentinel(t *testing.T) (servers []*storetest.RedisServer, sentinels []string) {
	t.Helper()
	for i := range 3 {
		opts := storetest.ServerOptions{}
		if i > 0 {
			opts.ReplicaOf = servers[0].Addr
		}
		servers = append(servers, deployRedis(t, opts))
	}
	text, err := os.ReadFile(deployed(t, "sentinel.conf"))
	if err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(servers[0].Addr)
	if err != nil {
		t.Fatal(err)
	}
	const monitor = "sentinel monitor jaegis 127.0.0.1 6379 2"
	if !strings.Contains(string(text), monitor) {
		t.Fatalf("sentinel.conf has no %q", monitor)
	}
	for range 3 {
		conf := strings.Replace(string(text), monitor, "sentinel monitor jaegis "+host+" "+port+" 2", 1)
		file := filepath.Join(t.TempDir(), "sentinel.conf")
		if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
			t.Fatal(err)
		}
		sentinels = append(sentinels, storetest.StartServer(t, storetest.ServerOptions{Config: file, Args: []string{"--sentinel"}}).Addr)
	}
	return servers, sentinels
}

// asPeer asks a sentinel.
func asPeer(t *testing.T, addr string) *goredis.SentinelClient {
	t.Helper()
	c := goredis.NewSentinelClient(&goredis.Options{Addr: addr, Username: "peer", Password: "change-me-peer", Protocol: 2, DisableIdentity: true})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestTheDeployedSentinels(t *testing.T) {
	t.Parallel() // it waits, mostly
	servers, sentinels := deploySentinel(t)
	know := func(addr string) bool { // each other, and the replicas
		c := asPeer(t, addr)
		peers, err1 := c.Sentinels(t.Context(), "jaegis").Result()
		replicas, err2 := c.Replicas(t.Context(), "jaegis").Result()
		up := 0
		for _, r := range replicas {
			if r["flags"] == "slave" && r["master-link-status"] == "ok" {
				up++
			}
		}
		return err1 == nil && err2 == nil && len(peers) == 2 && up == 2
	}
	for _, addr := range sentinels {
		storetest.Eventually(t, 3*patience, "a sentinel that knows all", func() bool { return know(addr) })
	}
	r := e2e(t, redisYAML(fmt.Sprintf("mode: sentinel, addresses: [%q, %q, %q], master_name: jaegis, sentinel_username: jaegis, sentinel_password: change-me-jaegis-sentinel, %s",
		sentinels[0], sentinels[1], sentinels[2], asJaegis)))
	r.useAll(t)
	l := r.begin(t, 4)
	l.pass(t, 200)
	servers[0].Kill()
	began := time.Now()
	r.awaitReadyz(t, "degraded", patience)
	r.awaitReadyz(t, "ok", 2*patience)
	t.Logf("back in use after %v", time.Since(began))
	l.pass(t, 200)
	l.end(t)
	r.useAll(t)
	for _, s := range servers[1:] {
		if denied, err := asAdmin(t, s.Server).Do(t.Context(), "acl", "log").Slice(); err != nil || len(denied) != 0 {
			t.Errorf("denied: %v, %v", denied, err)
		}
	}
	for _, addr := range sentinels {
		c := goredis.NewClient(&goredis.Options{Addr: addr, Username: "peer", Password: "change-me-peer", Protocol: 2, DisableIdentity: true})
		denied, err := c.Do(t.Context(), "acl", "log").Slice()
		if err != nil || len(denied) != 0 {
			t.Errorf("a sentinel denied: %v, %v", denied, err)
		}
		_ = c.Close()
	}
}

// TestTheDeployedCluster joins nodes as the guide has it.
func TestTheDeployedCluster(t *testing.T) {
	t.Parallel() // it waits, mostly
	conf := including(t, "redis.conf", "cluster.conf")
	var nodes []*storetest.RedisServer
	for range 3 {
		_, bus, err := net.SplitHostPort(storetest.FreeAddr(t))
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, deployRedis(t, storetest.ServerOptions{Config: conf, Args: []string{"--cluster-port", bus}}))
	}
	for i, node := range nodes {
		admin := asAdmin(t, node.Server)
		if err := admin.ClusterAddSlotsRange(t.Context(), i*16384/3, (i+1)*16384/3-1).Err(); err != nil {
			t.Fatal(err)
		}
		bus, err := admin.ConfigGet(t.Context(), "cluster-port").Result()
		if err != nil {
			t.Fatal(err)
		}
		host, port, _ := net.SplitHostPort(node.Addr)
		for _, other := range nodes {
			if err := asAdmin(t, other.Server).Do(t.Context(), "cluster", "meet", host, port, bus["cluster-port"]).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, node := range nodes {
		storetest.Eventually(t, 2*patience, "a cluster", func() bool {
			info, err := asAdmin(t, node.Server).ClusterInfo(t.Context()).Result()
			return err == nil && strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:3")
		})
	}
	r := e2e(t, redisYAML(fmt.Sprintf("mode: cluster, addresses: [%q], %s", nodes[0].Addr, asJaegis)))
	r.useAll(t)
	for _, node := range nodes {
		if denied, err := asAdmin(t, node.Server).Do(t.Context(), "acl", "log").Slice(); err != nil || len(denied) != 0 {
			t.Errorf("denied: %v, %v", denied, err)
		}
	}
}
