package bitseq_test

import (
	"errors"
	"fmt"
	"log"

	"github.com/libnetwork/libnetwork/bitseq"
)

// Eight bits in memory: a store would keep them for several processes.
func Example() {
	h, err := bitseq.NewHandle("ports", nil, "web", 8)
	if err != nil {
		log.Fatal(err)
	}
	first, _ := h.SetAny()
	_ = h.Set(1)
	next, _ := h.SetAnyInRange(1, 3)
	fmt.Println("taken:", first, 1, next, "free:", h.Unselected())

	fmt.Println("again:", errors.Is(h.Set(1), bitseq.ErrBitAllocated))
	_, _ = h.SetAnyInRange(1, 3)
	_, err = h.SetAnyInRange(1, 3)
	fmt.Println("full:", errors.Is(err, bitseq.ErrNoBitAvailable))

	_ = h.Unset(1)
	fmt.Println("1 is set:", h.IsSet(1))
	// Output:
	// taken: 0 1 2 free: 5
	// again: true
	// full: true
	// 1 is set: false
}
