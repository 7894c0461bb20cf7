package redis

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestScriptsNeedWhatIsSaidOfThem reads all scripts in the source.
func TestScriptsNeedWhatIsSaidOfThem(t *testing.T) {
	digests := map[string]string{
		"appendRecord": appendRecord.Hash(), "setIfScript": digest(setIfScript), "rewriteScript": digest(rewriteScript),
		"claimScript": claimScript.Hash(), "renewSource": renewScript.Hash(), "releaseScript": releaseScript.Hash(),
		"addScript": addScript.Hash(), "pushScript": pushScript.Hash(), "signScript": signScript.Hash(),
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	script := regexp.MustCompile("(?s)\n(?:var|const) (\\w+) = (?:goredis\\.NewScript\\()?`(.*?)`\\)?\n(?:\n|$)")
	call := regexp.MustCompile(`redis\.call\('(\w+)'`)
	found := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		calls := 0
		for _, m := range script.FindAllStringSubmatch(string(text), -1) {
			var needs []string
			for _, c := range call.FindAllStringSubmatch(m[2], -1) {
				calls++
				if rule := "+" + strings.ToLower(c[1]); !slices.Contains(needs, rule) {
					needs = append(needs, rule)
				}
			}
			if len(needs) == 0 {
				continue // some other text
			}
			found++
			refused := errors.New("ERR The user executing the script can't run this command or subcommand script: " + digests[m[1]] + ", on @user_script:2.")
			if got, want := rule(refused), strings.Join(needs, " "); got != want {
				t.Errorf("%s: %q; want %q", m[1], got, want)
			}
		}
		if all := len(call.FindAllString(string(text), -1)); calls != all {
			t.Errorf("%s: %d calls, of which %d were seen", file, all, calls)
		}
	}
	if found != len(digests) {
		t.Errorf("%d scripts, of which %d are known", found, len(digests))
	}
}
