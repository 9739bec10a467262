package rtnl

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// answer is a message of the kernel.
func answer(kind, flags uint16, seq uint32, body ...byte) []byte {
	m := newMsg(kind, flags, body...)
	native.PutUint16(m[6:], flags)
	native.PutUint32(m, uint32(len(m)))
	native.PutUint32(m[8:], seq)
	return m
}

func errnoBody(e unix.Errno) []byte { return native.AppendUint32(nil, uint32(-int32(e))) }

func TestAnswers(t *testing.T) {
	reqs := []request{{op: "a", object: "1"}, {op: "b", object: "2", fine: []unix.Errno{unix.EEXIST}}, {op: "c", object: "3"}}
	for _, tc := range []struct {
		name string
		in   [][]byte
		want error
		done bool
	}{
		{"confirmed", [][]byte{answer(unix.NLMSG_ERROR, 0, 12, errnoBody(0)...)}, nil, true},
		{"first error wins", [][]byte{
			answer(unix.NLMSG_ERROR, 0, 10, errnoBody(unix.EPERM)...), answer(unix.NLMSG_ERROR, 0, 12, errnoBody(unix.EINVAL)...),
		}, unix.EPERM, true},
		{"an errno that is fine", [][]byte{
			answer(unix.NLMSG_ERROR, 0, 11, errnoBody(unix.EEXIST)...), answer(unix.NLMSG_ERROR, 0, 12, errnoBody(0)...),
		}, nil, true},
		{"of another exchange", [][]byte{answer(unix.NLMSG_ERROR, 0, 9, errnoBody(unix.EPERM)...)}, nil, false},
		{"cut", [][]byte{{1, 2, 3}, {255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}}, nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := answers{reqs: reqs, base: 10}
			for _, b := range tc.in {
				a.read(b)
			}
			if a.done != tc.done || !errors.Is(a.err, tc.want) {
				t.Errorf("done %v, error %v; want %v, %v", a.done, a.err, tc.done, tc.want)
			}
		})
	}
	t.Run("interrupted dump", func(t *testing.T) {
		a := answers{reqs: reqs[:1], base: 10}
		a.read(answer(unix.NLMSG_DONE, unix.NLM_F_DUMP_INTR, 10, errnoBody(0)...))
		if !a.done || !a.interrupted {
			t.Errorf("done %v, interrupted %v", a.done, a.interrupted)
		}
	})
	t.Run("text of the kernel", func(t *testing.T) {
		body := append(errnoBody(unix.EINVAL), make([]byte, hdrLen)...)
		m := msg(body)
		m.str(unix.NLMSGERR_ATTR_MSG, "because")
		a := answers{reqs: reqs[:1], base: 10}
		a.read(answer(unix.NLMSG_ERROR, unix.NLM_F_CAPPED|unix.NLM_F_ACK_TLVS, 10, m...))
		if e := (*Error)(nil); !errors.As(a.err, &e) || e.Text != "because" {
			t.Errorf("error %v", a.err)
		}
	})
}

func FuzzAnswers(f *testing.F) {
	f.Add(answer(unix.NLMSG_ERROR, unix.NLM_F_ACK_TLVS, 10, errnoBody(unix.EINVAL)...))
	f.Add(answer(unix.RTM_NEWLINK, 0, 10, ifInfo(0, 1, 1, 1)...))
	f.Fuzz(func(_ *testing.T, b []byte) {
		a := answers{reqs: []request{{}, {}}, base: 10, each: func(_ uint16, body []byte) {
			parseLink(body)
			parseAddress(body)
			parseRoute(body)
			parseStats(body)
		}}
		a.read(b)
	})
}

func TestAttributesRoundTrip(t *testing.T) {
	m := newMsg(unix.RTM_NEWLINK, 0)
	m.str(3, "name")
	m.nest(18, func() { m.u32(1, 7); m.u8(2, 9) })
	got := map[uint16]string{}
	for k, v := range attrs(m[hdrLen:]) {
		got[k] = string(v)
	}
	inner := map[uint16]uint32{}
	for k, v := range attrs([]byte(got[18])) {
		inner[k] = uint32(v[0])
	}
	if got[3] != "name\x00" || inner[1] != 7 || inner[2] != 9 {
		t.Errorf("got %v, %v", got, inner)
	}
}
