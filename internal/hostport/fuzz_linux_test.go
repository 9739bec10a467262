package hostport

import (
	"net/netip"
	"testing"
)

// FuzzParseSocket: no bytes make the parser panic, and a socket always blocks
// its own address.
func FuzzParseSocket(f *testing.F) {
	f.Add(make([]byte, diagMsgLen))
	f.Add(append(append([]byte{10}, make([]byte, diagMsgLen-1)...), 5, 0, attrV6Only, 0, 1, 0, 0, 0))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, ok := parseSocket(data)
		if ok && !s.blocks(s.addr.Unmap()) {
			t.Errorf("%+v does not block its own address", s)
		}
		_ = s.blocks(netip.IPv6Unspecified())
	})
}

func TestParseRange(t *testing.T) {
	for _, tt := range []struct {
		text      string
		low, high uint16
	}{
		{"32768\t60999\n", 32768, 60999},
		{"", DefaultLow, DefaultHigh},
		{"1", DefaultLow, DefaultHigh},
		{"0 5", DefaultLow, DefaultHigh},
		{"6 5", DefaultLow, DefaultHigh},
		{"1 65536", DefaultLow, DefaultHigh},
		{"a b", DefaultLow, DefaultHigh},
	} {
		if low, high := parseRange(tt.text); low != tt.low || high != tt.high {
			t.Errorf("%q: %d-%d, want %d-%d", tt.text, low, high, tt.low, tt.high)
		}
	}
}
