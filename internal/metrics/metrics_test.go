package metrics_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/engine/enginetest"
	"github.com/libnetwork/libnetwork/internal/metrics"
	"github.com/libnetwork/libnetwork/internal/model"
)

// names are all metrics that are ours.
var names = []string{
	"dnet_build_info", "dnet_networks", "dnet_endpoints", "dnet_sandboxes", "dnet_published_ports", "dnet_ipam_pool_addresses",
	"dnet_repairs_total", "dnet_dns_queries_total", "dnet_dns_upstream_failures_total", "dnet_operation_duration_seconds",
}

func open(t *testing.T, k *enginetest.Kernel) (*engine.Engine, *metrics.Metrics) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	e, err := enginetest.Open(t.Context(), k, t.TempDir(), t.TempDir(), log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e, metrics.New(e, "1.2.3", log)
}

func web(t *testing.T, e *engine.Engine, name, subnet string) *engine.Network {
	t.Helper()
	n, err := e.CreateNetwork(t.Context(), engine.NetworkRequest{
		Driver: "bridge", Name: name, IPAM: model.IPAM{Conf4: []model.IPAMConf{{Pool: subnet}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// scrape returns the lines of the metrics whose names begin with a prefix.
func scrape(t *testing.T, m *metrics.Metrics, prefix string) []string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	var out []string
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, prefix) {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return out
}

// publishing asks for a container with a published port and a range of ten.
func publishing(n *engine.Network, id string) (engine.SandboxRequest, []engine.AttachRequest) {
	return engine.SandboxRequest{ContainerID: id, Publish: []model.Publish{
		{Proto: 6, Host: netip.IPv4Unspecified(), First: 8080, Last: 8080, Port: 80, PortLast: 80},
		{Proto: 17, Host: netip.IPv4Unspecified(), First: 9000, Last: 9009, Port: 9000, PortLast: 9009},
	}}, []engine.AttachRequest{{Network: n, Endpoint: engine.EndpointRequest{Name: id}}}
}

func TestNames(t *testing.T) {
	e, m := open(t, new(enginetest.Kernel))
	web(t, e, "web", "10.5.0.0/24")
	m.Observe("POST /networks", "ok", time.Millisecond)
	problems, err := testutil.GatherAndLint(m.Gatherer(), names...)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	families, err := m.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	there := make(map[string]bool)
	for _, f := range families {
		there[f.GetName()] = true
	}
	for _, name := range append(names, "go_goroutines", "process_open_fds") {
		if !there[name] {
			t.Errorf("there is no %s", name)
		}
		delete(there, name)
	}
	for name := range there {
		if strings.HasPrefix(name, "dnet_") {
			t.Errorf("%s is not in the list that is looked at", name)
		}
	}
}

func TestValues(t *testing.T) {
	k := new(enginetest.Kernel)
	e, m := open(t, k)
	n := web(t, e, "web", "10.5.0.0/24")
	sb, on := publishing(n, "c1")
	s, err := e.CreateContainer(t.Context(), sb, on)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.CreateEndpoint(t.Context(), engine.EndpointRequest{Name: "idle"}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`dnet_build_info{goversion="` + runtime.Version() + `",version="1.2.3"} 1`,
		`dnet_dns_queries_total{outcome="forwarded"} 0`,
		`dnet_dns_queries_total{outcome="limited"} 0`,
		`dnet_dns_queries_total{outcome="local"} 0`,
		`dnet_dns_upstream_failures_total 0`,
		`dnet_endpoints 2`,
		`dnet_ipam_pool_addresses{manager="default",pool="LocalDefault/10.5.0.0/24",state="allocated"} 3`,
		`dnet_ipam_pool_addresses{manager="default",pool="LocalDefault/10.5.0.0/24",state="free"} 251`,
		`dnet_ipam_pool_addresses{manager="default",pool="LocalDefault/10.5.0.0/24",state="reserved"} 2`,
		`dnet_networks{driver="bridge"} 1`,
		`dnet_published_ports{kept="checked"} 0`,
		`dnet_published_ports{kept="held"} 11`,
		`dnet_published_ports{kept="rule"} 0`,
		`dnet_published_ports{kept="taken"} 0`,
		`dnet_repairs_total{kind="firewall"} 0`,
		`dnet_repairs_total{kind="forwarding"} 0`,
		`dnet_repairs_total{kind="link"} 0`,
		`dnet_sandboxes 1`,
	}
	if diff := cmp.Diff(want, scrape(t, m, "dnet_")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	t.Run("a repair is counted by its kind", func(t *testing.T) {
		_, events, cancel := engine.Subscribe(e, time.Time{}, func(ev engine.Event) engine.Event { return ev })
		defer cancel()
		k.Lose(s.View().Attached[0].Driver.Network(n.Record())...)
		for range 2 {
			for ev := range events {
				if ev.Action == "repair" {
					break
				}
			}
		}
		want := []string{`dnet_repairs_total{kind="firewall"} 1`, `dnet_repairs_total{kind="forwarding"} 0`, `dnet_repairs_total{kind="link"} 1`}
		if diff := cmp.Diff(want, scrape(t, m, "dnet_repairs")); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("what is gone is not counted", func(t *testing.T) {
		if err := s.Delete(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := []string{`dnet_published_ports{kept="checked"} 0`, `dnet_published_ports{kept="held"} 0`, `dnet_published_ports{kept="rule"} 0`, `dnet_published_ports{kept="taken"} 0`}
		if diff := cmp.Diff(want, scrape(t, m, "dnet_published")); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// TestScrapeWaitsForNobody scrapes while the kernel keeps an operation, which has the
// turns of its container and its network.
func TestScrapeWaitsForNobody(t *testing.T) {
	in, out := make(chan struct{}), make(chan struct{})
	e, m := open(t, &enginetest.Kernel{Fail: func(op string, o model.Object) error {
		if _, ok := o.(model.Port); ok && op == "create" {
			in <- struct{}{}
			<-out
		}
		return nil
	}})
	n := web(t, e, "web", "10.5.0.0/24")
	sb, on := publishing(n, "c1")
	sb.Publish = sb.Publish[:1]
	done := make(chan error, 1)
	go func() {
		_, err := e.CreateContainer(t.Context(), sb, on)
		done <- err
	}()
	<-in
	if got := scrape(t, m, "dnet_networks"); len(got) != 1 {
		t.Errorf("amid an operation: %q", got)
	}
	close(out)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestScrapesBesideOperations has the race detector look.
func TestScrapesBesideOperations(t *testing.T) {
	e, m := open(t, new(enginetest.Kernel))
	n := web(t, e, "web", "10.5.0.0/24")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 20 {
			sb, on := publishing(n, "c1")
			s, err := e.CreateContainer(t.Context(), sb, on)
			if err == nil {
				err = s.Delete(t.Context())
			}
			if err != nil {
				t.Error(err)
			}
		}
	}()
	for {
		select {
		case <-done:
			if got := scrape(t, m, "dnet_endpoints"); len(got) != 1 || got[0] != "dnet_endpoints 0" {
				t.Errorf("at the end: %q", got)
			}
			return
		default:
			scrape(t, m, "dnet_")
		}
	}
}
