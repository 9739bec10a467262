package ipam

import (
	"time"

	"github.com/libnetwork/libnetwork/internal/runset"
)

// heldSet is the addresses that were released but are not chosen again yet. The
// delay of a set never gets shorter, so its queue is in order of time.
type heldSet struct {
	delay time.Duration
	until map[runset.Uint128]time.Time
	// queue is in order of release; an entry counts only while until says the
	// same of its address.
	queue []heldAddr
	head  int
}

type heldAddr struct {
	addr  runset.Uint128
	until time.Time
}

func (h *heldSet) contains(x runset.Uint128) bool {
	_, ok := h.until[x]
	return ok
}

// add holds an address, unless it is held already.
func (h *heldSet) add(x runset.Uint128, now time.Time) {
	if h.contains(x) {
		return
	}
	if h.until == nil {
		h.until = make(map[runset.Uint128]time.Time)
	}
	// Addresses that were requested by name leave dead entries behind.
	if len(h.queue)-h.head > 2*len(h.until)+16 || h.head > len(h.queue)/2 {
		h.compact()
	}
	e := heldAddr{x, now.Add(h.delay)}
	h.until[x] = e.until
	h.queue = append(h.queue, e)
}

// remove takes out an address and reports whether it was held.
func (h *heldSet) remove(x runset.Uint128) bool {
	ok := h.contains(x)
	delete(h.until, x)
	return ok
}

func (h *heldSet) alive(e heldAddr) bool {
	t, ok := h.until[e.addr]
	return ok && t.Equal(e.until)
}

// expired takes out one address whose time has come.
func (h *heldSet) expired(now time.Time) (runset.Uint128, bool) {
	for h.head < len(h.queue) {
		e := h.queue[h.head]
		alive := h.alive(e)
		if alive && e.until.After(now) {
			break
		}
		h.head++
		if alive {
			delete(h.until, e.addr)
			return e.addr, true
		}
	}
	return runset.Uint128{}, false
}

// oldest takes out the address of the range that was released first.
func (h *heldSet) oldest(r span) (runset.Uint128, bool) {
	for i, e := range h.queue[h.head:] {
		if r.contains(e.addr) && h.alive(e) {
			delete(h.until, e.addr)
			if i == 0 {
				h.head++
			}
			return e.addr, true
		}
	}
	return runset.Uint128{}, false
}

// count returns how many addresses of the range are held.
func (h *heldSet) count(r span) (n uint64) {
	for x := range h.until {
		if r.contains(x) {
			n++
		}
	}
	return n
}

func (h *heldSet) compact() {
	kept := h.queue[:0]
	for _, e := range h.queue[h.head:] {
		if h.alive(e) {
			kept = append(kept, e)
		}
	}
	h.queue, h.head = kept, 0
}
