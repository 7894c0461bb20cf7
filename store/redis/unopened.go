package redis

import (
	"errors"
	"log/slog"
	"sync/atomic"
	"time"
)

// sayEvery is how often at most the log tells of values that do not open. While
// keys are changed, node by node, there are some for each request.
const sayEvery = time.Minute

// unopened counts the values that there is no key for, and those in plain where
// all are to be sealed. They are misses, but ones that somebody should know of:
// a node that lacks a key is a node with a cold cache. It is safe for
// concurrent use.
type unopened struct {
	log                   *slog.Logger
	unknownKey, notSealed atomic.Int64
	saidAt                atomic.Int64 // when the log was last told, in nanoseconds since 1970
}

// note counts err if it says that a value could not be opened, and says whether
// it does.
func (u *unopened) note(err error) bool {
	switch {
	case err == nil:
		return false
	case errors.Is(err, errNotSealed):
		u.notSealed.Add(1)
	case isUnknownKey(err):
		u.unknownKey.Add(1)
	default:
		return false
	}
	now, last := time.Now().UnixNano(), u.saidAt.Load()
	if now-last >= int64(sayEvery) && u.saidAt.CompareAndSwap(last, now) {
		u.log.Warn("values in redis cannot be opened here, and count as misses", "the_last", err.Error(),
			"unknown_key", u.unknownKey.Load(), "not_encrypted", u.notSealed.Load())
	}
	return true
}

func isUnknownKey(err error) bool {
	_, ok := errors.AsType[*unknownKeyError](err)
	return ok
}
