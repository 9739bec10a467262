package daemon

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork/internal/api"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/types"
)

// logged keeps the text of one attribute of a message.
type logged struct {
	slog.Handler
	message, key string
	value        chan string
}

func (l logged) Enabled(context.Context, slog.Level) bool { return true }

func (l logged) Handle(_ context.Context, r slog.Record) error {
	if r.Message == l.message {
		r.Attrs(func(a slog.Attr) bool {
			if a.Key == l.key {
				l.value <- a.Value.String()
			}
			return true
		})
	}
	return nil
}

// get asks for a path over a connection to network and address.
func get(t *testing.T, network, address, path string) (status int, body string) {
	t.Helper()
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // read only
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

func TestMetrics(t *testing.T) {
	dir := nstest.ShortDir(t)
	path := filepath.Join(dir, "s")
	shown := logged{quiet().Handler(), "metrics are served", "address", make(chan string, 1)}
	startAs(t, dir, func(cfg *Config) {
		cfg.Hosts, cfg.MetricsAddr = []string{"unix://" + path}, "127.0.0.1:0"
		cfg.Engine.Logger = slog.New(shown)
	})
	addr := strings.TrimPrefix(<-shown.value, "tcp://")
	c := dial(t, "unix://"+path)
	if _, err := c.CreateNetwork(t.Context(), api.NetworkCreate{Name: "web"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Network(t.Context(), "none-such"); err == nil {
		t.Error("there is a network that nobody made")
	}
	for _, at := range []struct{ network, address, path string }{
		{"unix", path, "/metrics"}, {"unix", path, "/v2/metrics"}, {"tcp", addr, "/metrics"},
	} {
		t.Run(at.network+" "+at.path, func(t *testing.T) {
			status, body := get(t, at.network, at.address, at.path)
			if status != http.StatusOK {
				t.Fatalf("%d %s", status, body)
			}
			for _, want := range []string{
				`dnet_networks{driver="bridge"} 1`,
				`dnet_build_info{goversion="go`,
				`dnet_operation_duration_seconds_count{op="POST /networks",result="ok"} 1`,
				`dnet_operation_duration_seconds_count{op="GET /networks/{id}",result="not_found"} 1`,
			} {
				if !strings.Contains(body, "\n"+want) {
					t.Errorf("%s is not in\n%s", want, body)
				}
			}
		})
	}
	t.Run("the address for metrics has nothing else", func(t *testing.T) {
		for _, p := range []string{"/v2/networks", "/v2/version", "/"} {
			if status, body := get(t, "tcp", addr, p); status != http.StatusNotFound {
				t.Errorf("%s: %d %s", p, status, body)
			}
		}
	})
	t.Run("an address that is in use is told", func(t *testing.T) {
		_, err := listenMetrics(t.Context(), addr)
		if err == nil || !strings.Contains(err.Error(), "serve metrics at "+addr) {
			t.Errorf("got %v", err)
		}
	})
}

func TestCheckMetricsAddr(t *testing.T) {
	for _, tt := range []struct {
		addr string
		ok   bool
	}{
		{"", true},
		{"127.0.0.1:9323", true},
		{"[::1]:9323", true},
		{"0.0.0.0:0", true},
		{":9323", false},
		{"127.0.0.1", false},
		{"127.0.0.1:x", false},
		{"127.0.0.1:65536", false},
	} {
		t.Run("an address for metrics "+tt.addr, func(t *testing.T) {
			err := checkMetricsAddr(tt.addr)
			if tt.ok != (err == nil) || err != nil && (!errors.As(err, new(types.BadRequestError)) || !strings.Contains(err.Error(), tt.addr)) {
				t.Errorf("got %v", err)
			}
		})
	}
}
