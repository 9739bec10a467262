package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/api"
	"github.com/libnetwork/libnetwork/internal/api/server"
	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/engine/enginetest"
	"github.com/libnetwork/libnetwork/internal/model"
)

// daemon is a server on an engine in memory.
type daemon struct {
	t   *testing.T
	k   *enginetest.Kernel
	e   *engine.Engine
	url string
}

func newDaemon(t *testing.T) *daemon {
	t.Helper()
	d := &daemon{t: t, k: new(enginetest.Kernel)}
	log := slog.New(slog.DiscardHandler)
	e, err := enginetest.Open(t.Context(), d.k, t.TempDir(), t.TempDir(), log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	d.e = e
	srv := httptest.NewServer(server.New(server.Config{Engine: e, Version: "1.2.3", Logger: log}))
	t.Cleanup(srv.Close)
	d.url = srv.URL
	return d
}

// do sends a request; a body that is a string is sent as it is. It returns the
// status and the body.
func (d *daemon) do(method, path string, body any) (int, string) {
	d.t.Helper()
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		r = strings.NewReader(b)
	default:
		data, err := json.Marshal(b)
		if err != nil {
			d.t.Fatal(err)
		}
		r = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(d.t.Context(), method, d.url+path, r)
	if err != nil {
		d.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // read only
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

// ok sends a request that must succeed and reads its answer.
func ok[T any](d *daemon, method, path string, body any) T {
	d.t.Helper()
	status, text := d.do(method, path, body)
	if status >= 300 {
		d.t.Fatalf("%s %s: %d %s", method, path, status, text)
	}
	var v T
	if text != "" {
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			d.t.Fatalf("%s %s: %v in %s", method, path, err, text)
		}
	}
	return v
}

// refused sends a request that must fail with a code and name what is wrong.
func (d *daemon) refused(method, path string, body any, status int, code, named string) {
	d.t.Helper()
	got, text := d.do(method, path, body)
	var e api.Error
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		d.t.Fatalf("%s %s: %d, body is no JSON: %s", method, path, got, text)
	}
	if got != status || e.Code != code || !strings.Contains(e.Message, named) {
		d.t.Errorf("%s %s: got %d %s %q, want %d %s naming %q", method, path, got, e.Code, e.Message, status, code, named)
	}
}

func TestNetworks(t *testing.T) {
	d := newDaemon(t)
	if _, text := d.do("GET", "/v2/networks", nil); text != "[]\n" {
		t.Errorf("an empty list is %q", text)
	}
	made := ok[api.Network](d, "POST", "/v2/networks", api.NetworkCreate{
		Name: "web", IPv6: true, Labels: map[string]string{"a": "b"},
		Subnets: []api.Subnet{{Subnet: "10.8.0.0/24", Gateway: "10.8.0.254", IPRange: "10.8.0.128/25", Aux: map[string]string{"dns": "10.8.0.2"}}},
	})
	want := []api.Subnet{
		{Subnet: "10.8.0.0/24", Gateway: "10.8.0.254", IPRange: "10.8.0.128/25", Aux: map[string]string{"dns": "10.8.0.2"}},
		made.Subnets[1],
	}
	if diff := cmp.Diff(want, made.Subnets); diff != "" {
		t.Errorf("subnets (-want +got):\n%s", diff)
	}
	if !strings.HasSuffix(made.Subnets[1].Subnet, "::/64") {
		t.Errorf("the IPv6 subnet is %s", made.Subnets[1].Subnet)
	}
	for _, ref := range []string{made.ID, "web", made.ID[:12], made.ID[:4]} {
		if diff := cmp.Diff(made, ok[api.Network](d, "GET", "/v2/networks/"+ref, nil)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", ref, diff)
		}
	}
	six := ok[api.Network](d, "POST", "/v2/networks", api.NetworkCreate{Name: "six", Subnets: []api.Subnet{{Subnet: "fd00:8::/64"}}})
	if !six.IPv6 || len(six.Subnets) != 2 {
		t.Errorf("a subnet of IPv6 does not turn IPv6 on: %+v", six)
	}
	d.refused("POST", "/v2/networks", api.NetworkCreate{Name: "web"}, 403, "conflict", "web")
	d.refused("POST", "/v2/networks", api.NetworkCreate{Name: "x", Driver: "nope"}, 404, "not_found", "nope")
	d.refused("POST", "/v2/networks", api.NetworkCreate{Name: "x", Subnets: []api.Subnet{{Subnet: "10.8.0.0/25"}}}, 403, "conflict", "10.8.0.0/25")
	d.refused("POST", "/v2/networks", api.NetworkCreate{Name: "x", IPAM: api.IPAM{Driver: "nope"}}, 400, "bad_request", "nope")
	d.refused("POST", "/v2/networks", api.NetworkCreate{
		Name: "x", Options: map[string]string{"com.docker.network.bridge.enable_icc": "perhaps"},
	}, 400, "bad_request", "perhaps")
	d.refused("GET", "/v2/networks/nope", nil, 404, "not_found", "nope")

	ok[any](d, "DELETE", "/v2/networks/six", nil)
	d.refused("DELETE", "/v2/networks/six", nil, 404, "not_found", "six")
	ok[api.Container](d, "POST", "/v2/containers", api.ContainerCreate{ID: "c1", Networks: []api.Attachment{{Network: "web"}}})
	d.refused("DELETE", "/v2/networks/web", nil, 403, "conflict", "c1")
	ok[api.Network](d, "POST", "/v2/networks", api.NetworkCreate{Name: "unused"})
	pruned := ok[api.Pruned](d, "POST", "/v2/networks/prune", nil)
	if len(pruned.Networks) != 1 || pruned.Networks[0].Name != "unused" {
		t.Errorf("pruned %+v", pruned)
	}
}

func TestPrefix(t *testing.T) {
	d := newDaemon(t)
	one, two := "abcd"+strings.Repeat("1", 60), "abcd"+strings.Repeat("2", 60)
	for _, id := range []string{one, two, "abcd", "web-server"} {
		ok[api.Container](d, "POST", "/v2/containers", api.ContainerCreate{ID: id, Networks: []api.Attachment{{Network: "none"}}})
	}
	for ref, want := range map[string]string{one: one, "abcd": "abcd", "abcd1": one, "abcd2222": two} {
		if k := ok[api.Container](d, "GET", "/v2/containers/"+ref, nil); k.ID != want {
			t.Errorf("%s finds %s, want %s", ref, k.ID, want)
		}
	}
	ok[any](d, "DELETE", "/v2/containers/abcd", nil)
	d.refused("DELETE", "/v2/containers/abcd", nil, 400, "bad_request", one)
	d.refused("DELETE", "/v2/containers/abcd", nil, 400, "bad_request", two)
	// A name has no beginnings, and an id none that is too short.
	d.refused("DELETE", "/v2/containers/web-serve", nil, 404, "not_found", "web-serve")
	ok[any](d, "DELETE", "/v2/containers/"+two, nil)
	d.refused("DELETE", "/v2/containers/abc", nil, 404, "not_found", "abc")
}

func TestContainers(t *testing.T) {
	d := newDaemon(t)
	ok[api.Network](d, "POST", "/v2/networks", api.NetworkCreate{Name: "web", Subnets: []api.Subnet{{Subnet: "10.8.0.0/24"}}})
	ok[api.Network](d, "POST", "/v2/networks", api.NetworkCreate{Name: "db", Internal: true, Subnets: []api.Subnet{{Subnet: "10.9.0.0/24"}}})
	k := ok[api.Container](d, "POST", "/v2/containers", api.ContainerCreate{
		ID: "c1",
		Networks: []api.Attachment{
			{Network: "db"},
			{Network: "web", IPv4: "10.8.0.77", MAC: "02:00:00:00:00:77", Aliases: []string{"www"}, Priority: 5, Interface: "net0"},
		},
		Publish: []api.Publish{{HostPort: 8080, Port: 80}, {Port: 53, PortEnd: 54, Protocol: "udp", HostIP: "127.0.0.1"}},
		DNS:     []string{"9.9.9.9"}, ExtraHosts: []api.ExtraHost{{Name: "x", Address: "10.1.1.1"}},
	})
	if k.Hostname != "c1" || len(k.Endpoints) != 2 || len(k.Ports) != 3 || k.Netns == "" {
		t.Fatalf("%+v", k)
	}
	web := k.Endpoints[0]
	got := []string{web.Network, web.IPv4.String(), web.MAC, web.Interface, web.Gateway4.String(), strings.Join(web.Aliases, " ")}
	if diff := cmp.Diff([]string{"web", "10.8.0.77/24", "02:00:00:00:00:77", "net0", "10.8.0.1", "www"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if p := k.Ports[2]; p.HostPortEnd-p.HostPort != 1 || p.PortEnd != 54 || p.Protocol != "udp" {
		t.Errorf("range: %+v", p)
	}
	hosts, err := os.ReadFile(k.HostsPath)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"10.1.1.1\tx", "10.8.0.77\tc1"} {
		if !strings.Contains(string(hosts), line) {
			t.Errorf("hosts file has no line %q:\n%s", line, hosts)
		}
	}
	for _, ref := range []string{"c1", k.SandboxID, k.SandboxID[:12]} {
		if diff := cmp.Diff(k, ok[api.Container](d, "GET", "/v2/containers/"+ref, nil), cmpText); diff != "" {
			t.Errorf("%s (-want +got):\n%s", ref, diff)
		}
	}
	s := ok[api.Container](d, "POST", "/v2/containers", api.ContainerCreate{
		ID: "s1", Networks: []api.Attachment{{Network: "web"}},
		Publish: []api.Publish{{HostPort: 81, Port: 81, Protocol: "sctp"}},
	})
	if len(s.Ports) != 1 || s.Ports[0].Protocol != "sctp" || s.Ports[0].HostPort != 81 {
		t.Errorf("published by SCTP: %+v", s.Ports)
	}
	before := d.k.Keys()
	d.refused("POST", "/v2/containers", api.ContainerCreate{
		ID: "c2", Publish: []api.Publish{{HostPort: 1, Port: 1, HostIP: "fe80::1"}},
	}, 400, "bad_request", "link-local")
	d.refused("POST", "/v2/containers", api.ContainerCreate{ID: "c1"}, 403, "conflict", "c1")
	d.refused("POST", "/v2/containers", api.ContainerCreate{ID: "c2", Networks: []api.Attachment{{Network: "nope"}}}, 404, "not_found", "nope")
	d.refused("POST", "/v2/containers", api.ContainerCreate{ID: "c2", Publish: []api.Publish{{HostPort: 8080, Port: 80}}, Networks: []api.Attachment{{Network: "web"}}}, 403, "conflict", "8080")
	d.refused("POST", "/v2/containers", api.ContainerCreate{ID: "c2", Networks: []api.Attachment{{Network: "web", IPv4: "10.8.0.77"}}}, 403, "conflict", "10.8.0.77")
	d.refused("POST", "/v2/containers", api.ContainerCreate{ID: "c2", Networks: []api.Attachment{{Network: "web", IPv4: "10.7.0.1"}}}, 400, "bad_request", "10.7.0.1")
	d.refused("POST", "/v2/containers", api.ContainerCreate{ID: "c2", Networks: []api.Attachment{{Network: "web", IPv4: "10.8.0.255"}}}, 400, "bad_request", "10.8.0.255")
	d.refused("POST", "/v2/containers", api.ContainerCreate{ID: "c2", Networks: []api.Attachment{{Network: "web"}, {Network: "web"}}}, 400, "bad_request", "twice")
	d.refused("POST", "/v2/containers", api.ContainerCreate{ID: "c2", Netns: "/etc/passwd"}, 400, "bad_request", "/etc/passwd")
	d.refused("POST", "/v2/containers", api.ContainerCreate{ID: "c2", OwnerPID: 1 << 30}, 400, "bad_request", "1073741824")
	d.refused("POST", "/v2/containers", api.ContainerCreate{ID: "c2", OwnerPID: os.Getpid(), OwnerPIDNamespace: "pid:[1]"}, 400, "bad_request", "PID namespace")
	d.refused("POST", "/v2/containers", api.ContainerCreate{ID: "c2", Networks: []api.Attachment{{Network: "host"}}, Publish: []api.Publish{{Port: 80}}}, 400, "bad_request", "host")
	if diff := cmp.Diff(before, d.k.Keys()); diff != "" {
		t.Errorf("what is refused has changed the kernel (-before +after):\n%s", diff)
	}
	if list := ok[[]api.Network](d, "GET", "/v2/networks", nil); len(list) != 2 {
		t.Errorf("what is refused has left networks: %+v", list)
	}

	ok[any](d, "DELETE", "/v2/containers/c1", nil)
	d.refused("DELETE", "/v2/containers/c1", nil, 404, "not_found", "c1")
	if _, err := os.Stat(k.HostsPath); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the hosts file is still there: %v", err)
	}
}

// cmpText compares addresses by their text.
var cmpText = cmp.Transformer("json", func(k api.Container) string {
	data, err := json.Marshal(k)
	if err != nil {
		return err.Error()
	}
	return string(data)
})

func TestOwner(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("needs /proc:", err)
	}
	d := newDaemon(t)
	k := ok[api.Container](d, "POST", "/v2/containers", api.ContainerCreate{ID: "c1", OwnerPID: os.Getpid()})
	if k.OwnerPID != os.Getpid() || k.OwnerStart == 0 {
		t.Errorf("owner %d of %d", k.OwnerPID, k.OwnerStart)
	}
}

func TestConnect(t *testing.T) {
	d := newDaemon(t)
	for _, name := range []string{"a", "b"} {
		ok[api.Network](d, "POST", "/v2/networks", api.NetworkCreate{Name: name})
	}
	ok[api.Container](d, "POST", "/v2/containers", api.ContainerCreate{ID: "c1", Networks: []api.Attachment{{Network: "a"}}})
	k := ok[api.Container](d, "POST", "/v2/networks/b/connect", api.NetworkConnect{Container: "c1", Attachment: api.Attachment{Aliases: []string{"x"}}})
	if len(k.Endpoints) != 2 {
		t.Fatalf("endpoints %+v", k.Endpoints)
	}
	d.refused("POST", "/v2/networks/b/connect", api.NetworkConnect{Container: "c1"}, 403, "conflict", "c1")
	d.refused("POST", "/v2/containers/c1/connect", api.Attachment{Network: "host"}, 403, "conflict", "host")
	d.refused("POST", "/v2/containers/c1/connect", api.Attachment{Network: "none"}, 403, "conflict", "none")
	d.refused("POST", "/v2/containers/nope/connect", api.Attachment{Network: "b"}, 404, "not_found", "nope")
	k = ok[api.Container](d, "POST", "/v2/containers/c1/disconnect", api.ContainerDisconnect{Network: "a"})
	if len(k.Endpoints) != 1 || k.Endpoints[0].Network != "b" {
		t.Errorf("endpoints %+v", k.Endpoints)
	}
	d.refused("POST", "/v2/networks/a/disconnect", api.NetworkDisconnect{Container: "c1"}, 404, "not_found", "not connected")
	ok[api.Container](d, "POST", "/v2/networks/b/disconnect", api.NetworkDisconnect{Container: "c1"})
	ok[api.Container](d, "POST", "/v2/containers/c1/connect", api.Attachment{Network: "none"})
	d.refused("POST", "/v2/containers/c1/connect", api.Attachment{Network: "a"}, 403, "conflict", "none")
	ok[api.Container](d, "POST", "/v2/containers", api.ContainerCreate{ID: "h1", Networks: []api.Attachment{{Network: "host"}}})
	d.refused("POST", "/v2/containers/h1/connect", api.Attachment{Network: "a"}, 403, "conflict", "host")
	d.refused("POST", "/v2/containers/h1/disconnect", api.ContainerDisconnect{Network: "host"}, 403, "conflict", "host")
}

// A join that fails leaves no endpoint behind.
func TestConnectFails(t *testing.T) {
	d := newDaemon(t)
	ok[api.Network](d, "POST", "/v2/networks", api.NetworkCreate{Name: "a"})
	ok[api.Container](d, "POST", "/v2/containers", api.ContainerCreate{ID: "c1", Networks: []api.Attachment{{Network: "none"}}})
	ok[api.Container](d, "POST", "/v2/containers/c1/disconnect", api.ContainerDisconnect{Network: "none"})
	broken := errors.New("the kernel is out of veths")
	d.k.Fail = func(op string, o model.Object) error {
		if _, veth := o.(model.Veth); veth && op == "create" {
			return broken
		}
		return nil
	}
	d.refused("POST", "/v2/containers/c1/connect", api.Attachment{Network: "a"}, 500, "internal", broken.Error())
	if n := ok[api.Network](d, "GET", "/v2/networks/a", nil); len(n.Endpoints) != 0 {
		t.Errorf("endpoints are left: %+v", n.Endpoints)
	}
}

func TestCommonNetworks(t *testing.T) {
	d := newDaemon(t)
	// Many first uses at once find the same network.
	const many = 16
	var wg sync.WaitGroup
	for i := range many {
		for _, network := range []string{"", "host", "none"} {
			wg.Go(func() {
				req := api.ContainerCreate{ID: "c" + network + string(rune('a'+i))}
				if network != "" {
					req.Networks = []api.Attachment{{Network: network}}
				}
				if status, text := d.do("POST", "/v2/containers", req); status != 201 {
					t.Errorf("%s on %q: %d %s", req.ID, network, status, text)
				}
			})
		}
	}
	wg.Wait()
	got := make(map[string]string)
	for _, n := range ok[[]api.Network](d, "GET", "/v2/networks", nil) {
		got[n.Name] = n.Driver
		if len(n.Endpoints) != many {
			t.Errorf("network %s has %d endpoints", n.Name, len(n.Endpoints))
		}
	}
	if diff := cmp.Diff(map[string]string{"default": "bridge", "host": "host", "none": "null"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := ok[api.Network](d, "GET", "/v2/networks/default", nil); n.Bridge != "dnet0" {
		t.Errorf("the bridge of the default network is %s", n.Bridge)
	}
	if k := ok[api.Container](d, "GET", "/v2/containers/chosta", nil); !k.Host || k.Netns != "" {
		t.Errorf("a container of the host: %+v", k)
	}
	d.refused("DELETE", "/v2/networks/host", nil, 403, "conflict", "host")
}

func TestRequests(t *testing.T) {
	d := newDaemon(t)
	for _, tt := range []struct {
		name, method, path, body string
		status                   int
		code, named              string
	}{
		{"no body", "POST", "/v2/networks", "", 400, "bad_request", "empty"},
		{"no JSON", "POST", "/v2/networks", "{", 400, "bad_request", "not understood"},
		{"unknown field", "POST", "/v2/networks", `{"name":"a","colour":"red"}`, 400, "bad_request", "colour"},
		{"wrong type", "POST", "/v2/networks", `{"name":1}`, 400, "bad_request", "name"},
		{"not an object", "POST", "/v2/networks", `[]`, 400, "bad_request", "not understood"},
		{"two objects", "POST", "/v2/networks", `{"name":"a"}{}`, 400, "bad_request", "after"},
		{"port too large", "POST", "/v2/containers", `{"id":"a","publish":[{"port":65536}]}`, 400, "bad_request", "65536"},
		{"body too large", "POST", "/v2/networks", `{"name":"` + strings.Repeat("a", api.MaxBody) + `"}`, 400, "bad_request", "larger"},
		{"bad name", "POST", "/v2/networks", `{"name":"a/b"}`, 400, "bad_request", "a/b"},
		{"no such path", "GET", "/v2/nope", "", 404, "not_found", "/v2/nope"},
		{"no such method", "PATCH", "/v2/networks", "", 404, "not_found", "PATCH"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := *d
			d.t = t
			d.refused(tt.method, tt.path, tt.body, tt.status, tt.code, tt.named)
		})
	}
	if list := ok[[]api.Network](d, "GET", "/v2/networks", nil); len(list) != 0 {
		t.Errorf("something was made: %+v", list)
	}
	if status, text := d.do("GET", "/_ping", nil); status != 200 || text != "OK" {
		t.Errorf("ping: %d %q", status, text)
	}
	if v := ok[api.Version](d, "GET", "/v2/version", nil); v.Version != "1.2.3" || v.API != "v2" {
		t.Errorf("version: %+v", v)
	}
	if h := ok[api.Health](d, "GET", "/v2/healthz", nil); h.Status != "ok" {
		t.Errorf("health: %+v", h)
	}
}

// Whoever does not wait any more leaves the queue, and nothing is done for them.
func TestWaitingEnds(t *testing.T) {
	d := newDaemon(t)
	entered, release := make(chan struct{}), make(chan struct{})
	d.k.Fail = func(op string, o model.Object) error {
		if _, bridge := o.(model.Bridge); bridge && op == "create" {
			close(entered)
			<-release
		}
		return nil
	}
	first := make(chan int, 1)
	go func() {
		status, _ := d.do("POST", "/v2/networks", api.NetworkCreate{Name: "web"})
		first <- status
	}()
	<-entered
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	w := httptest.NewRecorder()
	h := server.New(server.Config{Engine: d.e, Logger: slog.New(slog.DiscardHandler)})
	h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodPost, "/v2/networks", strings.NewReader(`{"name":"web"}`)))
	if w.Code != http.StatusRequestTimeout || !strings.Contains(w.Body.String(), `"timeout"`) {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	close(release)
	if status := <-first; status != http.StatusCreated {
		t.Errorf("the first request: %d", status)
	}
	if list := ok[[]api.Network](d, "GET", "/v2/networks", nil); len(list) != 1 {
		t.Errorf("networks: %+v", list)
	}
}

// Web pages cannot use the daemon.
func TestWebPages(t *testing.T) {
	d := newDaemon(t)
	for name, change := range map[string]func(*http.Request){
		"another origin":     func(r *http.Request) { r.Header.Set("Origin", "https://example.com") },
		"another site":       func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
		"a name of this one": func(r *http.Request) { r.Host = "evil.example.com:80" },
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.url+"/v2/networks/prune", nil)
			if err != nil {
				t.Fatal(err)
			}
			change(req)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close() //nolint:errcheck // read only
			if resp.StatusCode != http.StatusForbidden {
				t.Errorf("got %s", resp.Status)
			}
		})
	}
	u, err := url.Parse(d.url)
	if err != nil {
		t.Fatal(err)
	}
	d.url = "http://localhost:" + u.Port()
	ok[api.Version](d, "GET", "/v2/version", nil)
}

func FuzzRequests(f *testing.F) {
	for _, s := range []string{
		`{"name":"a","subnets":[{"subnet":"10.0.0.0/24","gateway":"10.0.0.1","aux_addresses":{"a":"10.0.0.2"}}]}`,
		`{"id":"a","networks":[{"network":"default"}],"publish":[{"port":80,"host_ip":"::1"}],"extra_hosts":[{"name":"a","address":"::1"}]}`,
		`{"container":"a","attachment":{"network":"a","mac":"02:00:00:00:00:01"}}`, `{}`, `[`, `null`,
	} {
		f.Add("/v2/networks", s)
		f.Add("/v2/containers", s)
		f.Add("/v2/networks/x/connect", s)
	}
	log := slog.New(slog.DiscardHandler)
	e, err := enginetest.Open(f.Context(), new(enginetest.Kernel), f.TempDir(), f.TempDir(), log)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = e.Close() })
	h := server.New(server.Config{Engine: e, Logger: log})
	f.Fuzz(func(t *testing.T, path, body string) {
		u := &url.URL{Path: "/" + strings.TrimLeft(path, "/")}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, u.String(), strings.NewReader(body)))
		if w.Code >= 300 && w.Code < 400 {
			return // a path that is not clean
		}
		if w.Code >= 500 {
			t.Errorf("%d: %s", w.Code, w.Body)
		}
		if w.Code >= 400 {
			var e api.Error
			if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || e.Message == "" || e.Code == "" {
				t.Errorf("%d: %q is no error: %v", w.Code, w.Body, err)
			}
		}
		for _, sb := range e.Sandboxes() {
			if err := sb.Delete(t.Context()); err != nil {
				t.Error(err)
			}
		}
		for _, n := range e.Networks() {
			if !n.Record().Transient && n.Record().Driver == "bridge" {
				if err := n.Delete(t.Context()); err != nil {
					t.Error(err)
				}
			}
		}
	})
}
