package conntrack

import (
	"net/netip"
	"testing"
)

// FuzzParseEntry: no bytes make the parser panic, and what it read of a tuple it
// reads again from its key.
func FuzzParseEntry(f *testing.F) {
	f.Add(tuple{attr: attrOrig, src: netip.MustParseAddr("10.0.0.1"), proto: 17, dport: 53}.attributes())
	f.Add(tuple{attr: attrReply, src: netip.MustParseAddr("fd00::1")}.attributes())
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<15 {
			t.Skip()
		}
		e := parseEntry(data)
		if again := parseEntry(e.key()); again.orig != e.orig {
			t.Errorf("got %+v, want %+v", again.orig, e.orig)
		}
	})
}
