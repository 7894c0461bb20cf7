package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/store"
)

// The ledger of purges is a Redis Stream, and so are the deletions of single
// keys, which matter for as long as it takes to hear of them. The braces keep
// the two on one node of a Cluster, so that one blocking read follows both.
const (
	recordsName   = "jaegis:{ledger}:purges"
	deletionsName = "jaegis:{ledger}:deletions"

	// maxRecords is how many purges are kept, about. Entries from before the
	// oldest of them count as purged.
	maxRecords   = 16 << 10
	maxDeletions = 16 << 10

	// blockTime is how long a read waits for something to come. A journal that
	// was lost shows after that time at the latest.
	blockTime = 500 * time.Millisecond

	// journalConns is how many connections to a server are for following it.
	journalConns = 1
)

// journalPurpose is what those who follow it are for.
var journalPurpose = purpose{conns: journalConns, reply: 2 * blockTime, singly: true, eager: true}

// appendRecord adds a record to the ledger. Every record has the epoch, so that
// the oldest ones can be dropped; the one that a purge gets is that of the newest.
//
// KEYS: the stream. ARGV: an epoch to begin with, the epoch that is to end, the
// label or "", whether it is soft, how many records to keep. Gives the record's
// position and epoch.
var appendRecord = goredis.NewScript(`
local epoch = ARGV[1]
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if last then
	local now = last[2][2]
	if ARGV[3] ~= '' then
		epoch = now
	elseif now ~= ARGV[2] then
		return {last[1], now}
	end
end
return {redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[5], '*', 'e', epoch, 'l', ARGV[3], 's', ARGV[4]), epoch}
`)

// Append implements store.Journal.
func (s *Store) Append(ctx context.Context, r store.Record) (store.Record, error) {
	ctx, cancel := s.writeContext(ctx)
	defer cancel()
	soft := "0"
	if r.Soft {
		soft = "1"
	}
	argv := []any{strconv.FormatUint(r.Epoch, 10), strconv.FormatUint(r.After, 10), r.Label, soft, maxRecords}
	add := s.appendPurge
	if r.Label == "" { // an epoch that is lost is begun again
		add = s.appendRecord
	}
	reply, err := add(ctx, argv)
	if err = explain(err); err != nil {
		return store.Record{}, fmt.Errorf("redis: ledger: %w", err)
	}
	if len(reply) != 2 {
		return store.Record{}, errJournal
	}
	epoch, err := strconv.ParseUint(reply[1], 10, 64)
	seq, ok := parseSeq(reply[0])
	if err != nil || !ok {
		return store.Record{}, errJournal
	}
	r.Seq, r.Epoch = seq, epoch
	return r, nil
}

// appendRecord runs the script where the ledger is.
func (s *Store) appendRecord(ctx context.Context, argv []any) ([]string, error) {
	sh, err := s.servers.shard(ctx, recordsName)
	if err != nil {
		return nil, err
	}
	reply, err := appendRecord.Eval(ctx, sh.primary.bulk, []string{recordsName}, argv...).StringSlice()
	if isRedirect(err) {
		if follow := s.servers.redirect(); follow != nil {
			return appendRecord.Eval(ctx, follow.bulk, []string{recordsName}, argv...).StringSlice()
		}
	}
	return reply, err
}

var errJournal = errors.New("redis: ledger: what is stored there is no ledger")

// Read implements store.Journal.
func (s *Store) Read(ctx context.Context, after store.Position) (store.Batch, error) {
	ctx, cancel := context.WithTimeout(ctx, 4*blockTime)
	defer cancel()
	b, err := s.readWhereItIs(ctx, after)
	if err != nil {
		return store.Batch{}, fmt.Errorf("redis: ledger: %w", explain(err))
	}
	s.noteDeleted(&b)
	return b, nil
}

// readWhereItIs reads from the server that has the ledger. Who that is can be
// another one than it was only where sentinels say so: a node of a cluster that
// is cut off from the most of them answers nothing by itself.
func (s *Store) readWhereItIs(ctx context.Context, after store.Position) (store.Batch, error) {
	from, at := s.follower, ""
	if s.witnesses != nil {
		var err error
		if from, at, err = s.witnesses.follower(ctx); err != nil {
			return store.Batch{}, err
		}
	}
	read := s.followJournal
	if after == (store.Position{}) {
		read = s.readJournal
	}
	b, err := read(ctx, from, after)
	switch {
	case s.witnesses == nil:
	case err != nil:
		s.witnesses.changed()
	default:
		b.AsOf = s.witnesses.asOf(at)
	}
	return b, err
}

// noteDeleted keeps reads of what others have deleted from the replicas.
func (s *Store) noteDeleted(b *store.Batch) {
	if s.deleted == nil {
		return
	}
	now := time.Now()
	if b.Missed || b.Lost {
		s.deleted.noteAll(now)
	}
	for _, key := range b.Deleted {
		s.deleted.note(key.String(), now)
	}
}

// readJournal reads all the records there are, and where the deletions end.
func (s *Store) readJournal(ctx context.Context, from goredis.UniversalClient, _ store.Position) (b store.Batch, err error) {
	pipe := from.Pipeline()
	newest := pipe.XRevRangeN(ctx, deletionsName, "+", "-", 1)
	all := pipe.XRange(ctx, recordsName, "-", "+")
	if _, err := pipe.Exec(ctx); err != nil {
		return b, err
	}
	if err := s.takeRecords(&b, all.Val()); err != nil {
		return b, err
	}
	if last := newest.Val(); len(last) > 0 {
		b.To.Deletions, _ = parseSeq(last[0].ID)
	}
	return b, s.learnDeleted(ctx, from, b.To.Deletions)
}

// learnDeleted takes down what was deleted before it began to be followed, so
// that replicas can be read from now on.
func (s *Store) learnDeleted(ctx context.Context, from goredis.UniversalClient, newest store.Seq) error {
	if s.deleted == nil {
		return nil
	}
	since := newest.Time - min(newest.Time, uint64(s.deleted.lag.Milliseconds()))
	lately, err := from.XRangeN(ctx, deletionsName, strconv.FormatUint(since, 10), "+", maxDeletions).Result()
	if err != nil {
		return err
	}
	now := time.Now()
	if len(lately) == maxDeletions { // there may be more
		s.deleted.noteAll(now)
	}
	for _, m := range lately {
		if name, ok := m.Values["k"].(string); ok {
			s.deleted.note(name, now)
		}
	}
	s.deleted.begun.Store(true)
	return nil
}

// followJournal waits for what comes after a position, and then looks whether
// the position itself is there still: what has lost that has lost more.
func (s *Store) followJournal(ctx context.Context, from goredis.UniversalClient, after store.Position) (b store.Batch, err error) {
	records, deletions := formatSeq(after.Records), formatSeq(after.Deletions)
	pipe := from.Pipeline()
	news := pipe.XRead(ctx, &goredis.XReadArgs{
		Streams: []string{recordsName, deletionsName, records, deletions}, Count: 1000, Block: blockTime,
	})
	record := pipe.XRangeN(ctx, recordsName, records, records, 1)
	deletion := pipe.XRangeN(ctx, deletionsName, deletions, deletions, 1)
	_, _ = pipe.Exec(ctx) // its error is the first one, which may be that there is no news
	if err := cmp.Or(unlessNil(news.Err()), record.Err(), deletion.Err()); err != nil {
		return b, err
	}
	b.To = after
	if b.Lost = after.Records != (store.Seq{}) && len(record.Val()) == 0; b.Lost {
		return b, nil
	}
	if b.Missed = after.Deletions != (store.Seq{}) && len(deletion.Val()) == 0; b.Missed {
		b.To.Deletions = store.Seq{}
	}
	for _, stream := range news.Val() {
		if stream.Stream == recordsName {
			if err := s.takeRecords(&b, stream.Messages); err != nil {
				return b, err
			}
			continue
		}
		s.takeDeletions(&b, stream.Messages)
	}
	return b, nil
}

func (s *Store) takeRecords(b *store.Batch, messages []goredis.XMessage) error {
	for _, m := range messages {
		seq, ok := parseSeq(m.ID)
		text, _ := m.Values["e"].(string)
		epoch, err := strconv.ParseUint(text, 10, 64)
		label, isText := m.Values["l"].(string)
		if !ok || err != nil || !isText {
			return errJournal
		}
		b.Records = append(b.Records, store.Record{Seq: seq, Epoch: epoch, Label: label, Soft: m.Values["s"] == "1"})
		b.To.Records = seq
	}
	return nil
}

// takeDeletions leaves out what this process deleted itself.
func (s *Store) takeDeletions(b *store.Batch, messages []goredis.XMessage) {
	for _, m := range messages {
		if seq, ok := parseSeq(m.ID); ok {
			b.To.Deletions = seq
		}
		name, _ := m.Values["k"].(string)
		if key, err := cachekey.ParseKey(name); err == nil && m.Values["n"] != s.node {
			b.Deleted = append(b.Deleted, key)
		}
	}
}

// tellDeleted adds a deletion to those that other processes hear of.
func (s *Store) tellDeleted(ctx context.Context, to goredis.Cmdable, name string) *goredis.StringCmd {
	return to.XAdd(ctx, &goredis.XAddArgs{
		Stream: deletionsName, MaxLen: maxDeletions, Approx: true, Values: []string{"k", name, "n", s.node},
	})
}

func parseSeq(id string) (store.Seq, bool) {
	ms, n, _ := strings.Cut(id, "-")
	time, err1 := strconv.ParseUint(ms, 10, 64)
	count, err2 := strconv.ParseUint(n, 10, 64)
	return store.Seq{Time: time, N: count}, err1 == nil && err2 == nil
}

func formatSeq(s store.Seq) string {
	return strconv.FormatUint(s.Time, 10) + "-" + strconv.FormatUint(s.N, 10)
}
