// Package telemetry sets up what the process says about itself: its log, its
// traces and its metrics registry. It only makes the parts and hands them
// over; it records nothing itself and keeps no globals, so a process may hold
// several sets (tests do).
package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// NewLogger gives a logger that writes to w records of the given level and
// above. Level is debug, info, warn or error; format is text or json; case
// does not matter and an empty string means info or text. Anything else is an
// error that names the choices. The logger is safe for concurrent use.
func NewLogger(w io.Writer, level, format string) (*slog.Logger, error) {
	lowest, err := parseLevel(level)
	if err != nil {
		return nil, err
	}
	opts := &slog.HandlerOptions{Level: lowest}
	switch strings.ToLower(format) {
	case "", "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return nil, fmt.Errorf("log format %q: want text or json", format)
}

func parseLevel(level string) (slog.Level, error) {
	switch strings.ToLower(level) {
	case "debug":
		return slog.LevelDebug, nil
	case "", "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("log level %q: want debug, info, warn or error", level)
}
