package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestDurationsReadGoTextAndBareSeconds(t *testing.T) {
	f := func(text string, want time.Duration) {
		t.Helper()
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || time.Duration(d) != want {
			t.Errorf("%q: %v, %v, want %v", text, time.Duration(d), err, want)
		}
	}
	f("3600", time.Hour)
	f("0.5", 500*time.Millisecond)
	f("5", 5*time.Second)
	f("0", 0)
	f("-3", -3*time.Second)
	f("90m", 90*time.Minute)
	f("1h30m", 90*time.Minute)
	f("50ms", 50*time.Millisecond)
	for _, bad := range []string{"", "h", "1d", "1 h", "0x10", "NaN", "Inf", "1e3", "99999999999", "--1", "1.2.3"} {
		var d Duration
		if err := d.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q is read as %v", bad, time.Duration(d))
		}
	}
}

func TestDurationsPrintWhatTheyRead(t *testing.T) {
	f := func(d time.Duration, want string) {
		t.Helper()
		got := Duration(d).String()
		var back Duration
		if err := back.UnmarshalText([]byte(got)); got != want || err != nil || time.Duration(back) != d {
			t.Errorf("%v prints %q (want %q) and reads back as %v, %v", d, got, want, time.Duration(back), err)
		}
	}
	f(0, "0s")
	f(time.Hour, "1h")
	f(90*time.Minute, "1h30m")
	f(time.Minute, "1m")
	f(10*time.Hour+10*time.Second, "10h0m10s")
	f(10*time.Minute, "10m")
	f(75*time.Second, "1m15s")
	f(50*time.Millisecond, "50ms")
	f(-time.Minute, "-1m")
	f(1<<63-1, "2562047h47m16.854775807s")
}

func TestSizesReadUnitsInAnyCase(t *testing.T) {
	f := func(text string, want Size) {
		t.Helper()
		var s Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%q: %d, %v, want %d", text, int64(s), err, int64(want))
		}
	}
	f("0", 0)
	f("1024", KiB)
	f("64MiB", 64*MiB)
	f("64 mib", 64*MiB)
	f("1.5GiB", 1536*MiB)
	f("10GB", 1e10)
	f("10kb", 1e4)
	f("7B", 7)
	f("-1MiB", -MiB)
	f("9223372036854775807", 1<<63-1)
	for _, bad := range []string{"", "MiB", "1M", "1Mb/s", "0.3B", "8EiB", "9223372036854775808", "9999999TiB", "1e3", "1/2", "0x10", "1_000"} {
		var s Size
		if err := s.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q is read as %d", bad, int64(s))
		}
	}
}

func TestSizesPrintWhatTheyRead(t *testing.T) {
	f := func(s Size, want string) {
		t.Helper()
		got := s.String()
		var back Size
		if err := back.UnmarshalText([]byte(got)); got != want || err != nil || back != s {
			t.Errorf("%d prints %q (want %q) and reads back as %d, %v", int64(s), got, want, int64(back), err)
		}
	}
	f(0, "0")
	f(64*MiB, "64MiB")
	f(1536*MiB, "1536MiB")
	f(10*GiB, "10GiB")
	f(1<<50, "1024TiB")
	f(1000, "1000")
	f(-KiB, "-1KiB")
	f(1<<63-1, "9223372036854775807")
	f(-1<<63, "-8388608TiB")
}

func TestSecretsDoNotPrintInAnyWay(t *testing.T) {
	u := DefaultUpstream()
	u.Headers = map[string]Secret{"Authorization": "hunter2"}
	cfg := Default()
	cfg.Admin.Token = "hunter2"
	cfg.Upstreams = map[string]Upstream{"docs": u}
	cfg.Cache.Redis.URL = "redis://u:hunter2@h:1/0"
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "cfg", cfg, "token", cfg.Admin.Token, "url", cfg.Cache.Redis.URL)
	asJSON, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, printed := range []string{
		log.String(), string(asJSON), string(Render(cfg)),
		fmt.Sprint(*cfg), fmt.Sprintf("%+v %#v %s %q %x", *cfg, *cfg, cfg.Admin.Token, cfg.Cache.Redis.URL, cfg.Admin.Token),
	} {
		if strings.Contains(printed, "hunter2") || strings.Contains(printed, fmt.Sprintf("%x", "hunter2")) {
			t.Errorf("printed: %s", printed)
		}
		if printed == "" {
			t.Error("nothing is printed: this test checks nothing")
		}
	}
}

func TestSecretURLsPrintAllButTheCredentials(t *testing.T) {
	f := func(u SecretURL, want string) {
		t.Helper()
		if got := u.String(); got != want {
			t.Errorf("%q prints %q, want %q", string(u), got, want)
		}
	}
	f("", "")
	f("redis://h:6379/1", "redis://h:6379/1")
	f("redis://u:p@h:6379/1", "redis://u:****@h:6379/1")
	f("redis://:p@h", "redis://:****@h")
	f("redis://u:p@ss/w@h", "redis://u:****@h")
	f("https://token@h/x", "https://****@h/x")
	f("u:p@h", "****")
}
