//go:build linux

package libnetwork_test

import (
	"fmt"
	"testing"

	"github.com/libnetwork/libnetwork"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/types"
)

func TestErrorTypes(t *testing.T) {
	for _, tt := range []struct {
		err   error
		class string
	}{
		{libnetwork.ErrNoSuchNetwork("x"), "NotFound"},
		{libnetwork.ErrNoSuchEndpoint("x"), "NotFound"},
		{libnetwork.ErrInvalidNetworkDriver("x"), "BadRequest"},
		{libnetwork.ErrInvalidID("x"), "BadRequest"},
		{libnetwork.ErrInvalidName("x"), "BadRequest"},
		{&libnetwork.UnknownNetworkError{}, "NotFound"},
		{&libnetwork.ActiveEndpointsError{}, "Forbidden"},
		{&libnetwork.ActiveContainerError{}, "Forbidden"},
		{libnetwork.ErrInvalidJoin{}, "BadRequest"},
		{libnetwork.ErrNoContainer{}, "Maskable"},
		{libnetwork.NetworkTypeError("x"), "NotFound"},
		{libnetwork.NetworkNameError("x"), "Forbidden"},
		{&libnetwork.UnknownEndpointError{}, "NotFound"},
		{libnetwork.InvalidContainerIDError("x"), "BadRequest"},
	} {
		t.Run(fmt.Sprintf("ERR-1 %T", tt.err), func(t *testing.T) {
			wantClass(t, tt.err, tt.class)
			if tt.err.Error() == "" {
				t.Error("it says nothing")
			}
		})
	}
	t.Run("ERR-1 ErrInvalidConfigFile has no class", func(t *testing.T) {
		if got := classesOf(libnetwork.ErrInvalidConfigFile("x"), true); got != nil {
			t.Errorf("classes are %v", got)
		}
	})
}

func TestResolver(t *testing.T) {
	nstest.Require(t, nstest.Root) // for the address 127.0.0.11, in a namespace of the tests
	nstest.Leaks(t)
	r := libnetwork.NewResolver(nil)
	t.Run("DNS-12 the server's address and its options are fixed", func(t *testing.T) {
		diff(t, "server", "127.0.0.11", r.NameServer())
		diff(t, "options", []string{"ndots:0"}, r.ResolverOptions())
	})
	t.Run("DNS-12 Start without a set-up since the last Stop is a bad request", func(t *testing.T) {
		wantClass(t, r.Start(), "BadRequest")
		for range 2 {
			r.SetExtServers([]string{"192.0.2.1", "192.0.2.2", "x", "192.0.2.3", "192.0.2.4"})
			r.SetupFunc()()
			ok(t, r.Start())
			r.FlushExtServers()
			r.Stop()
			wantClass(t, r.Start(), "BadRequest")
		}
		r.SetupFunc()()
		r.Stop()
		r.Stop()
		wantClass(t, r.Start(), "BadRequest")
	})
}

func TestProviderUnchanged(t *testing.T) {
	c := newController(t)
	first := newNetwork(t, c, "a", subnet("10.1.0.0/24"))
	sb := newSandbox(t, c, "c1", libnetwork.OptionPortMapping([]types.PortBinding{{Proto: types.TCP, Port: 80, HostPort: 8080}}))
	ep := newEndpoint(t, first, "e")
	ok(t, ep.Join(sb))
	ns := inside(t, sb)
	u := serve(t, "10.1.0.1:53", "192.0.2.1", 0)
	t.Run("OSL-22 a join that does not change the provider leaves connections alone", func(t *testing.T) {
		conn := must(ns.Dial(t.Context(), "tcp", "10.1.0.1:53"))(t)
		defer conn.Close()
		ok(t, newEndpoint(t, newNetwork(t, c, "b", subnet("10.2.0.0/24")), "e").Join(sb))
		diff(t, "default routes", []string{"10.1.0.1 eth0"}, defaults(t, ns))
		q := query("outside.test.", "A")
		wire := must(q.Pack())(t)
		_ = must(conn.Write(append([]byte{byte(len(wire) >> 8), byte(len(wire))}, wire...)))(t)
		buf := make([]byte, 512)
		if n := must(conn.Read(buf))(t); n < 12 || len(u.asked()) != 1 {
			t.Errorf("%d bytes came back, the server was asked by %v", n, u.asked())
		}
	})
}
