package driverapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/types"
)

func cidr(t *testing.T, s string) *net.IPNet {
	t.Helper()
	n, err := types.ParseCIDR(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestErrorClasses(t *testing.T) {
	for _, tt := range []struct {
		err    error
		text   string
		class  any
		direct bool
	}{
		{ErrNoNetwork("n1"), "network n1", new(types.NotFoundError), is[types.NotFoundError](ErrNoNetwork("n1"))},
		{ErrNoEndpoint("e1"), "endpoint e1", new(types.NotFoundError), is[types.NotFoundError](ErrNoEndpoint("e1"))},
		{ErrEndpointExists("e1"), "endpoint e1", new(types.ForbiddenError), is[types.ForbiddenError](ErrEndpointExists("e1"))},
		{ErrActiveRegistration("bridge"), "network type bridge", new(types.ForbiddenError), is[types.ForbiddenError](ErrActiveRegistration("bridge"))},
		{ErrNotImplemented{}, "not implemented", new(types.NotImplementedError), is[types.NotImplementedError](ErrNotImplemented{})},
	} {
		t.Run(fmt.Sprintf("%T", tt.err), func(t *testing.T) {
			if !tt.direct {
				t.Error("a type assertion does not find the class")
			}
			if !errors.As(fmt.Errorf("wrapped: %w", tt.err), tt.class) {
				t.Error("errors.As does not find the class")
			}
			if !errors.Is(fmt.Errorf("wrapped: %w", tt.err), tt.err) {
				t.Error("errors.Is does not find an equal value")
			}
			if !strings.Contains(tt.err.Error(), tt.text) {
				t.Errorf("%q does not say %q", tt.err, tt.text)
			}
		})
	}
}

func is[T any](err error) bool {
	_, ok := err.(T)
	return ok
}

func TestIPAMDataValidate(t *testing.T) {
	pool, gw := cidr(t, "172.31.4.0/24"), cidr(t, "172.31.4.1/24")
	pool6, gw6 := cidr(t, "fd00:4::/64"), cidr(t, "fd00:4::1/64")
	aux := func(n *net.IPNet) map[string]*net.IPNet { return map[string]*net.IPNet{"dns": n} }
	for _, tt := range []struct {
		name string
		data IPAMData
		want string
	}{
		{"IPv4", IPAMData{Pool: pool, Gateway: gw, AuxAddresses: aux(cidr(t, "172.31.4.2/24"))}, ""},
		{"IPv6", IPAMData{Pool: pool6, Gateway: gw6, AuxAddresses: aux(cidr(t, "fd00:4::2/64"))}, ""},
		{"no pool", IPAMData{Gateway: gw}, "no pool"},
		{"no gateway", IPAMData{Pool: pool}, "pool 172.31.4.0/24: no gateway"},
		{"gateway of IPv6", IPAMData{Pool: pool, Gateway: gw6}, "another address family"},
		{"gateway of IPv4", IPAMData{Pool: pool6, Gateway: gw}, "another address family"},
		{"gateway outside", IPAMData{Pool: pool, Gateway: cidr(t, "172.31.5.1/24")}, "gateway 172.31.5.1/24 is outside"},
		{"aux of IPv6", IPAMData{Pool: pool, Gateway: gw, AuxAddresses: aux(gw6)}, "another address family"},
		{"aux outside", IPAMData{Pool: pool, Gateway: gw, AuxAddresses: aux(cidr(t, "172.31.5.1/24"))}, "auxiliary address dns 172.31.5.1/24 is outside"},
		{"aux nil", IPAMData{Pool: pool, Gateway: gw, AuxAddresses: aux(nil)}, "auxiliary address dns is nil"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.data.Validate()
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !is[types.BadRequestError](err) || !strings.Contains(fmt.Sprint(err), tt.want) {
				t.Errorf("error %T %v, want a BadRequestError with %q", err, err, tt.want)
			}
		})
	}
}

func TestIPAMDataIsV6(t *testing.T) {
	for pool, want := range map[string]bool{"10.0.0.0/8": false, "0.0.0.0/0": false, "fd00::/8": true, "::/0": true} {
		if got := (&IPAMData{Pool: cidr(t, pool)}).IsV6(); got != want {
			t.Errorf("IsV6 of %s = %v, want %v", pool, got, want)
		}
	}
	if (&IPAMData{}).IsV6() {
		t.Error("no pool is one of IPv6")
	}
}

func TestIPAMDataString(t *testing.T) {
	d := IPAMData{AddressSpace: "LocalDefault", Pool: cidr(t, "10.0.0.0/8"), AuxAddresses: map[string]*net.IPNet{"a": cidr(t, "10.0.0.9/8")}}
	want := "address space LocalDefault, pool 10.0.0.0/8, gateway <nil>, auxiliary addresses map[a:10.0.0.9/8]"
	if diff := cmp.Diff(want, d.String()); diff != "" {
		t.Errorf("String (-want +got):\n%s", diff)
	}
}

func TestIPAMDataJSON(t *testing.T) {
	full := IPAMData{
		AddressSpace: "LocalDefault", Pool: cidr(t, "172.31.4.0/24"), Gateway: cidr(t, "172.31.4.1/24"),
		AuxAddresses: map[string]*net.IPNet{"dns": cidr(t, "172.31.4.2/24")},
	}
	for _, tt := range []struct {
		name, text string
		want       IPAMData
	}{
		{"all", `{"AddressSpace":"LocalDefault","Pool":"172.31.4.0/24","Gateway":"172.31.4.1/24","AuxAddresses":{"dns":"172.31.4.2/24"}}`, full},
		{"what is nil is absent", `{"AddressSpace":"x"}`, IPAMData{AddressSpace: "x"}},
		{"no addresses yet", `{"AddressSpace":"x","Pool":"fd00::/64","AuxAddresses":{}}`, IPAMData{AddressSpace: "x", Pool: cidr(t, "fd00::/64"), AuxAddresses: map[string]*net.IPNet{}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got IPAMData
			if err := json.Unmarshal([]byte(tt.text), &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("read (-want +got):\n%s", diff)
			}
			text, err := json.Marshal(&got)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.text, string(text)); diff != "" {
				t.Errorf("written (-want +got):\n%s", diff)
			}
		})
	}

	for _, tt := range []struct {
		name, text string
		want       IPAMData
	}{
		{"wire 2.2 plain addresses", `{"AddressSpace":"LocalDefault","Pool":"172.31.4.0/24","Gateway":"172.31.4.1","AuxAddresses":{"dns":"172.31.4.2"}}`, full},
		{"wire 2.2 no address space", `{"Pool":"0.0.0.0/0"}`, IPAMData{Pool: cidr(t, "0.0.0.0/0")}},
		{"plain address without pool", `{"Gateway":"fd00::1"}`, IPAMData{Gateway: cidr(t, "fd00::1/128")}},
		{"null", `{"Pool":null,"AuxAddresses":null}`, IPAMData{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := IPAMData{AddressSpace: "old", Gateway: cidr(t, "1.1.1.1/8")}
			if err := json.Unmarshal([]byte(tt.text), &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("read (-want +got):\n%s", diff)
			}
		})
	}
}

func TestIPAMDataJSONRefuses(t *testing.T) {
	for _, text := range []string{
		`[]`, `{"AddressSpace":1}`, `{"Pool":"10.0.0.0"}`, `{"Pool":"x/8"}`, `{"Gateway":"x"}`, `{"AuxAddresses":{"a":""}}`, `{"AuxAddresses":["a"]}`,
	} {
		t.Run(text, func(t *testing.T) {
			got := IPAMData{AddressSpace: "old"}
			err := json.Unmarshal([]byte(text), &got)
			if !errors.As(err, new(types.BadRequestError)) {
				t.Errorf("error %T %v, want a BadRequestError", err, err)
			}
			if diff := cmp.Diff(IPAMData{AddressSpace: "old"}, got); diff != "" {
				t.Errorf("changed in spite of the error (-want +got):\n%s", diff)
			}
		})
	}
	for name, d := range map[string]*IPAMData{
		"mask with holes": {Pool: &net.IPNet{IP: net.IP{10, 0, 0, 0}, Mask: net.IPMask{255, 0, 255, 0}}},
		"no mask":         {Gateway: &net.IPNet{IP: net.IP{10, 0, 0, 0}}},
		"empty aux":       {AuxAddresses: map[string]*net.IPNet{"a": {}}},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := json.Marshal(d)
			if !errors.As(err, new(types.BadRequestError)) {
				t.Errorf("written %s, error %T %v, want a BadRequestError", text, err, err)
			}
		})
	}
}

func FuzzIPAMDataJSON(f *testing.F) {
	for _, s := range []string{
		`{"AddressSpace":"LocalDefault","Pool":"172.31.4.0/24","Gateway":"172.31.4.1/24","AuxAddresses":{"dns":"172.31.4.2"}}`,
		`{"Pool":"fd00::/8","Gateway":"::ffff:1.2.3.4"}`, `null`, `{"Pool":"::ffff:10.0.0.0/104","Gateway":"10.0.0.1"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var a, b IPAMData
		if json.Unmarshal(data, &a) != nil {
			return
		}
		_ = a.Validate()
		text, err := json.Marshal(&a)
		if err != nil {
			t.Fatalf("%s is read as %s and cannot be written: %v", data, &a, err)
		}
		if err := json.Unmarshal(text, &b); err != nil {
			t.Fatalf("%s is written as %s and cannot be read: %v", data, text, err)
		}
		if diff := cmp.Diff(a.String(), b.String()); diff != "" {
			t.Fatalf("%s is written as %s and read as something else (-want +got):\n%s", data, text, diff)
		}
	})
}

func TestIPAMDataErrorKeepsItsCause(t *testing.T) {
	err := (&IPAMData{}).UnmarshalJSON([]byte(`{"Pool":"10.0.0.0/99"}`))
	var parse *net.ParseError
	if !errors.As(err, &parse) || errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v does not hold its *net.ParseError", err)
	}
}
