package proxy

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// passedOn begins to write a body and gives its relay and what writing ends with.
func passedOn(before, body string, idle time.Duration) (*relay, <-chan error) {
	r, done := newRelay(strings.NewReader(before), int64(len(before))), make(chan error, 1)
	go func() {
		_, err := r.write([]byte(body), idle)
		if err == nil {
			r.finish()
		}
		done <- err
	}()
	return r, done
}

func mustOpen(t *testing.T, r *relay) io.ReadCloser {
	t.Helper()
	b, err := r.open()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRelayGivesWhatCameBeforeAndWhatComes(t *testing.T) {
	body := strings.Repeat("0123456789", 100_000)
	r, done := passedOn("before ", body, 0)
	if got, err := io.ReadAll(mustOpen(t, r)); err != nil || string(got) != "before "+body {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestRelayIsReadAnewAsLongAsItHasAll(t *testing.T) {
	body := strings.Repeat("x", relayKept) + "the rest"
	r, done := passedOn("before ", body, 0)
	for _, n := range []int{0, 3, 7, 100, relayKept} {
		if _, err := io.ReadFull(mustOpen(t, r), make([]byte, n)); err != nil {
			t.Fatalf("%d: %v", n, err)
		}
	}
	b := mustOpen(t, r)
	if got, err := io.ReadAll(b); err != nil || string(got) != "before "+body {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, err := r.open(); !errors.Is(err, errNoRewind) {
		t.Errorf("read anew though it is not all there: %v", err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestRelayEndsAsItsBodyDoes(t *testing.T) {
	r, _ := passedOn("", "abc", 0)
	b := mustOpen(t, r)
	if _, err := io.ReadAll(b); err != nil {
		t.Error(err)
	}
	r = newRelay(nil, 0)
	if err := r.fail(errBodyCut); !errors.Is(err, errBodyCut) {
		t.Error(err)
	}
	if _, err := io.ReadAll(mustOpen(t, r)); !errors.Is(err, errBodyCut) {
		t.Errorf("a body that was cut ends with %v", err)
	}
	r.finish()
	if _, err := io.ReadAll(mustOpen(t, r)); !errors.Is(err, errBodyCut) {
		t.Errorf("it is whole by and by: %v", err)
	}
}

func TestRelayThatIsStoppedHoldsNobodyUp(t *testing.T) {
	r, done := passedOn("", strings.Repeat("x", 10*relayBuffer), 0)
	r.stop(errEnough)
	if err := <-done; !errors.Is(err, errEnough) {
		t.Errorf("writing ends with %v", err)
	}
	go r.over()
	if _, err := io.Copy(io.Discard, mustOpen(t, r)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("reading ends with %v", err)
	}
}

func TestRelayGivesUpOnAReaderThatTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		r, done := passedOn("", strings.Repeat("x", 10*relayBuffer), time.Minute)
		time.Sleep(50 * time.Second)
		if _, err := io.ReadFull(mustOpen(t, r), make([]byte, relayBuffer)); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, errStalled) || time.Since(began) != 110*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		r.over()

		r, done = passedOn("", strings.Repeat("x", 10*relayBuffer), time.Minute)
		r.answered()
		time.Sleep(time.Hour)
		select {
		case err := <-done:
			t.Errorf("%v though it answers", err)
		default:
		}
		r.over()
		<-done
	})
}
