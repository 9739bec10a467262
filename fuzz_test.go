//go:build linux

package libnetwork_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork"
	"github.com/libnetwork/libnetwork/types"
)

// Whatever text there is, reading it does not panic and leaves the value alone if
// it fails; what is read is written, and read again as the same.
func FuzzIpamInfoJSON(f *testing.F) {
	for _, s := range []string{
		`{"PoolID":"LocalDefault/10.0.0.0/8","Meta":{"a":"b"},"IPAMData":"{\"AddressSpace\":\"s\",\"Pool\":\"10.0.0.0/8\",\"Gateway\":\"10.0.0.1/8\",\"AuxAddresses\":{\"x\":\"10.0.0.2/8\"}}"}`,
		`{"IPAMData":"{\"Pool\":\"fd00::/8\"}"}`, `{"IPAMData":"7"}`, `{"IPAMData":{}}`, `{"PoolID":7}`, `[]`, `null`, `{}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		a := libnetwork.IpamInfo{PoolID: "before"}
		if err := a.UnmarshalJSON(data); err != nil {
			if _, ok := err.(types.BadRequestError); !ok {
				t.Fatalf("error %T %v, want a BadRequestError", err, err)
			}
			if a.PoolID != "before" || a.Pool != nil {
				t.Fatalf("%s: the value has become %+v", data, a)
			}
			return
		}
		text, err := json.Marshal(&a)
		if err != nil {
			t.Fatalf("%s is read as %+v and cannot be written: %v", data, a, err)
		}
		var b, copied libnetwork.IpamInfo
		if err := json.Unmarshal(text, &b); err != nil {
			t.Fatalf("%s is written as %s and cannot be read: %v", data, text, err)
		}
		if err := b.CopyTo(&copied); err != nil {
			t.Fatal(err)
		}
		again, err := json.Marshal(&copied)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(text), string(again)); diff != "" {
			t.Fatalf("%s is written as something else the second time (-first +second):\n%s", data, diff)
		}
	})
}
