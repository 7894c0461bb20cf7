package config

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// minRedisConnections is the least with which everything has a connection of
// its own that needs one. Fewer count as so many.
const minRedisConnections = 10

func (ck *checker) redis(key string, r Redis) {
	ck.topology(key, r)
	ck.atLeast(key+".max_connections", int64(r.MaxConnections), 1)
	ck.positive(key+".socket_timeout", r.SocketTimeout)
	ck.notNegative(key+".socket_connect_timeout", r.SocketConnectTimeout)
	ck.notNegative(key+".health_check_interval", r.HealthCheckInterval)
	if r.HealthCheckInterval > 0 && r.HealthCheckInterval < r.Budget {
		ck.fail(key+".health_check_interval", r.HealthCheckInterval.String()+" is less than the budget of a lookup", "write 30s, or 0 for connections that never age")
	}
	ck.positive(key+".budget", r.Budget)
	ck.atLeast(key+".db", int64(r.DB), 0)
	if (r.TLS.CertFile == "") != (r.TLS.KeyFile == "") {
		ck.fail(key+".tls", "cert_file and key_file belong together", "set both or neither")
	}
	if r.URL != "" {
		ck.redisURL(key, r)
	}
}

// topology checks what depends on the mode.
func (ck *checker) topology(key string, r Redis) {
	if !ck.oneOf(key+".mode", r.Mode, "single", "sentinel", "cluster") {
		return
	}
	for i, addr := range r.Addresses {
		host, port, err := net.SplitHostPort(addr)
		if n, perr := strconv.ParseUint(port, 10, 16); err != nil || host == "" || perr != nil || n == 0 {
			ck.fail(fmt.Sprintf("%s.addresses[%d]", key, i), strconv.Quote(withoutUser(addr))+" is not host:port", "write redis-1:6379; a user, a password and TLS have keys of their own")
		}
	}
	switch r.Mode {
	case "single":
		if len(r.Addresses) > 0 {
			ck.fail(key+".addresses", "one server has one address, in url", "set mode: sentinel or mode: cluster, or leave the addresses out")
		}
		if r.ReadReplicas {
			ck.fail(key+".read_replicas", "one server has no replicas that are known", "set mode: sentinel or mode: cluster")
		}
	case "sentinel":
		if len(r.Addresses) == 0 {
			ck.fail(key+".addresses", "mode sentinel needs the sentinels' addresses", "write addresses: [sentinel-1:26379, sentinel-2:26379, sentinel-3:26379]")
		}
		if r.MasterName == "" {
			ck.fail(key+".master_name", "mode sentinel needs the name that the sentinels have for the primary", "it is what follows \"sentinel monitor\" in their configuration, such as mymaster")
		}
	case "cluster":
		if !r.InUse() {
			ck.fail(key+".addresses", "mode cluster needs the address of a node", "write addresses: [redis-1:6379, redis-2:6379], of some of its nodes")
		}
		if r.DB != 0 {
			ck.fail(key+".db", fmt.Sprintf("%d, and a cluster has database 0 alone", r.DB), "leave it out")
		}
	}
	if r.Mode != "sentinel" {
		ck.onlySentinel(key+".master_name", r.MasterName)
		ck.onlySentinel(key+".sentinel_username", r.SentinelUsername)
		ck.onlySentinel(key+".sentinel_password", string(r.SentinelPassword))
	} else if r.SentinelUsername != "" && r.SentinelPassword == "" {
		ck.fail(key+".sentinel_username", "has no password", "set sentinel_password")
	}
}

func (ck *checker) onlySentinel(key, value string) {
	if value != "" {
		ck.fail(key, "set, and the mode is not sentinel", "set mode: sentinel, or leave it out")
	}
}

// withoutUser leaves out of an address what may be a password.
func withoutUser(addr string) string {
	if at := strings.LastIndexByte(addr, '@'); at >= 0 {
		return "****" + addr[at:]
	}
	return addr
}

func (ck *checker) redisURL(key string, r Redis) {
	u := ck.url(key+".url", string(r.URL), "redis", "rediss")
	if u == nil {
		return
	}
	if u.RawQuery != "" || u.Fragment != "" {
		ck.fail(key+".url", "has a query or a fragment", "use the keys of "+key+" instead")
	}
	if db := strings.Trim(u.Path, "/"); db != "" {
		n, err := strconv.ParseUint(db, 10, 31)
		switch {
		case err != nil:
			ck.fail(key+".url", "what follows the host is not the number of a database", "write redis://host:port/0")
		case r.DB != 0 && int(n) != r.DB:
			ck.fail(key+".db", fmt.Sprintf("%d, and the URL says %d", r.DB, n), "keep one of them")
		case r.Mode == "cluster" && n != 0:
			ck.fail(key+".url", fmt.Sprintf("says database %d, and a cluster has 0 alone", n), "leave it out")
		}
	}
	if u.Scheme == "redis" && r.TLS != (RedisTLS{}) {
		ck.fail(key+".tls", "set for a URL without TLS", "begin the URL with rediss://")
	}
}
