package nft

import (
	"testing"

	"golang.org/x/sys/unix"
)

// FuzzMessages: no bytes make a parser panic or hang.
func FuzzMessages(f *testing.F) {
	b := &batch{}
	b.batchBegin()
	b.setElems(unix.NFT_MSG_NEWSETELEM, unix.NFPROTO_IPV4, "t", []elem{
		{set: setBridges, key: string(ifname("br0")), comment: "net"},
		{set: setMarked, key: string(ifname("br0")), chain: "in_net", comment: "net"},
	})
	b.batchEnd()
	f.Add(b.buf)
	f.Fuzz(func(_ *testing.T, data []byte) {
		for _, m := range messages(data) {
			_ = m.err()
			_ = m.family()
			_ = (&batch{buf: data}).describe(m.seq)
			for _, v := range m.attrs().all {
				for _, item := range attrs(v).all {
					e := parseElem(setMarked, item)
					_ = familyOf(true).elemText(e, "")
				}
			}
		}
	})
}

// FuzzElem: what was encoded is read back.
func FuzzElem(f *testing.F) {
	f.Add("br0", "in_net", "comment", false)
	f.Add("12", "", "", true)
	f.Fuzz(func(t *testing.T, key, chain, comment string, last bool) {
		if key == "" || len(key) > 64 || len(chain) > 64 || len(comment) > 100 ||
			cstring([]byte(chain)) != chain || cstring([]byte(comment)) != comment {
			t.Skip()
		}
		want := elem{set: setMarked, key: key, chain: chain, comment: comment, last: last}
		b := &batch{}
		b.elem(&want, true)
		for _, item := range attrs(b.buf).all {
			if got := parseElem(setMarked, item); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		}
	})
}
