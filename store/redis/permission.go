package redis

import (
	"crypto/sha1"
	"encoding/hex"
	"regexp"
	"strings"

	goredis "github.com/redis/go-redis/v9"
)

// scriptDenied is how Redis says NOPERM of a command in a script.
const scriptDenied = "The user executing the script can't"

// rule gives the ACL rules for want of which Redis has refused, empty where it
// is not for want of one.
func rule(err error) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	inScript := strings.Contains(text, scriptDenied)
	switch {
	case !inScript && !goredis.HasErrorPrefix(err, "NOPERM"):
		return ""
	case strings.Contains(text, "channel"):
		return "&jaegis:*"
	case strings.Contains(text, "key"):
		return "~jaegis:*"
	case inScript:
		return scriptNeeds(text)
	}
	if _, after, ok := strings.Cut(text, "'"); ok {
		command, _, _ := strings.Cut(after, "'")
		return "+" + command
	}
	return "+@all -@dangerous"
}

var aDigest = regexp.MustCompile(`[0-9a-f]{40}`)

// scriptNeeds gives all that a script calls: Redis does not say which of its
// commands it has refused, but names the script by its digest.
func scriptNeeds(refusal string) string {
	switch aDigest.FindString(refusal) {
	case appendRecord.Hash():
		return "+xrevrange +xadd"
	case digest(setIfScript):
		return "+get +getrange +set"
	case digest(rewriteScript):
		return "+get +getrange +pexpire +set"
	case claimScript.Hash():
		return "+time +get +set"
	case renewScript.Hash():
		return "+time +get +set +pexpire +exists"
	case releaseScript.Hash():
		return "+get +del +set"
	case addScript.Hash():
		return "+xrevrange +exists +pexpire +xadd +xtrim"
	case signScript.Hash():
		return "+hset +pexpire"
	case pushScript.Hash():
		return "+rpush +pexpire"
	}
	return "+@all -@dangerous"
}

// digest is what Redis calls a script by.
func digest(script string) string {
	sum := sha1.Sum([]byte(script))
	return hex.EncodeToString(sum[:])
}
