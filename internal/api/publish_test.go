package api_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/api"
	"github.com/libnetwork/libnetwork/types"
)

// refused checks that an error is a BadRequest that names the value.
func refused(t *testing.T, err error, value string) {
	t.Helper()
	if err == nil {
		t.Fatal("got no error")
	}
	if _, ok := err.(types.BadRequestError); !ok {
		t.Errorf("got %T, want the class BadRequest: %v", err, err)
	}
	if !errors.As(err, new(types.BadRequestError)) {
		t.Errorf("errors.As finds no BadRequest in %v", err)
	}
	if !strings.Contains(err.Error(), value) {
		t.Errorf("error %q does not name %q", err, value)
	}
}

func TestParsePublish(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want api.Publish
	}{
		{"80", api.Publish{Port: 80}},
		{"80/udp", api.Publish{Port: 80, Protocol: "udp"}},
		{"80/TCP", api.Publish{Port: 80, Protocol: "tcp"}},
		{"8080:80", api.Publish{HostPort: 8080, Port: 80}},
		{"8000-8010:8000-8010/tcp", api.Publish{HostPort: 8000, HostPortEnd: 8010, Port: 8000, PortEnd: 8010, Protocol: "tcp"}},
		{"8000-8010:80", api.Publish{HostPort: 8000, HostPortEnd: 8010, Port: 80}},
		{"80-90", api.Publish{Port: 80, PortEnd: 90}},
		{"127.0.0.1:8080:80", api.Publish{HostIP: "127.0.0.1", HostPort: 8080, Port: 80}},
		{"127.0.0.1::80", api.Publish{HostIP: "127.0.0.1", Port: 80}},
		{"127.0.0.1:80", api.Publish{HostIP: "127.0.0.1", Port: 80}},
		{"[::1]:8080:80/udp", api.Publish{HostIP: "::1", HostPort: 8080, Port: 80, Protocol: "udp"}},
		{"[2001:db8::1]::80-81", api.Publish{HostIP: "2001:db8::1", Port: 80, PortEnd: 81}},
		{"65535:65535", api.Publish{HostPort: 65535, Port: 65535}},
	} {
		t.Run("ok, "+tt.in, func(t *testing.T) {
			got, err := api.ParsePublish(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	for _, tt := range []struct{ in, named string }{
		{"", `""`},
		{"0", `"0"`},
		{"65536", `"65536"`},
		{"-1", `"-1"`},
		{"+80", `"+80"`},
		{"http", `"http"`},
		{"0:80", `"0"`},
		{"65536:80", `"65536"`},
		{":80", `":80"`},
		{"80:", `""`},
		{"90-80", "90-80"},
		{"9000-8000:80", "9000-8000"},
		{"80-81-82", `"81-82"`},
		{"8000-8001:80-82", "3 ports"},
		{"8000:80-81", "2 ports"},
		{"80/", "slash"},
		{"80/icmp", `"icmp"`},
		{"80/tcp/udp", `"tcp/udp"`},
		{"1.2.3:80:80", `"1.2.3"`},
		{"host:80:80", `"host"`},
		{"::1:80:80", `"::1:80:80"`},
		{"[1.2.3.4]:80:80", "[1.2.3.4]"},
		{"[::1%eth0]:80:80", "::1%eth0"},
		{"[::1]80", "[::1]80"},
		{"[::1]:", `""`},
		{"224.0.0.1:80:80", `"224.0.0.1"`},
		{"1.1.1.1:1:2:3", "1:2:3"},
		{" 80", `" 80"`},
	} {
		t.Run("bad, "+tt.in, func(t *testing.T) {
			got, err := api.ParsePublish(tt.in)
			if err == nil {
				t.Fatalf("got %+v", got)
			}
			refused(t, err, tt.named)
		})
	}
}

func TestParseAttachment(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want api.Attachment
	}{
		{"web", api.Attachment{Network: "web"}},
		{"none", api.Attachment{Network: "none"}},
		{
			"web:ip=10.0.0.9,ip6=fd00::9,mac=02:42:0a:00:00:09,alias=a,alias=b,priority=-7,ifname=net0",
			api.Attachment{
				Network: "web", IPv4: "10.0.0.9", IPv6: "fd00::9", MAC: "02:42:0a:00:00:09",
				Aliases: []string{"a", "b"}, Priority: -7, Interface: "net0",
			},
		},
	} {
		t.Run("ok, "+tt.in, func(t *testing.T) {
			got, err := api.ParseAttachment(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	for _, tt := range []struct{ in, named string }{
		{"", `""`},
		{":ip=10.0.0.1", `":ip=10.0.0.1"`},
		{"web:", `"web:"`},
		{"web:ip", `"ip"`},
		{"web:ip=", "ip has no value"},
		{"web:=10.0.0.1", `option ""`},
		{"web:ip=10.0.0.1,", "comma"},
		{"web:ip=10.0.0.1,ip=10.0.0.2", "ip is given twice"},
		{"web:ip=fd00::1", `"fd00::1"`},
		{"web:ip=10.0.0", `"10.0.0"`},
		{"web:ip=0.0.0.0", `"0.0.0.0"`},
		{"web:ip=224.0.0.1", `"224.0.0.1"`},
		{"web:ip6=10.0.0.1", `"10.0.0.1"`},
		{"web:ip6=::ffff:10.0.0.1", `"::ffff:10.0.0.1"`},
		{"web:ip6=fe80::1%eth0", `"fe80::1%eth0"`},
		{"web:mac=02:42", `"02:42"`},
		{"web:mac=01:00:5e:00:00:01", "01:00:5e:00:00:01"},
		{"web:mac=00:00:00:00:00:00", "all zero"},
		{"web:mac=02:00:00:00:00:00:00:01", `"02:00:00:00:00:00:00:01"`},
		{"web:alias=a b", `"a b"`},
		{"web:alias=-a", `"-a"`},
		{"web:priority=high", `"high"`},
		{"web:ifname=a/b", `"a/b"`},
		{"web:ifname=sixteen-letters!", `"sixteen-letters!"`},
		{"web:ifname=lo", `"lo"`},
		{"web:ifname=all", `"all"`},
		{"web:ifname=default", `"default"`},
		{"web:colour=red", `"colour"`},
		{"host:ip=10.0.0.1", "host"},
		{"none:alias=a", "none"},
	} {
		t.Run("bad, "+tt.in, func(t *testing.T) {
			_, err := api.ParseAttachment(tt.in)
			refused(t, err, tt.named)
		})
	}
}

func FuzzParsePublish(f *testing.F) {
	for _, s := range []string{"80", "8080:80/udp", "[::1]:8000-8010:80-90", "127.0.0.1::80", "1-2:3-4", "[", "]:", ":::"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := api.ParsePublish(s)
		if err != nil {
			return
		}
		// What is understood is written in a form that means the same.
		again, err := api.ParsePublish(p.String())
		if err != nil {
			t.Fatalf("%q was read as %q, which is refused: %v", s, p, err)
		}
		if diff := cmp.Diff(normal(p), normal(again)); diff != "" {
			t.Errorf("%q (-first +second):\n%s", s, diff)
		}
	})
}

// normal writes a range of one port as a single port.
func normal(p api.Publish) api.Publish {
	if p.PortEnd == p.Port {
		p.PortEnd = 0
	}
	if p.HostPortEnd == p.HostPort {
		p.HostPortEnd = 0
	}
	return p
}

func FuzzParseAttachment(f *testing.F) {
	for _, s := range []string{"web", "web:ip=10.0.0.1,alias=a,alias=b", "host", "a:ip6=fd00::1,mac=02:00:00:00:00:01", "a:,", ":"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := api.ParseAttachment(s)
		if err != nil {
			return
		}
		if a.Network == "" || strings.Contains(a.Network, ":") {
			t.Errorf("%q: network %q", s, a.Network)
		}
		if err := a.Check(); err != nil {
			t.Errorf("%q was understood, and is refused: %v", s, err)
		}
	})
}
