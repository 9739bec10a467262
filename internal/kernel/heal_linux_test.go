package kernel_test

import (
	"context"
	"errors"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/step"
)

// state is what a site has made, without what differs each time.
func (s *site) state(t *testing.T) string {
	t.Helper()
	out, port := settings(t, s.bridge.Name), ports(t, s.bridge.Name)
	// That a link has its carrier back the kernel enters up to a second later.
	for late := time.Now().Add(2 * time.Second); strings.Contains(port, "NO-CARRIER") && time.Now().Before(late); {
		time.Sleep(10 * time.Millisecond)
		port = ports(t, s.bridge.Name)
	}
	fields := strings.Fields(port)
	if len(fields) > 2 {
		out += fields[0] + " " + fields[1] + " " + fields[3] + "\n"
	}
	for _, args := range [][]string{{"-br", "addr", "show", "dev", "eth0"}, {"route"}} {
		got, err := exec.Command("nsenter", append([]string{"--net=" + s.veth.Netns, "ip"}, args...)...).CombinedOutput()
		out += string(got)
		if err != nil {
			out += err.Error()
		}
	}
	return regexp.MustCompile(`@if\d+ *`).ReplaceAllString(out, " ")
}

// A repair that fails at any step is not told of as one, and the next one does what it
// has left undone.
func TestRepairAfterFailure(t *testing.T) {
	s := newSite(t, "/run/again")
	var steps, end atomic.Int32
	k := s.open(t, step.New(func(int, string) error {
		if steps.Add(1) == end.Load() {
			return step.ErrInjected
		}
		return nil
	}))
	if _, err := k.Recover(t.Context(), s.want, false); err != nil {
		t.Fatal(err)
	}
	want := s.state(t)
	for _, tt := range []struct{ name, lose, told string }{
		{"addresses of a bridge", "addr flush dev brx", "bridge/brx"},
		{"a bridge that is down", "link set brx down", "bridge/brx"},
		{"a bridge", "link del brx", "bridge/brx veth/vethx"},
		{"a port", "link set vethx nomaster", "veth/vethx"},
		{"a link", "link del vethx", "veth/vethx"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for n, done := int32(1), false; !done; n++ {
				ip(t, strings.Fields(tt.lose)...)
				steps.Store(0)
				end.Store(n)
				told, err := k.RepairLinks(t.Context(), s.want)
				end.Store(0)
				if done = err == nil; done && n == 1 {
					t.Error("no step has failed")
				}
				if err != nil && !errors.Is(err, step.ErrInjected) {
					t.Errorf("step %d: %v", n, err)
				}
				if !done && strings.Join(told, " ") == tt.told {
					t.Errorf("step %d: it has failed, and was told of: %v", n, told)
				}
				more, err := k.RepairLinks(t.Context(), s.want)
				if err != nil {
					t.Errorf("step %d, again: %v", n, err)
				}
				told = slices.Compact(slices.Sorted(slices.Values(append(told, more...))))
				if diff := cmp.Diff(tt.told, strings.Join(told, " ")); diff != "" {
					t.Errorf("step %d: what was told of (-want +got):\n%s", n, diff)
				}
				if diff := cmp.Diff(want, s.state(t)); diff != "" {
					t.Errorf("step %d (-want +got):\n%s", n, diff)
				}
			}
		})
	}
	s.away(t, k)
}

// A bridge of somebody else that comes back, or gets the name that it had, is told of:
// there may be veths for it.
func TestForeignBridgeComesBack(t *testing.T) {
	s := newSite(t, "/run/back")
	ip(t, "link", "add", "brx", "type", "bridge")
	s.bridge.Adopted, s.veth.Adopted = true, true
	s.want[0], s.want[2] = s.bridge, s.veth
	k := s.start(t)
	told := make(chan string, 100)
	run, err := k.Watch(func(link string, _ bool) { told <- link }, func() {}, func() {}, func(string, string) {})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- run(ctx) }()
	hear := func(what string) {
		t.Helper()
		for late := time.After(10 * time.Second); ; {
			select {
			case link := <-told:
				if link == what {
					return
				}
			case <-late:
				t.Fatalf("nothing was told of %s", what)
			}
		}
	}
	ip(t, "link", "del", "brx")
	hear("vethx")
	if _, err := k.RepairLinks(t.Context(), s.want); err == nil {
		t.Error("without a bridge the repair has not failed")
	}
	for _, commands := range [][]string{
		{"link add brx type bridge"},
		{"link set brx name bry", "link add brx type bridge"},
		{"link del brx", "link set bry name brx"},
	} {
		for _, c := range commands {
			ip(t, strings.Fields(c)...)
		}
		hear("brx")
	}
	if keys, err := k.RepairLinks(t.Context(), s.want); err != nil || !slices.Equal(keys, []string{"veth/vethx"}) || ports(t, "brx") == "" {
		t.Errorf("repaired %v, %v; ports %q", keys, err, ports(t, "brx"))
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	s.away(t, k)
	ip(t, "link", "del", "brx") // it is still there
}
