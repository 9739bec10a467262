package types

import (
	"encoding/json"
	"errors"
	"net"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTransportPortFromString(t *testing.T) {
	for _, tt := range []struct {
		text    string
		want    TransportPort
		wantErr bool
	}{
		{text: "tcp/23", want: TransportPort{TCP, 23}},
		{text: "SCTP/65535", want: TransportPort{SCTP, 65535}},
		{text: "udp/0", want: TransportPort{UDP, 0}},
		{text: "gre/5", want: TransportPort{0, 5}},
		{text: "tcp/65536", wantErr: true},
		{text: "tcp/-1", wantErr: true},
		{text: "tcp/", wantErr: true},
		{text: "tcp", wantErr: true},
		{text: "tcp/1/2", wantErr: true},
		{text: "", wantErr: true},
	} {
		t.Run(tt.text, func(t *testing.T) {
			before := TransportPort{ICMP, 9}
			got := before
			err := got.FromString(tt.text)
			if _, bad := err.(BadRequestError); bad != tt.wantErr {
				t.Fatalf("error %v, want a BadRequestError: %v", err, tt.wantErr)
			}
			want := tt.want
			if tt.wantErr {
				want = before
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("FromString (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTransportPortEqual(t *testing.T) {
	a := &TransportPort{TCP, 1}
	b := a.GetCopy()
	var none *TransportPort
	if !a.Equal(&b) || !none.Equal(nil) {
		t.Error("the same is not equal")
	}
	if a.Equal(nil) || none.Equal(a) || a.Equal(&TransportPort{UDP, 1}) || a.Equal(&TransportPort{TCP, 2}) {
		t.Error("what differs is equal")
	}
	if a.String() != "tcp/1" {
		t.Errorf("String = %q", a)
	}
}

func TestPortBindingText(t *testing.T) {
	for _, tt := range []struct {
		text string
		want PortBinding
	}{
		{"tcp/172.17.0.2:80/192.0.2.1:8080", PortBinding{Proto: TCP, IP: net.IPv4(172, 17, 0, 2), Port: 80, HostIP: net.IPv4(192, 0, 2, 1), HostPort: 8080}},
		{"udp/:53/:0", PortBinding{Proto: UDP, Port: 53}},
		{"sctp/[fd00::2]:80/[::]:8080", PortBinding{Proto: SCTP, IP: net.ParseIP("fd00::2"), Port: 80, HostIP: net.IPv6zero, HostPort: 8080}},
		{"0/:1/[::1]:2", PortBinding{Port: 1, HostIP: net.IPv6loopback, HostPort: 2}},
	} {
		t.Run(tt.text, func(t *testing.T) {
			got := PortBinding{HostPortEnd: 7}
			if err := got.FromString(tt.text); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("FromString (-want +got):\n%s", diff)
			}
			if got.String() != tt.text {
				t.Errorf("String = %q, want %q", got.String(), tt.text)
			}
		})
	}
	b := PortBinding{Proto: TCP, HostPort: 1, HostPortEnd: 9}
	if got := b.String(); got != "tcp/:0/:1" {
		t.Errorf("String = %q: the end of the range has no place in it", got)
	}
}

func TestPortBindingFromStringRefuses(t *testing.T) {
	for _, s := range []string{
		"", "tcp", "tcp/:1", "tcp/:1/:2/:3", "tcp/1/:2", "tcp/:x/:2", "tcp/:1/:65536", "tcp/:1/:", "tcp/host:1/:2",
		"tcp/1.2.3:1/:2", "tcp/fd00::2:80/:2", "tcp/[fd00::2]/:2", "tcp/[fd00::2:1/:2", "tcp/:1/[fe80::1%eth0]:2",
	} {
		t.Run(s, func(t *testing.T) {
			got := PortBinding{Proto: ICMP, Port: 3}
			err := got.FromString(s)
			if _, ok := err.(BadRequestError); !ok {
				t.Fatalf("error %T %v, want a BadRequestError", err, err)
			}
			if diff := cmp.Diff(PortBinding{Proto: ICMP, Port: 3}, got); diff != "" {
				t.Errorf("changed in spite of the error (-want +got):\n%s", diff)
			}
		})
	}
	err := new(PortBinding).FromString("tcp/:70000/:1")
	if !errors.Is(err, strconv.ErrRange) {
		t.Errorf("error %v does not keep its cause", err)
	}
}

func TestPortBindingEqualAndCopy(t *testing.T) {
	a := &PortBinding{Proto: TCP, IP: net.IP{10, 0, 0, 2}, Port: 1, HostIP: net.IP{127, 0, 0, 1}, HostPort: 2, HostPortEnd: 3}
	same := &PortBinding{Proto: TCP, IP: net.IPv4(10, 0, 0, 2), Port: 1, HostIP: net.IPv4(127, 0, 0, 1), HostPort: 2, HostPortEnd: 3}
	var none *PortBinding
	if !a.Equal(same) || !none.Equal(nil) {
		t.Error("the same is not equal")
	}
	if a.Equal(nil) || none.Equal(a) {
		t.Error("something equals nil")
	}
	for name, change := range map[string]func(*PortBinding){
		"Proto":       func(b *PortBinding) { b.Proto = UDP },
		"IP":          func(b *PortBinding) { b.IP[3]++ },
		"no IP":       func(b *PortBinding) { b.IP = nil },
		"Port":        func(b *PortBinding) { b.Port++ },
		"HostIP":      func(b *PortBinding) { b.HostIP[3]++ },
		"HostPort":    func(b *PortBinding) { b.HostPort++ },
		"HostPortEnd": func(b *PortBinding) { b.HostPortEnd++ },
	} {
		t.Run(name, func(t *testing.T) {
			b := a.GetCopy()
			if !b.Equal(a) {
				t.Fatal("a copy differs")
			}
			change(&b)
			if a.Equal(&b) || b.Equal(a) {
				t.Error("not noticed")
			}
			if !a.Equal(same) {
				t.Error("the copy shares memory")
			}
		})
	}
}

func TestPortBindingAddr(t *testing.T) {
	b := PortBinding{Proto: TCP, IP: net.IP{10, 0, 0, 2}, Port: 80, HostIP: net.IP{127, 0, 0, 1}, HostPort: 8080}
	for _, tt := range []struct {
		proto      Protocol
		host, cont net.Addr
	}{
		{TCP, &net.TCPAddr{IP: b.HostIP, Port: 8080}, &net.TCPAddr{IP: b.IP, Port: 80}},
		{UDP, &net.UDPAddr{IP: b.HostIP, Port: 8080}, &net.UDPAddr{IP: b.IP, Port: 80}},
		{SCTP, nil, nil},
		{0, nil, nil},
	} {
		t.Run(tt.proto.String(), func(t *testing.T) {
			b := b
			b.Proto = tt.proto
			host, hostErr := b.HostAddr()
			cont, contErr := b.ContainerAddr()
			if diff := cmp.Diff([]net.Addr{tt.host, tt.cont}, []net.Addr{host, cont}); diff != "" {
				t.Errorf("addresses (-want +got):\n%s", diff)
			}
			var want error
			if tt.host == nil {
				want = ErrInvalidProtocolBinding(tt.proto.String())
			}
			if !errors.Is(hostErr, want) || !errors.Is(contErr, want) {
				t.Errorf("errors %v and %v, want %v", hostErr, contErr, want)
			}
		})
	}
}

func TestPortJSON(t *testing.T) {
	t.Run("wire 2.3 form of the options", func(t *testing.T) {
		b := PortBinding{Proto: TCP, Port: 80, HostIP: net.IPv4zero, HostPort: 8080, HostPortEnd: 8080}
		got, err := json.Marshal([]any{TransportPort{TCP, 80}, b})
		if err != nil {
			t.Fatal(err)
		}
		want := `[{"Proto":6,"Port":80},{"Proto":6,"IP":"","Port":80,"HostIP":"0.0.0.0","HostPort":8080,"HostPortEnd":8080}]`
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("JSON (-want +got):\n%s", diff)
		}
	})
}

func FuzzPortBindingFromString(f *testing.F) {
	for _, s := range []string{"tcp/172.17.0.2:80/192.0.2.1:8080", "udp/:53/:0", "sctp/[fd00::2]:80/[::ffff:1.2.3.4]:1", "x/[]:1/[1.2.3.4]:2", "tcp/a:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var a, b PortBinding
		if err := a.FromString(s); err != nil {
			if _, ok := err.(BadRequestError); !ok {
				t.Fatalf("error %T %v, want a BadRequestError", err, err)
			}
			return
		}
		if err := b.FromString(a.String()); err != nil || !a.Equal(&b) {
			t.Fatalf("%q gives %q, which gives %q, %v", s, &a, &b, err)
		}
	})
}

func FuzzTransportPortFromString(f *testing.F) {
	for _, s := range []string{"tcp/23", "gre/5", "TCP/065535", "/1", "udp/1/2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var a, b TransportPort
		if err := a.FromString(s); err != nil {
			if _, ok := err.(BadRequestError); !ok {
				t.Fatalf("error %T %v, want a BadRequestError", err, err)
			}
			return
		}
		if err := b.FromString(a.String()); err != nil || !a.Equal(&b) {
			t.Fatalf("%q gives %q, which gives %q, %v", s, &a, &b, err)
		}
	})
}
