package admin

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

func TestMetricsComeInTheFormThatIsAskedFor(t *testing.T) {
	_, base := start(t, options())
	f := func(accept, wantType, wantText string) {
		t.Helper()
		resp, body := ask(t, "GET", base+"/metrics", "Accept: "+accept)
		if got := resp.Header.Get("Content-Type"); !strings.HasPrefix(got, wantType) {
			t.Errorf("Accept %q: Content-Type %q, want %q", accept, got, wantType)
		}
		if !strings.Contains(body, wantText) {
			t.Errorf("Accept %q: no %q in:\n%s", accept, wantText, body)
		}
	}
	f("application/openmetrics-text; version=1.0.0", "application/openmetrics-text", "jaegis_test_total 7.0\n# EOF")
	f("text/plain", "text/plain", "jaegis_test_total 7\n")
	f("*/*", "text/plain", "jaegis_test_total 7\n")
}

func TestOneFailedCollectorDoesNotHideTheOthers(t *testing.T) {
	o := options()
	whole := o.Metrics
	o.Metrics = prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		families, _ := whole.Gather()
		return families, errors.New("one collector failed")
	})
	_, base := start(t, o)
	if resp, body := ask(t, "GET", base+"/metrics"); resp.StatusCode != 200 || !strings.Contains(body, "jaegis_test_total 7") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

func TestNoMetricsAtAllIsAnError(t *testing.T) {
	o := options()
	o.Metrics = prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return nil, errors.New("secret of the inside") })
	_, base := start(t, o)
	resp, body := ask(t, "GET", base+"/metrics")
	if resp.StatusCode != 500 || errorType(t, resp, body) != "jaegis_internal" || strings.Contains(body, "secret") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

func TestScrapesAtTheSameTimeAreBounded(t *testing.T) {
	entered, release := make(chan struct{}, maxReports), make(chan struct{})
	o := options()
	whole := o.Metrics
	o.Metrics = prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		entered <- struct{}{}
		<-release
		return whole.Gather()
	})
	_, base := start(t, o)
	var running sync.WaitGroup
	for range maxReports {
		running.Go(func() {
			if resp, _ := ask(t, "GET", base+"/metrics"); resp.StatusCode != 200 {
				t.Errorf("a scrape within the bound: %d", resp.StatusCode)
			}
		})
	}
	for range maxReports {
		<-entered
	}
	resp, body := ask(t, "GET", base+"/metrics")
	if resp.StatusCode != 503 || errorType(t, resp, body) != "jaegis_over_capacity" {
		t.Errorf("a scrape beyond the bound: %d %s", resp.StatusCode, body)
	}
	close(release)
	running.Wait()
	if resp, _ := ask(t, "GET", base+"/metrics"); resp.StatusCode != 200 {
		t.Errorf("afterwards: %d", resp.StatusCode)
	}
}
