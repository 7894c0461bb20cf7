package telemetry

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestLogLevelsLetThroughTheirOwnAndAbove(t *testing.T) {
	f := func(level string, wantLines int) {
		t.Helper()
		var out bytes.Buffer
		log, err := NewLogger(&out, level, "text")
		if err != nil {
			t.Fatalf("level %q: %v", level, err)
		}
		log.Debug("d")
		log.Info("i")
		log.Warn("w")
		log.Error("e")
		if got := strings.Count(out.String(), "\n"); got != wantLines {
			t.Errorf("level %q let %d of 4 records through, want %d", level, got, wantLines)
		}
	}
	f("debug", 4)
	f("info", 3)
	f("", 3)
	f("WARN", 2)
	f("error", 1)
}

func TestJSONLogLinesAreJSON(t *testing.T) {
	var out bytes.Buffer
	log, err := NewLogger(&out, "info", "json")
	if err != nil {
		t.Fatal(err)
	}
	log.Info("started", "listen", "127.0.0.1:8080")
	var record struct{ Level, Msg, Listen string }
	if err := json.Unmarshal(out.Bytes(), &record); err != nil {
		t.Fatalf("%q: %v", out.String(), err)
	}
	if record.Level != "INFO" || record.Msg != "started" || record.Listen != "127.0.0.1:8080" {
		t.Errorf("got %+v", record)
	}
}

func TestUnknownLogSettingsAreErrorsThatNameTheChoices(t *testing.T) {
	f := func(level, format, want string) {
		t.Helper()
		_, err := NewLogger(&bytes.Buffer{}, level, format)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("level %q, format %q: error %v, want one with %q", level, format, err, want)
		}
	}
	f("loud", "text", "debug, info, warn or error")
	f("info+2", "text", "debug, info, warn or error")
	f("info", "xml", "text or json")
}
